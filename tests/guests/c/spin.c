// SPDX-License-Identifier: Apache-2.0
// spin: says "spinning" and then computes for ever without a call to the host.
#include "fixture.h"

int main(void) {
  say("spinning");
  for (volatile uint64_t i = 0;; ++i) {
  }
}
