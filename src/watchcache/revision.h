// SPDX-License-Identifier: Apache-2.0
#pragma once
// resourceVersions. Clients take them for opaque strings; the API server, and so this cache, compares those of one
// resource as numbers (KEP-5504, apimachinery's resourceversion helper): decimal digits without leading zeros.

#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>

namespace dormouse::watchcache {

using Revision = std::uint64_t;  // 0: none.

// Unset for anything but a decimal number above 0 without leading zeros that fits.
inline std::optional<Revision> parse_revision(std::string_view text) {
  Revision revision = 0;
  if (text.empty() || text[0] == '0') return std::nullopt;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), revision);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return revision;
}

}  // namespace dormouse::watchcache
