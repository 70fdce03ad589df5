// SPDX-License-Identifier: Apache-2.0
#include "gateway/event_note.h"

#include <algorithm>

#include "watchcache/json_scan.h"

namespace dormouse::gateway {
namespace {

constexpr std::size_t kTextBytesMax = 200;

}  // namespace

std::string event_note(std::string_view bytes) {
  std::string type, name, name_space;
  watchcache::JsonScan scan(bytes);
  // Where it ends, malformed, cut or because all is there, is no matter: what was found until then is true.
  const auto more = [&] { return type.empty() || name.empty() || name_space.empty(); };
  (void)scan.object([&](std::string_view key) {
    if (key == "type") return scan.string(type);
    if (key != "object") return scan.value();
    return scan.object([&](std::string_view member) {
      if (member != "metadata") return scan.value();
      return scan.object([&](std::string_view field) {
        if (field == "name") return scan.string(name) && more();
        if (field == "namespace") return scan.string(name_space) && more();
        return scan.value();
      }) && type.empty();
    });
  });
  if (type.empty()) return {};
  std::string text = type;
  if (!name.empty()) text += ' ' + (name_space.empty() ? name : name_space + '/' + name);
  if (text.size() > kTextBytesMax) text.replace(kTextBytesMax - 3, std::string::npos, "...");
  std::ranges::replace_if(text, [](char c) { return c < ' ' || c > '~'; }, '?');
  return text;
}

}  // namespace dormouse::gateway
