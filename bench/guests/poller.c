// SPDX-License-Identifier: Apache-2.0
// poller: an operator that looks at the object POLL (a path of the API) each PERIOD_MS, as those do whose systems have no events. It
// prints a line whenever what it sees has changed.
#include "client.h"

static struct reader stream = {.fd = -1};

// A checksum of the answer's body; 0 when the stream had ended.
static uint64_t look(void) {
  if (stream.fd < 0) stream = (struct reader){.fd = dial()};
  char request[1024];
  int size = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: kube\r\nAccept: application/json\r\n\r\n", getenv("POLL"));
  write_all(stream.fd, request, (size_t)size);
  long length = head(&stream);
  uint64_t sum = 14695981039346656037ull;
  if (length >= 0) {
    for (; length > 0; --length) sum = (sum ^ (uint64_t)next(&stream)) * 1099511628211ull;
    return sum;
  }
  char text[64];
  while (length == -1 && line(&stream, text, sizeof text) >= 0) {
    long chunk = strtol(text, NULL, 16);
    for (long i = 0; i < chunk; ++i) sum = (sum ^ (uint64_t)next(&stream)) * 1099511628211ull;
    CHECK(line(&stream, text, sizeof text) >= 0);
    if (chunk == 0) return sum;
  }
  close(stream.fd);
  stream.fd = -1;
  return 0;
}

int main(void) {
  uint64_t before = 0;
  const char* period = getenv("PERIOD_MS");
  for (;;) {
    uint64_t now = look();
    if (now == 0) now = look();
    if (now != before) say("changed");
    before = now;
    poll(NULL, 0, period == NULL ? 5000 : (int)strtol(period, NULL, 10));
  }
}
