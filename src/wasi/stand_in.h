// SPDX-License-Identifier: Apache-2.0
#pragma once
// Whoever does a parked guest's periodic looks in its stead; plugged in by the folders above (gateway::PollOffload).
//
// Ownership: shared by the guest's run and its network. Threads: on_wake(), on_park() and on_deadline() on the guest's, one
// at a time; counters() and set_wake() from any.

#include <cstdint>
#include <functional>
#include <optional>

#include "base/clock.h"
#include "wasi/wake_cause.h"

namespace dormouse::wasi {

class StandIn {
 public:
  virtual ~StandIn() = default;

  // What the guest did between a wake-up and the park that followed, in calls that others can notice (Process::Counters).
  struct Activity {
    std::uint64_t kube = 0, other = 0;
  };
  // All times are monotonic.
  virtual void on_wake(WakeCause::Kind cause, Nanoseconds now) = 0;
  virtual void on_park(Nanoseconds now, Activity activity) = 0;
  // The guest's own deadline has come, and nothing else. Yields until when it may be left asleep because its look is done
  // for it; unset: it must be resumed. Asked again after that time, and whenever the guest is woken for nothing else.
  virtual std::optional<Nanoseconds> on_deadline(Nanoseconds now) = 0;
  // Called, from any thread, when on_deadline() should be asked again at once. Empty: not any more.
  virtual void set_wake(std::function<void()> wake) = 0;

  struct Counters {
    std::uint64_t looks = 0;            // Requests made in the guest's stead.
    std::uint64_t absorbed = 0;         // Wake-ups that the guest was spared.
    std::uint64_t changed = 0;          // Times it was woken because an answer differed,
    std::uint64_t failed = 0;           // because a look failed,
    std::uint64_t slept_longest = 0;    // or because it had slept as long as it may.
    Counters& operator+=(const Counters& other) {
      looks += other.looks;
      absorbed += other.absorbed;
      changed += other.changed;
      failed += other.failed;
      slept_longest += other.slept_longest;
      return *this;
    }
  };
  virtual Counters counters() const = 0;
};

}  // namespace dormouse::wasi
