// SPDX-License-Identifier: Apache-2.0
// Any query string: it is read or forwarded, and what is served has a canonical form that reads as itself.
#include "base/check.h"
#include "watchcache/query.h"

using namespace dormouse::watchcache;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const Query query = parse_query((data[0] & 1) != 0, text);
  const CacheAnswer answer = decide(query, (data[0] & 2) != 0 ? std::optional<Revision>(7) : std::nullopt);
  if (query.forward != ForwardReason::None) {
    CHECK(answer.kind == CacheAnswer::Kind::Forward && answer.reason == query.forward);
    return 0;
  }
  const std::string labels = query.labels.canonical(), fields = query.fields.canonical();
  CHECK(LabelSelector::parse(labels)->canonical() == labels);
  CHECK(FieldSelector::parse(fields)->canonical() == fields);
  return 0;
}
