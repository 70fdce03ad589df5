// SPDX-License-Identifier: Apache-2.0
// A request's target and Accept field, and a written object's answer, as hostile guests and API servers may send them.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "gateway/cache_request.h"

// The first line is the target, the second the Accept field, what follows an answer.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto line = [&text] {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string one(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    return one;
  };
  const std::string target = line(), accept = line();
  const dormouse::gateway::ReadRequest read = dormouse::gateway::read_request({.method = "GET", .target = target, .headers = {{"accept", accept}}});
  // What a cache answers is exactly what the path says: never another collection than the API server would see.
  if (read.cached) {
    const std::string_view path = std::string_view(target).substr(0, target.find('?'));
    CHECK(path.starts_with(read.cached->key.path()) && read.cached->rights.resource == read.cached->key.resource);
  }
  (void)dormouse::gateway::written_revision(text);
  return 0;
}
