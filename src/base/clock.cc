// SPDX-License-Identifier: Apache-2.0
#include "base/clock.h"

#include <ctime>

namespace dormouse {
Nanoseconds SystemClock::read(bool realtime) {
  timespec now{};
  ::clock_gettime(realtime ? CLOCK_REALTIME : CLOCK_MONOTONIC, &now);
  return std::chrono::seconds(now.tv_sec) + Nanoseconds(now.tv_nsec);
}
}  // namespace dormouse
