// SPDX-License-Identifier: Apache-2.0
#include "pods/waking.h"

#include "pods/duration.h"

namespace dormouse::pods {
namespace {

constexpr std::string_view kMaxSleep = "max-sleep=";

}  // namespace

Result<Nanoseconds> parse_timer_slack(std::string_view text) {
  const auto slack = parse_duration(text);
  if (!slack) return fail(ErrorCode::InvalidArgument, "\"{}\" is not a duration: give 0s (timers are exact) or a whole number of ms, s or m, such as 30s", text);
  if (*slack > kTimerSlackMax) return fail(ErrorCode::InvalidArgument, "\"{}\" is longer than 10m, which no timer should be late", text);
  return *slack;
}

Result<PollOffload> parse_poll_offload(std::string_view text) {
  if (!text.starts_with(kMaxSleep)) return fail(ErrorCode::InvalidArgument, "\"{}\" must be max-sleep=DURATION, such as max-sleep=5m: how long the guest is left asleep at most while nothing changes", text);
  const auto sleep = parse_duration(text.substr(kMaxSleep.size()));
  if (!sleep) return fail(ErrorCode::InvalidArgument, "\"{}\" is not max-sleep= and a duration: give a whole number of s, m or h, such as max-sleep=5m", text);
  if (*sleep < kOffloadSleepMin || *sleep > kOffloadSleepMax) return fail(ErrorCode::InvalidArgument, "\"{}\": max-sleep must be between 1s and 1h", text);
  return PollOffload{*sleep};
}

}  // namespace dormouse::pods
