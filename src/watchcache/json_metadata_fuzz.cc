// SPDX-License-Identifier: Apache-2.0
// Any bytes as a JSON object: refused, or it can be pruned and given another revision and is still the same object.
#include "base/check.h"
#include "watchcache/metadata.h"
#include "watchcache/object.h"

using namespace dormouse;
using namespace dormouse::watchcache;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto pool = std::make_shared<ObjectPool>(Encoding::Json, true);
  const auto object = Object::create(pool, std::string_view(reinterpret_cast<const char*>(data), size), "Pod", "v1");
  if (!object) return 0;
  std::string scratch, pruned;
  (*object)->append_pruned(pruned);
  CHECK(pruned.size() == (*object)->pruned_size());
  const auto again = read_metadata(Encoding::Json, pruned);
  CHECK(again && again->revision == (*object)->revision() && again->name == (*object)->name() && again->managed_end == 0);
  CHECK((*object)->with_revision(77)->revision() == 77);
  const std::string before((*object)->bytes(scratch));
  CHECK(before.size() > (*object)->list_skip());
  CHECK(read_metadata(Encoding::Json, "{" + before.substr((*object)->list_skip() == 0 ? 1 : (*object)->list_skip())).has_value());
  (*object)->compress();
  CHECK((*object)->bytes(scratch) == before);
  return 0;
}
