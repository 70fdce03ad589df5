// SPDX-License-Identifier: Apache-2.0
// signals: says "ready", then names each signal it gets; exits 0 after SIGTERM, 3 after SIGINT.
#include "fixture.h"

int main(void) {
  int fd = open("/run/signals", O_RDONLY);
  CHECK(fd >= 0);
  __wasi_fdstat_t stat;
  EXPECT(SUCCESS, __wasi_fd_fdstat_get(fd, &stat));
  CHECK(stat.fs_filetype == __WASI_FILETYPE_SOCKET_STREAM);
  unsigned char signal_number;
  CHECK(read(fd, &signal_number, 1) == -1 && errno == EAGAIN);
  say("ready");
  for (;;) {
    CHECK(read_some(fd, &signal_number, 1) == 1);
    printf("signal %d\n", signal_number);
    fflush(stdout);
    if (signal_number == 15) return 0;
    if (signal_number == 2) return 3;
  }
}
