// SPDX-License-Identifier: Apache-2.0
#pragma once
// Lets others see what a sleep policy sees: that guests park (so their memory may be looked at), and each wait (for a trace).
//
// Ownership: shared by the policies of all guests. Threads: its functions are called on workers, several at once.

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "guest/sleep_policy.h"
#include "guest/sleep_trace.h"

namespace dormouse::guest {

struct SleepObserver {
  std::function<void()> parked;  // May be null.
  // Times are monotonic and `TraceWait::guest` is unused. May be null.
  std::function<void(std::string_view guest, const TraceWait& wait)> waited;
};

// The same policy, seen by the observer.
std::shared_ptr<SleepPolicy> observed(std::shared_ptr<SleepPolicy> policy, std::shared_ptr<const SleepObserver> observer, std::string guest);

}  // namespace dormouse::guest
