// SPDX-License-Identifier: Apache-2.0
// Any bytes as a watch's stream and as a list, in both encodings: the events do not depend on how the bytes are cut.
#include <vector>

#include "base/check.h"
#include "watchcache/frames.h"

using namespace dormouse::watchcache;

namespace {

// Every event as text; the last is "error" if there was one.
std::vector<std::string> events(Encoding encoding, std::string_view stream, std::size_t step) {
  std::vector<std::string> seen;
  WatchDecoder decoder(encoding, 1024);
  for (std::size_t at = 0; at < stream.size(); at += step) {
    decoder.feed(stream.substr(at, step));
    while (true) {
      const auto event = decoder.next();
      if (!event) {
        seen.emplace_back("error");
        return seen;
      }
      if (!*event) break;
      seen.push_back(std::to_string(static_cast<int>((*event)->type)).append((*event)->kind).append((*event)->object));
      (void)parse_bookmark(encoding, (*event)->object);
      (void)parse_status(encoding, (*event)->object);
    }
  }
  return seen;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const Encoding encoding = (data[0] & 1) != 0 ? Encoding::Protobuf : Encoding::Json;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  CHECK(events(encoding, text, text.size() + 1) == events(encoding, text, data[0] / 2 + 1));
  if (auto list = ListBody::parse(encoding, text)) {
    std::size_t items = 0;
    for (auto item = list->next(); item && *item; item = list->next()) CHECK(++items <= text.size());
  }
  return 0;
}
