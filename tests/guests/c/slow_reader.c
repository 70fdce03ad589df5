// SPDX-License-Identifier: Apache-2.0
// slow_reader [PATH [STREAMS]]: asks for PATH (/api/v1/namespaces?watch=1) on STREAMS (1) streams and never reads a byte.
#include "fixture.h"

int main(int argc, char** argv) {
  char request[1024];
  snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: kube\r\n\r\n", argc > 1 ? argv[1] : "/api/v1/namespaces?watch=1");
  long streams = argc > 2 ? strtol(argv[2], NULL, 10) : 1;
  for (long i = 0; i < streams; ++i) {
    int fd = open("/net/kube", O_RDWR);
    CHECK(fd >= 0);
    write_all(fd, request, strlen(request));
  }
  say("asked, will not read");
  park();
}
