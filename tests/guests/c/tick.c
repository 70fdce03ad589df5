// SPDX-License-Identifier: Apache-2.0
// tick MILLISECONDS [EVERY]: wakes by its own timer for ever and does nothing, but for a line at each EVERYth time.
#include "fixture.h"

int main(int argc, char** argv) {
  uint64_t milliseconds = argc > 1 ? strtoull(argv[1], NULL, 10) : 500;
  uint64_t every = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
  say("ticking");
  for (uint64_t i = 1;; ++i) {
    __wasi_subscription_t clock = {.u.tag = __WASI_EVENTTYPE_CLOCK,
                                   .u.u.clock = {.id = __WASI_CLOCKID_MONOTONIC, .timeout = milliseconds * 1000000ull}};
    __wasi_event_t event;
    __wasi_size_t n = 0;
    EXPECT(SUCCESS, __wasi_poll_oneoff(&clock, &event, 1, &n));
    if (every != 0 && i % every == 0) say("tick");
  }
}
