// SPDX-License-Identifier: Apache-2.0
// Any bytes as a protobuf object: refused, or it can be pruned and given another revision and is still the same object.
#include "base/check.h"
#include "watchcache/metadata.h"
#include "watchcache/protobuf.h"

using namespace dormouse::watchcache;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)read_envelope(text);
  const auto metadata = read_metadata(Encoding::Protobuf, text);
  if (!metadata) return 0;
  std::string changed;
  append_with_metadata(changed, text, true, 77);
  const auto again = read_metadata(Encoding::Protobuf, changed);
  CHECK(again && again->revision == 77 && again->name == metadata->name && again->namespace_name == metadata->namespace_name && again->labels == metadata->labels);
  std::string same;
  append_with_metadata(same, text, false, 0);
  CHECK(read_metadata(Encoding::Protobuf, same)->revision == metadata->revision);
  return 0;
}
