// SPDX-License-Identifier: Apache-2.0
// Oracle: a resource has a name in the path, an encoded target reads as the plain one, and nothing crashes.
#include <string>

#include <fmt/format.h>

#include "base/check.h"
#include "gateway/request_info.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dormouse::gateway;
  const std::string target = "/" + std::string(reinterpret_cast<const char*>(data), size);
  for (const char* method : {"GET", "POST", "DELETE", "OPTIONS"}) {
    const RequestInfo info = parse_request_info(method, target);
    CHECK(!info.is_resource || (info.path.starts_with('/') && info.path.find(info.resource) != std::string::npos));
    CHECK(info.subresource.empty() || info.is_resource);
    const std::size_t question = std::min(target.find('?'), target.size());
    std::string encoded;
    bool plain = true;
    for (const char c : std::string_view(target).substr(0, question)) {
      plain = plain && c != '%';
      encoded += c == '/' ? "/" : fmt::format("%{:02x}", static_cast<unsigned char>(c));
    }
    if (plain) CHECK(parse_request_info(method, encoded + target.substr(question)) == info);
    if (plain) CHECK(has_parent_segment(encoded) == has_parent_segment(target));
  }
  return 0;
}
