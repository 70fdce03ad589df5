// SPDX-License-Identifier: Apache-2.0
#pragma once
// How late a guest's own timer may fire, earned by wake-ups that did nothing: without I/O, clock or input.
//
// controller-runtime wakes each controller every 500 ms for a metric; a guest that has just done so kIdleWakesMin times
// in a row, and nothing else, is woken later and later. Three rules keep that harmless:
//   - any activity (a byte read or written, a file looked at, an event) ends it, and it is earned anew from nothing. A
//     timer whose wake-up does something, as renewing a lease does, is therefore exact as long as no idle ones come
//     between;
//   - the slack is at most 1/kQuietShare of the time that the guest has been quiet. Only one deadline of a guest is
//     known, its next, so an idle tick hides a lease's timer behind it: a renewal every 2 s is late by 500 ms at most
//     then, one every 10 s by 2.5 s; leases are built for a third of their time (client-go: renew every 2 s, give up
//     after 10 s);
//   - it never exceeds the pod's bound (annotation dormouse.io/timer-slack).
// The moments chosen are multiples of a grid, so that the guests of a host wake together and the threads they run on
// less often; one second at most, so that a thousand guests of 30 s of slack come in thirty groups, not in one crowd.
//
// A late clock event is always legal (poll_oneoff, as poll(2), promises "not before"); the time a guest sees is true.
//
// Ownership: a value. Threads: one at a time (the run's slice).

#include <algorithm>
#include <cstdint>

#include "base/clock.h"

namespace dormouse::guest {

class TimerSlack {
 public:
  static constexpr std::uint32_t kIdleWakesMin = 8;       // 4 s of controller-runtime's tick: a start is over by then.
  static constexpr std::int64_t kQuietShare = 4;
  static constexpr Nanoseconds kGridMax = std::chrono::seconds(1);
  static constexpr Nanoseconds kSlackMin = std::chrono::milliseconds(50);  // Less saves nothing.

  // `slack_max` 0: every deadline is exact.
  TimerSlack(Nanoseconds slack_max, Nanoseconds now) : slack_max_(slack_max), active_at_(now) {}

  // The guest, or anybody towards it, has done something.
  void active(Nanoseconds now) {
    idle_wakes_ = 0;
    active_at_ = now;
  }
  // Its own timer woke it, and it did nothing before it parked again.
  void woke_idly() {
    if (idle_wakes_ < kIdleWakesMin) ++idle_wakes_;
  }
  // It woke so the last time.
  bool idle() const { return idle_wakes_ > 0; }
  // When a park until `deadline` should end if nothing else ends it. Never before `deadline`. All monotonic.
  Nanoseconds resume_at(Nanoseconds deadline) const {
    if (idle_wakes_ < kIdleWakesMin || deadline <= active_at_) return deadline;
    const Nanoseconds slack = std::min(slack_max_, (deadline - active_at_) / kQuietShare);
    if (slack < kSlackMin || deadline > Nanoseconds::max() - slack) return deadline;
    // The last multiple of the grid within the slack. The grid is at most half of it, so one is there.
    Nanoseconds grid = kGridMax;
    while (grid > slack / 2) grid /= 2;
    return (deadline + slack) / grid * grid;
  }

 private:
  Nanoseconds slack_max_;
  Nanoseconds active_at_;
  std::uint32_t idle_wakes_ = 0;
};

}  // namespace dormouse::guest
