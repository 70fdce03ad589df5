// SPDX-License-Identifier: Apache-2.0
#pragma once
// Durations as our annotations and options have them.
//
// Threads: any.

#include <optional>
#include <string_view>

#include "base/clock.h"

namespace dormouse::pods {

// A whole number of ms, s, m or h, such as "30s". Unset: it is something else. One too long to count is the longest there is,
// so that whoever has a limit says so.
std::optional<Nanoseconds> parse_duration(std::string_view text);

}  // namespace dormouse::pods
