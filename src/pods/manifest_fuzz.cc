// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "pods/manifest.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto parsed = dormouse::pods::parse_manifest(text, "fuzz.yaml", "default");
  if (!parsed) CHECK(!parsed.error().message.empty());
  return 0;
}
