// SPDX-License-Identifier: Apache-2.0
// probed PORT WELL [THEN [MS]]: answers WELL requests with 200, one a connection, and then does THEN with each that follows:
// "fail" (500, the default), "hang" (no answer, the connection stays open) or "close". It prints "asked N: GET …" of each, and
// "tick" every MS, so that it has run between two questions.
#include <sys/socket.h>

#include "fixture.h"

int main(int argc, char** argv) {
  CHECK(argc > 2);
  long well = strtol(argv[2], NULL, 10);
  const char* then = argc > 3 ? argv[3] : "fail";
  int tick_ms = argc > 4 ? atoi(argv[4]) : -1;
  char path[64];
  snprintf(path, sizeof(path), "/net/listen/%s", argv[1]);
  int listener = open(path, O_RDWR);
  CHECK(listener >= 0);
  printf("listening on %s\n", argv[1]);
  fflush(stdout);
  for (long asked = 1;;) {
    struct pollfd one = {.fd = listener, .events = POLLRDNORM};
    if (poll(&one, 1, tick_ms) == 0) {
      say("tick");
      continue;
    }
    int connection = accept(listener, NULL, NULL);
    if (connection < 0 && errno == EAGAIN) continue;
    CHECK(connection >= 0);
    char request[8192];
    size_t used = 0;
    do {
      ssize_t n = read_some(connection, request + used, sizeof(request) - 1 - used);
      if (n <= 0) break;
      used += (size_t)n;
      request[used] = 0;
    } while (strstr(request, "\r\n\r\n") == NULL && used < sizeof(request) - 1);
    request[used] = 0;
    printf("asked %ld: %.*s\n", asked, (int)strcspn(request, "\r"), request);
    fflush(stdout);
    const bool good = asked++ <= well;
    if (!good && strcmp(then, "hang") == 0) continue;
    const char* reply = good ? "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"
                             : "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    if (good || strcmp(then, "close") != 0) write_all(connection, reply, strlen(reply));
    CHECK(close(connection) == 0);
  }
}
