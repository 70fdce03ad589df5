// SPDX-License-Identifier: Apache-2.0
#include "http/status_line.h"

namespace dormouse::http {

Result<std::optional<unsigned>> read_status_line(std::string_view bytes) {
  const auto refuse = [] { return fail(ErrorCode::Corrupt, "the answer is not HTTP/1.0 or HTTP/1.1"); };
  constexpr std::string_view kVersion = "HTTP/1.";
  const std::string_view begins = bytes.substr(0, kVersion.size());
  if (begins != kVersion.substr(0, begins.size())) return refuse();
  const std::size_t end = bytes.find('\n');
  if (end == std::string_view::npos) {
    if (bytes.size() > kStatusLineBytesMax) return refuse();
    return std::nullopt;
  }
  // "HTTP/1.1 200 OK" or, without a reason, "HTTP/1.1 200 " and "HTTP/1.1 200".
  std::string_view line = bytes.substr(0, end);
  if (line.ends_with('\r')) line.remove_suffix(1);
  const auto digit = [&](std::size_t at) { return line[at] >= '0' && line[at] <= '9'; };
  if (line.size() < 12 || line.size() > kStatusLineBytesMax || (line[7] != '0' && line[7] != '1') || line[8] != ' ' || !digit(9) || !digit(10) || !digit(11)) return refuse();
  if (line.size() > 12 && line[12] != ' ') return refuse();
  const unsigned status = static_cast<unsigned>((line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0'));
  if (status < 100 || status > 599) return refuse();
  return status;
}

}  // namespace dormouse::http
