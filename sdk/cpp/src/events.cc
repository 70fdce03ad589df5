// SPDX-License-Identifier: Apache-2.0
#include "kubepp/events.h"

#include <unistd.h>

namespace kubepp {
namespace {

std::string random_suffix() {
  std::uint64_t random = 0;
  if (getentropy(&random, sizeof(random)) != 0) random = static_cast<std::uint64_t>(Loop::now().time_since_epoch().count());
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (int i = 0; i < 16; ++i, random >>= 4) out += kHex[random & 15];
  return out;
}

}  // namespace

Task<Result<void>> EventRecorder::publish(const Resource& resource, Object about, Type type, std::string reason,
                                          std::string action, std::string note) {
  constexpr std::size_t kNoteBytesMax = 1024;
  if (note.size() > kNoteBytesMax) {
    note.resize(kNoteBytesMax);
    // Not within a character.
    while (!note.empty() && (static_cast<unsigned char>(note.back()) & 0xc0) == 0x80) note.pop_back();
    if (!note.empty() && (static_cast<unsigned char>(note.back()) & 0x80) != 0) note.pop_back();
  }
  const std::string now = rfc3339(std::chrono::system_clock::now());
  const std::string identity = std::string(uid_of(*about)) + '\n' + reason + '\n' + action + '\n' + note;
  std::erase_if(series_, [](const auto& each) { return each.second.last + kSeriesLife < Loop::now(); });

  if (const auto known = series_.find(identity); known != series_.end()) {
    Series& series = known->second;
    series.last = Loop::now();
    ++series.count;
    const Json patch = Json::object({{"series", Json::object({{"count", series.count}, {"lastObservedTime", now}})}});
    const Result<Json> patched = co_await client_.merge_patch(kEvent, ObjectKey(series.event), patch);
    if (patched) co_return Result<void>();
    series_.erase(identity);
    if (!patched.error().not_found()) co_return fail(patched.error());
  }

  const std::string ns = resource.namespaced ? std::string(namespace_of(*about)) : "default";
  const ObjectKey key{ns, std::string(name_of(*about)) + "." + random_suffix()};
  Json event = new_object(kEvent, ns, key.name);
  event["eventTime"] = now;
  event["type"] = type == Type::Normal ? "Normal" : "Warning";
  event["reason"] = reason;
  event["action"] = action;
  event["note"] = note;
  event["reportingController"] = options_.controller;
  event["reportingInstance"] = options_.instance;
  event["regarding"] = Json::object({{"apiVersion", resource.api_version()},
                                     {"kind", resource.kind},
                                     {"namespace", namespace_of(*about)},
                                     {"name", name_of(*about)},
                                     {"uid", uid_of(*about)},
                                     {"resourceVersion", (*about)["metadata"]["resourceVersion"]}});
  const Result<Json> created = co_await client_.create(kEvent, event);
  if (!created) co_return fail(created.error());
  if (series_.size() < kSeriesMax) series_[identity] = Series{key, 1, Loop::now()};
  co_return Result<void>();
}

}  // namespace kubepp
