// SPDX-License-Identifier: Apache-2.0
// Any bytes as the beginning of a watch's frame: the note is short and printable, whatever they are.
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "gateway/event_note.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  for (const char c : dormouse::gateway::event_note({reinterpret_cast<const char*>(data), size})) CHECK(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
  return 0;
}
