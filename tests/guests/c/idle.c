// SPDX-License-Identifier: Apache-2.0
// idle [SECONDS]: one poll_oneoff on the clock alone, by default for an hour; it has no signal handler.
#include "fixture.h"

int main(int argc, char** argv) {
  uint64_t seconds = argc > 1 ? strtoull(argv[1], NULL, 10) : 3600;
  say("idle");
  __wasi_subscription_t clock = {.userdata = 1,
                                 .u.tag = __WASI_EVENTTYPE_CLOCK,
                                 .u.u.clock = {.id = __WASI_CLOCKID_MONOTONIC, .timeout = seconds * 1000000000ull}};
  __wasi_event_t event;
  __wasi_size_t n = 0;
  EXPECT(SUCCESS, __wasi_poll_oneoff(&clock, &event, 1, &n));
  CHECK(n == 1 && event.userdata == 1 && event.error == __WASI_ERRNO_SUCCESS);
  say("awake");
  return 0;
}
