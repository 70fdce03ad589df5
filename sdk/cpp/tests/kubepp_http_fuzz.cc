// SPDX-License-Identifier: Apache-2.0
// A response means the same whole and in pieces, whatever its bytes.
#include <algorithm>
#include <cstdlib>

#include "kubepp/http.h"

namespace {

struct Outcome {
  std::string body;
  bool failed = false, complete = false;
  std::size_t taken = 0;
  int status = 0;
  bool operator==(const Outcome&) const = default;
};

Outcome parse(std::string_view bytes, std::size_t piece) {
  kubepp::ResponseParser parser;
  Outcome out;
  while (!bytes.empty() && !parser.complete()) {
    const auto taken = parser.feed(bytes.substr(0, piece), out.body);
    if (!taken) return {.failed = true};
    out.taken += *taken;
    bytes.remove_prefix(*taken);
  }
  out.complete = parser.complete();
  out.status = parser.head().status;
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string bytes = "HTTP/1.1 200 OK\r\n" + std::string(reinterpret_cast<const char*>(data) + 1, size - 1);
  for (const std::string_view input : {std::string_view(bytes), std::string_view(bytes).substr(17)}) {
    if (parse(input, input.size()) != parse(input, 1 + data[0] % 7)) std::abort();
  }
  return 0;
}
