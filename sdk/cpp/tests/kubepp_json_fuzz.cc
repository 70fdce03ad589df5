// SPDX-License-Identifier: Apache-2.0
// What parses, writes and parses again to the same.
#include <cstdlib>

#include "kubepp/json.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const auto parsed = kubepp::Json::parse(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!parsed) return 0;
  const std::string text = parsed->dump();
  const auto again = kubepp::Json::parse(text);
  if (!again || again->dump() != text) std::abort();
  return 0;
}
