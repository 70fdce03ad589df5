// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "http/status_line.h"

using namespace dormouse;

// What was read does not change when more comes, and what was refused is not accepted later.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto whole = http::read_status_line(text);
  for (std::size_t length = 0; length < size; ++length) {
    const auto part = http::read_status_line(text.substr(0, length));
    if (!part) CHECK(!whole);
    else if (*part) CHECK(whole && **whole == **part);
  }
  if (whole && *whole) CHECK(**whole >= 100 && **whole <= 599);
  return 0;
}
