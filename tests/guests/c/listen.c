// SPDX-License-Identifier: Apache-2.0
// listen [PORT [COUNT]]: serves COUNT (1) HTTP requests on /net/listen/PORT (8080), one a connection, then exits 0.
#include <sys/socket.h>

#include "fixture.h"

int main(int argc, char** argv) {
  const char* port = argc > 1 ? argv[1] : "8080";
  long count = argc > 2 ? strtol(argv[2], NULL, 10) : 1;
  char path[64];
  snprintf(path, sizeof(path), "/net/listen/%s", port);
  CHECK(open("/net/listen/0", O_RDWR) == -1 && errno == EINVAL);
  CHECK(open("/net/listen/65536", O_RDWR) == -1);
  CHECK(open("/net/listen/x", O_RDWR) == -1);
  int listener = open(path, O_RDWR);
  CHECK(listener >= 0);
  CHECK(open(path, O_RDWR) == -1 && errno == EADDRINUSE);
  // Closing unbinds.
  CHECK(close(listener) == 0);
  listener = open(path, O_RDWR);
  CHECK(listener >= 0);
  CHECK(accept(listener, NULL, NULL) == -1 && errno == EAGAIN);
  printf("listening on %s\n", port);
  fflush(stdout);
  for (long served = 0; served < count;) {
    wait_for(listener, POLLRDNORM);
    int connection = accept(listener, NULL, NULL);
    if (connection < 0 && errno == EAGAIN) continue;
    CHECK(connection >= 0);
    char request[8192];
    size_t used = 0;
    while (used < sizeof(request) - 1) {
      ssize_t n = read_some(connection, request + used, sizeof(request) - 1 - used);
      if (n <= 0) break;
      used += (size_t)n;
      request[used] = 0;
      if (strstr(request, "\r\n\r\n") != NULL) break;
    }
    request[used] = 0;
    if (strstr(request, "\r\n\r\n") != NULL) {
      const char* reply = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";
      write_all(connection, reply, strlen(reply));
      printf("served %.*s\n", (int)strcspn(request, "\r"), request);
      fflush(stdout);
      ++served;
    }
    CHECK(shutdown(connection, SHUT_WR) == 0);
    CHECK(close(connection) == 0);
  }
  return 0;
}
