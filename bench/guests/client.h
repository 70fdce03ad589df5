// SPDX-License-Identifier: Apache-2.0
#pragma once
// As little HTTP/1.1 as these guests need of /net/kube.

#include <strings.h>

#include "fixture.h"

UNUSED static int dial(void) {
  int fd = open("/net/kube", O_RDWR | O_NONBLOCK);
  CHECK(fd >= 0);
  return fd;
}

// Reads one byte at a time out of a buffer.
struct reader {
  int fd;
  size_t at, size;
  char bytes[4096];
};

UNUSED static int next(struct reader* r) {
  if (r->at == r->size) {
    ssize_t n = read_some(r->fd, r->bytes, sizeof r->bytes);
    if (n <= 0) return -1;
    r->at = 0;
    r->size = (size_t)n;
  }
  return (unsigned char)r->bytes[r->at++];
}

// A line without its end; what does not fit is dropped. -1 at the end of the stream.
UNUSED static int line(struct reader* r, char* text, size_t size) {
  size_t n = 0;
  int c;
  while ((c = next(r)) >= 0 && c != '\n') {
    if (n + 1 < size) text[n++] = (char)c;
  }
  if (n > 0 && text[n - 1] == '\r') --n;
  text[n] = 0;
  return c < 0 ? -1 : (int)n;
}

// The head of a response; yields its Content-Length, -1 if chunked, -2 at the end of the stream.
UNUSED static long head(struct reader* r) {
  char text[512];
  long length = 0;
  for (;;) {
    int n = line(r, text, sizeof text);
    if (n < 0) return -2;
    if (n == 0) return length;
    if (strncasecmp(text, "content-length:", 15) == 0) length = strtol(text + 15, NULL, 10);
    if (strncasecmp(text, "transfer-encoding:", 18) == 0) length = -1;
  }
}

UNUSED static void skip_body(struct reader* r, long length) {
  if (length >= 0) {
    for (; length > 0; --length) CHECK(next(r) >= 0);
    return;
  }
  char text[64];
  do {
    CHECK(line(r, text, sizeof text) >= 0);
    length = strtol(text, NULL, 16);
    for (long i = 0; i < length; ++i) CHECK(next(r) >= 0);
    CHECK(line(r, text, sizeof text) >= 0);
  } while (length > 0);
}
