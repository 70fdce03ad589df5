// SPDX-License-Identifier: Apache-2.0
// poller MILLISECONDS FROM TO: an operator that looks instead of watching. Each time it wakes it GETs FROM over one lasting
// connection; when the answer is another than last time, it says so and PATCHes what it saw into TO (a ConfigMap's data).
#include "fixture.h"

static int stream = -1;
static char answer[64 * 1024];

// One request on the connection that stays open; the answer's body is in `answer`. Its status, or -1 if the connection is gone.
static int ask(const char* request, size_t size) {
  if (stream < 0) stream = open("/net/kube", O_RDWR);
  CHECK(stream >= 0);
  write_all(stream, request, size);
  size_t got = 0;
  for (;;) {
    ssize_t n = read_some(stream, answer + got, sizeof(answer) - 1 - got);
    if (n <= 0) {
      close(stream);
      stream = -1;
      return -1;
    }
    got += (size_t)n;
    answer[got] = 0;
    const char* body = strstr(answer, "\r\n\r\n");
    if (body == NULL) continue;
    body += 4;
    const char* length = strstr(answer, "\r\ncontent-length: ");
    if (length == NULL) length = strstr(answer, "\r\nContent-Length: ");
    CHECK(length != NULL && length < body);  // Answers this small are not chunked.
    size_t wanted = strtoul(length + 18, NULL, 10);
    if (got - (size_t)(body - answer) < wanted) continue;
    int status = atoi(answer + 9);
    memmove(answer, body, wanted);
    answer[wanted] = 0;
    return status;
  }
}

static int get(const char* path) {
  char request[1024];
  int size = snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: kube\r\nAccept: application/json\r\n\r\n", path);
  return ask(request, (size_t)size);
}

int main(int argc, char** argv) {
  CHECK(argc == 4);
  uint64_t milliseconds = strtoull(argv[1], NULL, 10);
  static char last[sizeof(answer)];
  int last_status = 0;
  say("polling");
  for (;;) {
    int status = get(argv[2]);
    if (status != last_status || strcmp(answer, last) != 0) {
      last_status = status;
      strcpy(last, answer);
      // Its data: "text":"…".
      char text[64] = "none";
      const char* at = status == 200 ? strstr(last, "\"text\":\"") : NULL;
      if (at != NULL) snprintf(text, sizeof(text), "%.*s", (int)strcspn(at + 8, "\""), at + 8);
      printf("saw %d %s\n", status, text);
      fflush(stdout);
      char patch[1024], body[160];
      int length = snprintf(body, sizeof(body), "{\"data\":{\"saw\":\"%d %s\"}}", status, text);
      int size = snprintf(patch, sizeof(patch), "PATCH %s HTTP/1.1\r\nHost: kube\r\nContent-Type: application/merge-patch+json\r\nContent-Length: %d\r\n\r\n%s", argv[3], length, body);
      if (ask(patch, (size_t)size) != 200) last_status = 0;  // Again next time.
    }
    __wasi_subscription_t clock = {.u.tag = __WASI_EVENTTYPE_CLOCK, .u.u.clock = {.id = __WASI_CLOCKID_MONOTONIC, .timeout = milliseconds * 1000000ull}};
    __wasi_event_t event;
    __wasi_size_t n = 0;
    EXPECT(SUCCESS, __wasi_poll_oneoff(&clock, &event, 1, &n));
  }
}
