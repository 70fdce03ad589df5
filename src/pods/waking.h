// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a pod lets the host do about wake-ups by a guest's own timers: the values of the annotations
// `dormouse.io/timer-slack` and `dormouse.io/poll-offload`.

#include <optional>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"

namespace dormouse::pods {

// How late a timer may fire that has long done nothing when it fired (guest::TimerSlack has the rules). What waits for such a
// guest, the renewal of a lease or a probe each 10 s, is late by an eighth of its period at most whatever the bound; so the
// bound is about timers of minutes (a resync, a requeue) that hide behind a tick. Thirty seconds: a controller that ticks each
// 500 ms wakes 60 times less often. A wake-up from disk costs 1.5 ms of CPU with leaving again: with 8 s, 50 of them took
// 9 of the 100 idle operators' 10 mCPU (bench-idle).
inline constexpr Nanoseconds kTimerSlackDefault = std::chrono::seconds(30);
inline constexpr Nanoseconds kTimerSlackMax = std::chrono::minutes(10);

// "0s", "500ms", "30s", "5m". Errors: InvalidArgument.
Result<Nanoseconds> parse_timer_slack(std::string_view text);

// That the host looks in a guest's stead, and how long the guest may be left asleep while nothing changes.
struct PollOffload {
  Nanoseconds max_sleep{};
  bool operator==(const PollOffload&) const = default;
};
inline constexpr Nanoseconds kOffloadSleepMin = std::chrono::seconds(1), kOffloadSleepMax = std::chrono::hours(1);

// "max-sleep=5m". Errors: InvalidArgument.
Result<PollOffload> parse_poll_offload(std::string_view text);

}  // namespace dormouse::pods
