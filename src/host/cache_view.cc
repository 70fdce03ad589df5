// SPDX-License-Identifier: Apache-2.0
#include "host/cache_view.h"

#include <fmt/format.h>

#include <boost/json.hpp>
#include <functional>
#include <vector>

#include "host/metrics_text.h"
#include "host/host_answer.h"
#include "host/text_table.h"

namespace dormouse::host {
namespace {

namespace json = boost::json;
using gateway::Forwarded;
using gateway::SharedCache;

constexpr std::size_t kReasons = static_cast<std::size_t>(Forwarded::kCount);

std::string_view encoding_of(const watchcache::CacheKey& key) {
  const bool json = key.encoding == watchcache::Encoding::Json;
  if (key.metadata_only) return json ? "json/metadata" : "protobuf/metadata";
  return json ? "json" : "protobuf";
}

std::string selector_of(const watchcache::CacheKey& key) {
  if (key.label_selector.empty() || key.field_selector.empty()) return key.label_selector + key.field_selector;
  return key.label_selector + "; " + key.field_selector;
}

// What a guest asked for may be in a label's value.
std::string labels_of(const watchcache::CacheKey& key) {
  return fmt::format(R"(group="{}",version="{}",resource="{}",namespace="{}",selector="{}",encoding="{}")", label_value(key.group), label_value(key.version), label_value(key.resource),
                     label_value(key.namespace_name), label_value(selector_of(key)), encoding_of(key));
}

}  // namespace

std::string cache_json(const SharedCache* cache) {
  if (cache == nullptr) return R"({"enabled":false,"resources":[]})";
  json::array resources;
  for (const SharedCache::EntryStatus& entry : cache->status()) {
    resources.emplace_back(json::object{
        {"group", entry.key.group}, {"version", entry.key.version}, {"resource", entry.key.resource}, {"namespace", entry.key.namespace_name}, {"labelSelector", entry.key.label_selector},
        {"fieldSelector", entry.key.field_selector}, {"encoding", encoding_of(entry.key)}, {"state", entry.state}, {"error", entry.error}, {"revision", fmt::to_string(entry.revision)},
        {"subscribers", entry.watches}, {"readers", entry.readers}, {"donor", entry.donor}, {"ageSeconds", to_seconds(entry.age)}, {"objects", entry.objects},
        {"bytes", entry.bytes}, {"logEntries", entry.cache.log_entries}, {"logBytes", entry.cache.log_bytes}, {"events", entry.cache.events}, {"eventsDelivered", entry.cache.events_read},
        {"upstreamLists", entry.reflector.lists}, {"upstreamWatches", entry.reflector.watches}, {"failures", entry.reflector.failures}});
  }
  json::object forwarded;
  const SharedCache::Counters& counters = cache->counters();
  for (std::size_t i = 0; i < kReasons; ++i) forwarded[gateway::to_string(static_cast<Forwarded>(i))] = counters.forwarded[i];
  const auto& reviews = cache->review_counters();
  return json::serialize(json::object{{"enabled", true}, {"resources", std::move(resources)},
                                      {"served", json::object{{"list", counters.served_lists}, {"watch", counters.served_watches}, {"get", counters.served_gets}}},
                                      {"forwarded", std::move(forwarded)}, {"relays", counters.relays}, {"joined", counters.joined}, {"donorMoves", counters.donor_moves},
                                      {"revoked", counters.revoked}, {"accessReviews", json::object{{"asked", reviews.reviews}, {"remembered", reviews.remembered}, {"denied", reviews.denied}, {"failed", reviews.failed}}}});
}

Result<std::string> cache_table(std::string_view text) {
  return table_of(text, "cache", [](const json::value& value) -> Result<std::string> {
    std::vector<std::vector<std::string>> rows{{"RESOURCE", "NAMESPACE", "SELECTOR", "ENCODING", "STATE", "SUBSCRIBERS", "OBJECTS", "REVISION", "BYTES", "LOG", "AGE", "DONOR"}};
    if (!value.at("enabled").as_bool()) return "this host runs without a watch cache\n";
    for (const json::value& entry : value.at("resources").as_array()) {
      const auto of = [&entry](const char* key) { return std::string(entry.at(key).as_string()); };
      const auto number = [&entry](const char* key) { return entry.at(key).to_number<double>(); };
      const auto or_dash = [](std::string text) { return text.empty() ? std::string("-") : text; };
      std::string selector = of("labelSelector");
      if (const std::string fields = of("fieldSelector"); !fields.empty()) selector += (selector.empty() ? "" : "; ") + fields;
      const std::string error = of("error");
      rows.push_back({of("resource") + (of("group").empty() ? "" : "." + of("group")), or_dash(of("namespace")), or_dash(selector), of("encoding"), of("state") + (error.empty() ? "" : " (" + error + ")"),
                      fmt::format("{}", number("subscribers")), fmt::format("{}", number("objects")), of("revision"), size_text(number("bytes")), size_text(number("logBytes")),
                      fmt::format("{:.0f}s", number("ageSeconds")), or_dash(of("donor").substr(0, 40))});
    }
    return text_table(rows);
  });
}

std::string cache_metrics(const SharedCache& cache) {
  MetricsText metrics;
  const auto entries = cache.status();
  const auto each = [&](std::string_view name, std::string_view type, std::string_view help, const std::function<double(const SharedCache::EntryStatus&)>& of) {
    metrics.family(name, type, help);
    for (const auto& entry : entries) metrics.sample(labels_of(entry.key), of(entry));
  };
  const auto single = [&](std::string_view name, std::string_view type, std::string_view help, std::uint64_t count) {
    metrics.family(name, type, help);
    metrics.sample("", count);
  };
  each("dormouse_watch_cache_upstream_watches", "gauge", "1 while a watch of the API server is open for this.", [](const auto& e) { return e.state == "Watching" ? 1.0 : 0.0; });
  each("dormouse_watch_cache_subscribers", "gauge", "Watches that are fed from this.", [](const auto& e) { return double(e.watches); });
  each("dormouse_watch_cache_objects", "gauge", "Objects held.", [](const auto& e) { return double(e.objects); });
  each("dormouse_watch_cache_bytes", "gauge", "Bytes held by objects and what is known of them.", [](const auto& e) { return double(e.bytes); });
  each("dormouse_watch_cache_log_bytes", "gauge", "Bytes that the event log accounts for; shared with the objects where they are the same.", [](const auto& e) { return double(e.cache.log_bytes); });
  each("dormouse_watch_cache_resource_version", "gauge", "Revision up to which this is known.", [](const auto& e) { return double(e.revision); });
  each("dormouse_watch_cache_events_received_total", "counter", "Events from the API server.", [](const auto& e) { return double(e.cache.events); });
  each("dormouse_watch_cache_events_dispatched_total", "counter", "Events read by subscribers.", [](const auto& e) { return double(e.cache.events_read); });
  each("dormouse_watch_cache_lists_total", "counter", "Lists made of the API server; the first of each entry included.", [](const auto& e) { return double(e.reflector.lists); });
  each("dormouse_watch_cache_expired_total", "counter", "Streams that ended with 410.", [](const auto& e) { return double(e.cache.expired_at_start + e.cache.expired_slow + e.cache.expired_lost); });
  const SharedCache::Counters& counters = cache.counters();
  metrics.family("dormouse_watch_cache_served_total", "counter", "Requests answered from the cache.");
  metrics.sample("verb=\"list\"", counters.served_lists);
  metrics.sample("verb=\"watch\"", counters.served_watches);
  metrics.sample("verb=\"get\"", counters.served_gets);
  metrics.family("dormouse_watch_cache_forwarded_total", "counter", "Requests that went to the API server, and why.");
  for (std::size_t i = 0; i < kReasons; ++i) metrics.sample(fmt::format("reason=\"{}\"", gateway::to_string(static_cast<Forwarded>(i))), counters.forwarded[i]);
  single("dormouse_watch_cache_relays_total", "counter", "Watches that began as the client's own stream.", counters.relays);
  single("dormouse_watch_cache_joined_total", "counter", "Of these, how many went over to the cache.", counters.joined);
  single("dormouse_watch_cache_donor_moves_total", "counter", "Times that an upstream watch went over to another client's token.", counters.donor_moves);
  single("dormouse_watch_cache_revoked_total", "counter", "Streams ended because the client's right was gone.", counters.revoked);
  const auto& reviews = cache.review_counters();
  metrics.family("dormouse_access_reviews_total", "counter", "SelfSubjectAccessReviews as clients, by what came of them.");
  metrics.sample("result=\"allowed\"", reviews.allowed);
  metrics.sample("result=\"denied\"", reviews.denied);
  metrics.sample("result=\"failed\"", reviews.failed);
  single("dormouse_access_reviews_remembered_total", "counter", "Times that a remembered answer was enough.", reviews.remembered);
  return metrics.take();
}

}  // namespace dormouse::host
