// SPDX-License-Identifier: Apache-2.0
// kube_get [PATH [DIAL [COUNT]]]: GETs PATH (/version) over DIAL (/net/kube), COUNT (1) times, each on its own stream; prints
// the reply's head and body as they come.
#include "fixture.h"

int main(int argc, char** argv) {
  char request[1024];
  snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: kube\r\nAccept: application/json\r\nConnection: close\r\n\r\n",
           argc > 1 ? argv[1] : "/version");
  long count = argc > 3 ? strtol(argv[3], NULL, 10) : 1;
  for (long i = 0; i < count; ++i) {
    int fd = open(argc > 2 ? argv[2] : "/net/kube", O_RDWR);
    CHECK(fd >= 0);
    write_all(fd, request, strlen(request));
    char bytes[4096];
    ssize_t n;
    while ((n = read_some(fd, bytes, sizeof(bytes))) > 0) write_all(STDOUT_FILENO, bytes, (size_t)n);
    CHECK(n == 0);
    CHECK(close(fd) == 0);
  }
  return 0;
}
