// SPDX-License-Identifier: Apache-2.0
// ignore_sigterm: reads /run/signals, says "ignored N" and goes on; only a kill ends it.
#include "fixture.h"

int main(void) {
  int fd = open("/run/signals", O_RDONLY);
  CHECK(fd >= 0);
  say("ready");
  for (;;) {
    unsigned char signal_number;
    CHECK(read_some(fd, &signal_number, 1) == 1);
    printf("ignored %d\n", signal_number);
    fflush(stdout);
  }
}
