// SPDX-License-Identifier: Apache-2.0
// Any selector: refused, or its canonical form reads as itself and matches the same objects.
#include "base/check.h"
#include "watchcache/selector.h"

using namespace dormouse::watchcache;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  static const Labels kLabels[] = {{}, *Labels::create({{"a", "b"}}), *Labels::create({{"a", "1"}, {"b", ""}, {"x.io/y", "z"}})};
  if (const auto labels = LabelSelector::parse(text)) {
    const std::string canonical = labels->canonical();
    const auto again = LabelSelector::parse(canonical);
    CHECK(again && again->canonical() == canonical);
    for (const Labels& one : kLabels) CHECK(labels->matches(one) == again->matches(one));
  }
  if (const auto fields = FieldSelector::parse(text)) {
    const auto again = FieldSelector::parse(fields->canonical());
    CHECK(again && again->canonical() == fields->canonical());
    CHECK(fields->matches("a", "b") == again->matches("a", "b"));
    CHECK(fields->exact_name() == again->exact_name());
  }
  return 0;
}
