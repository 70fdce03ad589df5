// SPDX-License-Identifier: Apache-2.0
#include "pods/quantity.h"

#include <limits>

namespace dormouse::pods {
namespace {

__extension__ using Wide = unsigned __int128;  // Digits times suffix of everything that fits 63 bits.
constexpr Wide kMax = static_cast<Wide>(std::numeric_limits<std::int64_t>::max());

std::unexpected<Error> malformed(std::string_view text) {
  return fail(ErrorCode::InvalidArgument, "\"{}\" is not a quantity (examples: 64Mi, 0.5, 250m, 1G)", text);
}

Result<std::uint64_t> parse_scaled(std::string_view text, std::uint32_t unit) {
  std::string_view rest = text;
  if (rest.starts_with('+')) rest.remove_prefix(1);
  if (rest.starts_with('-')) return fail(ErrorCode::InvalidArgument, "\"{}\" is negative", text);
  Wide digits = 0;
  int scale10 = 0;  // The value is digits * 10^-scale10.
  bool any = false, fraction = false;
  for (; !rest.empty(); rest.remove_prefix(1)) {
    if (rest[0] == '.' && !fraction) {
      fraction = true;
      continue;
    }
    if (rest[0] < '0' || rest[0] > '9') break;
    any = true;
    digits = digits * 10 + static_cast<unsigned>(rest[0] - '0');
    if (digits > kMax) return fail(ErrorCode::InvalidArgument, "\"{}\" is too large", text);
    if (fraction) ++scale10;
  }
  if (!any || scale10 > 18) return malformed(text);

  Wide multiplier = 1;
  int exponent10 = 0;
  if (rest == "Ki") multiplier = Wide{1} << 10;
  else if (rest == "Mi") multiplier = Wide{1} << 20;
  else if (rest == "Gi") multiplier = Wide{1} << 30;
  else if (rest == "Ti") multiplier = Wide{1} << 40;
  else if (rest == "Pi") multiplier = Wide{1} << 50;
  else if (rest == "Ei") multiplier = Wide{1} << 60;
  else if (rest == "n") exponent10 = -9;
  else if (rest == "u") exponent10 = -6;
  else if (rest == "m") exponent10 = -3;
  else if (rest == "k") exponent10 = 3;
  else if (rest == "M") exponent10 = 6;
  else if (rest == "G") exponent10 = 9;
  else if (rest == "T") exponent10 = 12;
  else if (rest == "P") exponent10 = 15;
  else if (rest == "E") exponent10 = 18;
  else if (!rest.empty()) {
    if (rest[0] != 'e' && rest[0] != 'E') return malformed(text);
    rest.remove_prefix(1);
    const bool negative = rest.starts_with('-');
    if (negative || rest.starts_with('+')) rest.remove_prefix(1);
    if (rest.empty() || rest.size() > 2) return malformed(text);
    for (const char c : rest) {
      if (c < '0' || c > '9') return malformed(text);
      exponent10 = exponent10 * 10 + (c - '0');
    }
    if (exponent10 > 18) return fail(ErrorCode::InvalidArgument, "\"{}\" is too large or too small", text);
    if (negative) exponent10 = -exponent10;
  }

  // digits < 2^63, multiplier <= 2^60, unit <= 1000: the product may pass 128 bits only far above the limit.
  if (digits != 0 && multiplier > (kMax << 63) / digits / unit) return fail(ErrorCode::InvalidArgument, "\"{}\" is too large", text);
  Wide value = digits * multiplier * unit;
  for (int power = exponent10 - scale10; power > 0; --power) {
    if (value > (kMax << 60)) return fail(ErrorCode::InvalidArgument, "\"{}\" is too large", text);
    value *= 10;
  }
  Wide divisor = 1;
  for (int power = scale10 - exponent10; power > 0; --power) divisor *= 10;
  value = (value + divisor - 1) / divisor;
  if (value > kMax) return fail(ErrorCode::InvalidArgument, "\"{}\" is too large", text);
  return static_cast<std::uint64_t>(value);
}

}  // namespace

Result<std::uint64_t> parse_quantity(std::string_view text) { return parse_scaled(text, 1); }
Result<std::uint64_t> parse_quantity_millis(std::string_view text) { return parse_scaled(text, 1000); }

}  // namespace dormouse::pods
