// SPDX-License-Identifier: Apache-2.0
#include "pods/duration.h"

#include <charconv>
#include <cstdint>

namespace dormouse::pods {

std::optional<Nanoseconds> parse_duration(std::string_view text) {
  std::uint32_t count = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), count);
  const std::string_view unit(end, text.data() + text.size());
  Nanoseconds one{};
  if (unit == "ms") one = std::chrono::milliseconds(1);
  else if (unit == "s") one = std::chrono::seconds(1);
  else if (unit == "m") one = std::chrono::minutes(1);
  else if (unit == "h") one = std::chrono::hours(1);
  if (problem != std::errc{} || one.count() == 0) return std::nullopt;
  return count > Nanoseconds::max() / one ? Nanoseconds::max() : count * one;
}

}  // namespace dormouse::pods
