// SPDX-License-Identifier: Apache-2.0
// echo_operator: the least an operator can be. It watches WATCH (a path of the API) and answers each event about the object NAME by
// writing its spec.number into ANSWER (the path of an object of kind KIND), over a second stream. It holds BALLAST_BYTES of memory
// that is not all the same, and touches TOUCH_BYTES of it at each event. Ends with SIGTERM's default.
#include "client.h"

static unsigned char* ballast;
static size_t ballast_bytes, touch_bytes;

static size_t size_of(const char* name) {
  const char* text = getenv(name);
  return text == NULL ? 0 : (size_t)strtoul(text, NULL, 10);
}

static struct reader watch_stream, answer_stream = {.fd = -1};

static void answer(const char* number) {
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (answer_stream.fd < 0) answer_stream = (struct reader){.fd = dial()};
    char body[256], request[1024];
    int body_size = snprintf(body, sizeof body, "{\"apiVersion\":\"chain.dormouse.example/v1\",\"kind\":\"%s\",\"metadata\":{\"name\":\"%s\"},\"spec\":{\"number\":%s}}",
                             getenv("KIND"), getenv("NAME"), number);
    int size = snprintf(request, sizeof request,
                        "PATCH %s?fieldManager=echo&force=true HTTP/1.1\r\nHost: kube\r\nContent-Type: application/apply-patch+yaml\r\nContent-Length: %d\r\n\r\n%s",
                        getenv("ANSWER"), body_size, body);
    write_all(answer_stream.fd, request, (size_t)size);
    long length = head(&answer_stream);
    if (length != -2) {
      skip_body(&answer_stream, length);
      return;
    }
    close(answer_stream.fd);  // It had been given up while idle: once more on a new one.
    answer_stream.fd = -1;
  }
}

static void on_event(const char* text) {
  char wanted[128];
  snprintf(wanted, sizeof wanted, "\"name\":\"%s\"", getenv("NAME"));
  const char* number = strstr(text, "\"number\":");
  if (number == NULL || strstr(text, wanted) == NULL) return;
  char digits[24] = {0};
  strncpy(digits, number + 9, strspn(number + 9, "0123456789") < 23 ? strspn(number + 9, "0123456789") : 23);
  static size_t at;
  for (size_t i = 0; i < touch_bytes && ballast_bytes > 0; i += 4096) {
    ballast[at]++;
    at = (at + 4096) % ballast_bytes;
  }
  answer(digits);
}

// One watch, until it ends. Events are lines; chunks may end within them.
static void watch(void) {
  static char text[8192];
  watch_stream = (struct reader){.fd = dial()};
  char request[1024];
  int size = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: kube\r\nAccept: application/json\r\n\r\n", getenv("WATCH"));
  write_all(watch_stream.fd, request, (size_t)size);
  if (head(&watch_stream) == -1) {
    size_t used = 0;
    char chunk[64];
    while (line(&watch_stream, chunk, sizeof chunk) >= 0) {
      long left = strtol(chunk, NULL, 16);
      if (left <= 0) break;
      for (; left > 0; --left) {
        int c = next(&watch_stream);
        if (c < 0) break;
        if (c == '\n') {
          text[used] = 0;
          on_event(text);
          used = 0;
        } else if (used + 1 < sizeof text) {
          text[used++] = (char)c;
        }
      }
      if (line(&watch_stream, chunk, sizeof chunk) < 0) break;
    }
  }
  close(watch_stream.fd);
}

int main(void) {
  ballast_bytes = size_of("BALLAST_BYTES");
  touch_bytes = size_of("TOUCH_BYTES");
  if (ballast_bytes > 0) {
    ballast = malloc(ballast_bytes);
    CHECK(ballast != NULL);
    uint32_t random = 1;
    for (size_t i = 0; i + 4 <= ballast_bytes; i += 4) {
      random = random * 1664525 + 1013904223;
      memcpy(ballast + i, &random, 4);
    }
  }
  for (;;) {
    watch();
    poll(NULL, 0, 1000);  // It ended, or could not be had.
  }
}
