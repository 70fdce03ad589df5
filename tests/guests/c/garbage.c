// SPDX-License-Identifier: Apache-2.0
// garbage KIND: sends over /net/kube what no API server should get. Prints the reply's first line or "no reply", then how
// the stream ended: "end", "failed", or "open" if after SECONDS (argv[2], 5) of silence it is there still. Kinds: random, zeros, long-line, long-head, many-headers, bad-chunk, endless-chunk, two-lengths,
// length-and-chunked, bad-length, space-colon, folded, bare-lf, absolute-host, connect, upgrade, half, close-mid-body.

#include <sys/socket.h>

#include "fixture.h"

static int fd;

// Writes as far as the other side listens; a failed write is the other side's right.
static void put(const char* bytes, size_t size) {
  while (size > 0) {
    ssize_t n = write(fd, bytes, size);
    if (n < 0 && errno == EAGAIN) {
      // Readable means: an answer, or the end; then there is no use in sending more.
      struct pollfd both = {.fd = fd, .events = POLLRDNORM | POLLWRNORM};
      CHECK(poll(&both, 1, -1) == 1);
      if (both.revents & POLLRDNORM) return;
      continue;
    }
    if (n < 0) return;
    bytes += n;
    size -= (size_t)n;
  }
}

static void text(const char* string) { put(string, strlen(string)); }

static void repeat(const char* string, long times) {
  for (long i = 0; i < times; ++i) text(string);
}

int main(int argc, char** argv) {
  const char* kind = argc > 1 ? argv[1] : "random";
  static uint8_t block[65536];
  const char* head = "POST /api/v1/namespaces HTTP/1.1\r\nHost: kube\r\n";
  fd = open("/net/kube", O_RDWR);
  CHECK(fd >= 0);
  if (strcmp(kind, "random") == 0) {
    EXPECT(SUCCESS, __wasi_random_get(block, sizeof(block)));
    put((const char*)block, sizeof(block));
  } else if (strcmp(kind, "zeros") == 0) {
    put((const char*)block, sizeof(block));
  } else if (strcmp(kind, "long-line") == 0) {
    text("GET /");
    memset(block, 'a', sizeof(block));
    for (int i = 0; i < 64; ++i) put((const char*)block, sizeof(block));
  } else if (strcmp(kind, "long-head") == 0) {
    text("GET /version HTTP/1.1\r\nHost: kube\r\nX: ");
    memset(block, 'a', sizeof(block));
    for (int i = 0; i < 64; ++i) put((const char*)block, sizeof(block));
  } else if (strcmp(kind, "many-headers") == 0) {
    text("GET /version HTTP/1.1\r\nHost: kube\r\n");
    repeat("X-Y: z\r\n", 100000);
    text("\r\n");
  } else if (strcmp(kind, "bad-chunk") == 0) {
    text(head);
    text("Transfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n");
  } else if (strcmp(kind, "endless-chunk") == 0) {
    text(head);
    text("Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n{}");
  } else if (strcmp(kind, "two-lengths") == 0) {
    text(head);
    text("Content-Length: 2\r\nContent-Length: 44\r\n\r\n{}GET /api HTTP/1.1\r\nHost: kube\r\n\r\n");
  } else if (strcmp(kind, "length-and-chunked") == 0) {
    text(head);
    text("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /api HTTP/1.1\r\nHost: kube\r\n\r\n");
  } else if (strcmp(kind, "bad-length") == 0) {
    text(head);
    text("Content-Length: -1\r\n\r\n");
  } else if (strcmp(kind, "space-colon") == 0) {
    text("GET /version HTTP/1.1\r\nHost : kube\r\n\r\n");
  } else if (strcmp(kind, "folded") == 0) {
    text("GET /version HTTP/1.1\r\nHost: kube\r\nX: a\r\n Authorization: Bearer b\r\n\r\n");
  } else if (strcmp(kind, "bare-lf") == 0) {
    text("GET /version HTTP/1.1\nHost: kube\n\n");
  } else if (strcmp(kind, "absolute-host") == 0) {
    text("GET http://example.com/version HTTP/1.1\r\nHost: kube\r\n\r\n");
  } else if (strcmp(kind, "connect") == 0) {
    text("CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n");
  } else if (strcmp(kind, "upgrade") == 0) {
    text("GET /version HTTP/1.1\r\nHost: kube\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n");
  } else if (strcmp(kind, "half") == 0) {
    text("GET /version HTT");
    CHECK(shutdown(fd, SHUT_WR) == 0);
  } else if (strcmp(kind, "close-mid-body") == 0) {
    text(head);
    text("Content-Length: 1000\r\n\r\n{");
    CHECK(close(fd) == 0);
    say("closed");
    return 0;
  } else {
    fprintf(stderr, "garbage: no kind \"%s\"\n", kind);
    return 2;
  }
  char reply[4096];
  size_t used = 0;
  ssize_t n;
  // The first line is shown; the rest drained until the stream ends, which it must after an error.
  const int silence_ms = 1000 * (argc > 2 ? atoi(argv[2]) : 5);
  bool still_open = false;
  for (;;) {
    n = read(fd, used < 1024 ? reply + used : reply + 1024, 1024);
    if (n > 0 && used < 1024) used += (size_t)n;
    if (n == 0 || (n < 0 && errno != EAGAIN)) break;
    struct pollfd one = {.fd = fd, .events = POLLRDNORM};
    if (n < 0 && poll(&one, 1, silence_ms) == 0) {
      still_open = true;
      break;
    }
  }
  reply[used] = 0;
  reply[strcspn(reply, "\r\n")] = 0;
  printf("%s\n%s\n", used ? reply : "no reply", still_open ? "open" : n == 0 ? "end" : "failed");
  return 0;
}
