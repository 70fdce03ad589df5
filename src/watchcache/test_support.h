// SPDX-License-Identifier: Apache-2.0
#pragma once
// Objects, readers and frames for the tests of this folder and the simulator.

#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/check.h"
#include "watchcache/protobuf.h"
#include "watchcache/resource_cache.h"

namespace dormouse::watchcache::testing {

inline CacheKey pods(Encoding encoding = Encoding::Json) { return {.group = "", .version = "v1", .resource = "pods", .encoding = encoding}; }

// A pod as the API server writes it: in a watch with its type, in a list without. `labels`: "\"app\":\"web\"" or empty.
inline std::string json_pod(std::string_view namespace_name, std::string_view name, Revision revision, std::string_view labels = "", std::string_view uid = "u", bool typed = true,
                            std::string_view padding = "") {
  return fmt::format(
      R"({{{}"metadata":{{"name":"{}","namespace":"{}","uid":"{}","resourceVersion":"{}","labels":{{{}}},"managedFields":[{{"manager":"m","fieldsV1":{{"f:a":{{}}}}}}]}},"spec":{{"x":"{}"}},"status":{{}}}})",
      typed ? R"("kind":"Pod","apiVersion":"v1",)" : "", name, namespace_name, uid, revision, labels, padding);
}

inline std::string protobuf_pod(std::string_view namespace_name, std::string_view name, Revision revision, const std::vector<std::pair<std::string, std::string>>& labels = {}) {
  std::string meta, pod;
  append_bytes_field(meta, 1, name);
  append_bytes_field(meta, 3, namespace_name);
  append_bytes_field(meta, 5, "u");
  append_bytes_field(meta, 6, fmt::to_string(revision));
  for (const auto& [key, value] : labels) {
    std::string entry;
    append_bytes_field(entry, 1, key);
    append_bytes_field(entry, 2, value);
    append_bytes_field(meta, 11, entry);
  }
  append_bytes_field(meta, 17, "managed");
  append_bytes_field(pod, 1, meta);
  append_bytes_field(pod, 2, "spec");
  return pod;
}

inline ObjectPtr make(ResourceCache& cache, std::string_view bytes) {
  auto object = Object::create(cache.pool(), bytes, "Pod", "v1");
  CHECK(object.has_value());
  return *object;
}

// Notes what it is told.
struct Listener final : Watch::Listener {
  std::vector<Watch::Pending> told;
  void on_watch_pending(Watch&, Watch::Pending pending) override { told.push_back(pending); }
};

inline std::string drain(Watch& watch) {
  std::string out;
  for (std::string_view piece = watch.peek(); !piece.empty(); piece = watch.peek()) {
    out += piece;
    watch.consume(piece.size());
  }
  return out;
}
inline std::string drain(ListStream& list) {
  std::string out;
  for (std::string_view piece = list.peek(); !piece.empty(); piece = list.peek()) {
    out += piece;
    list.consume(piece.size());
  }
  return out;
}

}  // namespace dormouse::watchcache::testing
