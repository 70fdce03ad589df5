// SPDX-License-Identifier: Apache-2.0
// connect PATH [TEXT]: dials PATH (/net/tcp/HOST:PORT, /net/tls/HOST:PORT), waits until it is connected or has
// failed, sends TEXT and prints what comes back until the end. Says "dial errno N", "connect errno N" or "end".
#include "fixture.h"

int main(int argc, char** argv) {
  CHECK(argc > 1);
  const char* text = argc > 2 ? argv[2] : "";
  int fd = open(argv[1], O_RDWR);
  if (fd < 0) {
    printf("dial errno %d\n", errno);
    return 0;
  }
  wait_for(fd, POLLWRNORM);
  ssize_t n = write(fd, text, strlen(text));
  if (n < 0) {
    printf("connect errno %d\n", errno);
    return 0;
  }
  char bytes[4096];
  while ((n = read_some(fd, bytes, sizeof(bytes))) > 0) write_all(STDOUT_FILENO, bytes, (size_t)n);
  if (n < 0) {
    printf("connect errno %d\n", errno);
    return 0;
  }
  say("end");
  return 0;
}
