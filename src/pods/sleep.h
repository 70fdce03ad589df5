// SPDX-License-Identifier: Apache-2.0
#pragma once
// When a pod's guests leave RAM while they wait: the value of the annotation `dormouse.io/sleep` and of `--sleep`.

#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"

namespace dormouse::pods {

struct SleepMode {
  enum class Kind : std::uint8_t {
    Never,        // Stays in RAM, also under pressure.
    Immediately,  // As soon as it has been quiet for a moment (guest::kSettleTime).
    Idle,         // After `idle` of waiting: a keep-alive.
    Pressure,     // Only when the host needs the memory.
    Predictive,   // When its own history says that waiting in RAM costs more than waking.
  };
  Kind kind = Kind::Predictive;
  Nanoseconds idle{};  // Of Idle; 0 is at each park.
  bool operator==(const SleepMode&) const = default;
};

inline constexpr Nanoseconds kSleepIdleMax = std::chrono::hours(24);

// "never", "immediately", "pressure", "predictive", or "idle=DURATION" with a whole number of ms, s, m or h.
// Errors: InvalidArgument; the message names the choices.
Result<SleepMode> parse_sleep(std::string_view text);
std::string to_string(const SleepMode& mode);

}  // namespace dormouse::pods
