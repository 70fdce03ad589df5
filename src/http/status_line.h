// SPDX-License-Identifier: Apache-2.0
#pragma once
// The first line of an HTTP/1 answer, strictly: all that a probe wants to know of it.

#include <cstddef>
#include <optional>
#include <string_view>

#include "base/result.h"

namespace dormouse::http {

inline constexpr std::size_t kStatusLineBytesMax = 1024;

// The status code (100 to 599) in the line that `bytes` begin with; unset if its end has not come yet.
// Errors: Corrupt (it is not HTTP/1.0 or 1.1, or longer than kStatusLineBytesMax).
Result<std::optional<unsigned>> read_status_line(std::string_view bytes);

}  // namespace dormouse::http
