// SPDX-License-Identifier: Apache-2.0
#include "kube/timestamp.h"

#include <chrono>

namespace dormouse::kube {
namespace {

// Takes `digits` digits off the front; -1 if they are not there.
int take_number(std::string_view& text, std::size_t digits) {
  if (text.size() < digits) return -1;
  int value = 0;
  for (std::size_t i = 0; i < digits; ++i) {
    if (text[i] < '0' || text[i] > '9') return -1;
    value = value * 10 + (text[i] - '0');
  }
  text.remove_prefix(digits);
  return value;
}
bool take(std::string_view& text, std::string_view any_of) {
  if (text.empty() || any_of.find(text.front()) == std::string_view::npos) return false;
  text.remove_prefix(1);
  return true;
}

}  // namespace

std::optional<Nanoseconds> parse_timestamp(std::string_view text) {
  using namespace std::chrono;
  const int y = take_number(text, 4);
  if (y < 1970 || y > 2200 || !take(text, "-")) return std::nullopt;  // Later ones overflow 64 bits of nanoseconds.
  const int mo = take_number(text, 2);
  if (!take(text, "-")) return std::nullopt;
  const int d = take_number(text, 2);
  if (!take(text, "Tt ")) return std::nullopt;
  const int h = take_number(text, 2);
  if (!take(text, ":")) return std::nullopt;
  const int mi = take_number(text, 2);
  if (!take(text, ":")) return std::nullopt;
  const int s = take_number(text, 2);
  if (mo < 1 || d < 1 || h < 0 || h > 24 || mi < 0 || mi > 59 || s < 0 || s > 60) return std::nullopt;
  const year_month_day date{year(y), month(static_cast<unsigned>(mo)), day(static_cast<unsigned>(d))};
  if (!date.ok()) return std::nullopt;
  Nanoseconds fraction(0);
  if (take(text, ".")) {
    std::int64_t unit = 100'000'000;
    if (text.empty() || text.front() < '0' || text.front() > '9') return std::nullopt;
    for (int digit = take_number(text, 1); digit >= 0; digit = take_number(text, 1)) {
      fraction += Nanoseconds(digit * unit);
      unit /= 10;
    }
  }
  minutes offset(0);
  if (!take(text, "Zz")) {
    const bool behind = text.starts_with('-');
    if (!take(text, "+-")) return std::nullopt;
    const int oh = take_number(text, 2);
    if (!take(text, ":")) return std::nullopt;
    const int om = take_number(text, 2);
    if (oh < 0 || oh > 23 || om < 0 || om > 59) return std::nullopt;
    offset = hours(oh) + minutes(om);
    if (behind) offset = -offset;
  }
  if (!text.empty()) return std::nullopt;
  return sys_days(date).time_since_epoch() + hours(h) + minutes(mi) + seconds(s) + fraction - offset;
}

}  // namespace dormouse::kube
