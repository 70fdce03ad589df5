// SPDX-License-Identifier: Apache-2.0
#include "pods/sleep.h"

#include "pods/duration.h"

namespace dormouse::pods {
namespace {

constexpr std::string_view kIdle = "idle=";
constexpr std::string_view kChoices = "never, immediately, idle=DURATION (such as idle=30s), pressure or predictive";

Result<Nanoseconds> parse_idle(std::string_view text) {
  const auto idle = parse_duration(text);
  if (!idle) return fail(ErrorCode::InvalidArgument, "\"{}\" is not a duration: give a whole number of ms, s, m or h, such as 30s", text);
  if (*idle > kSleepIdleMax) return fail(ErrorCode::InvalidArgument, "\"{}\" is longer than 24h; to leave RAM only when memory is short, say \"pressure\"", text);
  return *idle;
}

}  // namespace

Result<SleepMode> parse_sleep(std::string_view text) {
  using Kind = SleepMode::Kind;
  if (text == "never") return SleepMode{Kind::Never};
  if (text == "immediately") return SleepMode{Kind::Immediately};
  if (text == "pressure") return SleepMode{Kind::Pressure};
  if (text == "predictive") return SleepMode{Kind::Predictive};
  if (text.starts_with(kIdle)) {
    const auto idle = parse_idle(text.substr(kIdle.size()));
    if (!idle) return fail(idle.error());
    return SleepMode{Kind::Idle, *idle};
  }
  return fail(ErrorCode::InvalidArgument, "\"{}\" is not a way to sleep: give {}", text, kChoices);
}

std::string to_string(const SleepMode& mode) {
  switch (mode.kind) {
    case SleepMode::Kind::Never: return "never";
    case SleepMode::Kind::Immediately: return "immediately";
    case SleepMode::Kind::Pressure: return "pressure";
    case SleepMode::Kind::Predictive: return "predictive";
    case SleepMode::Kind::Idle: break;
  }
  const std::int64_t ms = mode.idle / std::chrono::milliseconds(1);
  return ms % 1000 == 0 ? fmt::format("idle={}s", ms / 1000) : fmt::format("idle={}ms", ms);
}

}  // namespace dormouse::pods
