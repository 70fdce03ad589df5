// SPDX-License-Identifier: Apache-2.0
#include "kubepp/reflector.h"

#include <set>

#include "escape.h"
#include "kubepp/log.h"

namespace kubepp {
namespace {

constexpr int kPageObjects = 500;
constexpr Duration kShortWatch = std::chrono::seconds(1);  // A watch that ends sooner than this is not ended by its time-out.

Task<> nothing() { co_return; }

// Nobody reads these, and they are a third of many objects.
void strip(Json& object) { object["metadata"].erase("managedFields"); }

}  // namespace

bool LineSplitter::feed(std::string_view bytes, const std::function<void(std::string_view)>& take) {
  for (;;) {
    const std::size_t stop = bytes.find('\n');
    if (stop == bytes.npos) break;
    if (rest_.empty()) {
      take(bytes.substr(0, stop));
    } else {
      rest_ += bytes.substr(0, stop);
      take(rest_);
      rest_.clear();
    }
    bytes.remove_prefix(stop + 1);
  }
  rest_ += bytes;
  return rest_.size() <= kLineBytesMax;
}

Reflector::Reflector(Client& client, Options options, OnChange on_change)
    : client_(client), options_(std::move(options)), on_change_(std::move(on_change)), running_(nothing()) {}

void Reflector::start() {
  running_ = run();
  running_.start();
}

Object Reflector::find(const ObjectKey& key) const {
  const auto found = objects_.find(key);
  return found == objects_.end() ? nullptr : found->second;
}

HttpRequest Reflector::request(std::string query) const {
  if (!options_.label_selector.empty()) query += "&labelSelector=" + escape(options_.label_selector);
  if (!options_.field_selector.empty()) query += "&fieldSelector=" + escape(options_.field_selector);
  HttpRequest made;
  made.target = options_.resource.path(options_.ns) + "?" + query;
  return made;
}

Task<> Reflector::run() {
  for (;;) {
    const char* doing = revision_.empty() ? "list" : "watch";
    Result<void> done;
    if (revision_.empty()) {
      done = co_await list();
    } else {
      done = co_await watch();
    }
    if (done) continue;
    const Error& error = done.error();
    if (error.gone()) {
      // The revision is older than what the server remembers. Expected now and then, but not twice in a row.
      log::debug("revision is gone, listing anew", {{"resource", options_.resource.plural}});
      revision_.clear();
      if (!std::exchange(gone_before_, true)) continue;
    }
    const Duration pause = std::max<Duration>(backoff_.next(), error.retry_after);
    log::warn("cannot follow a resource, will try again",
              {{"verb", doing},
               {"resource", options_.resource.plural},
               {"group", options_.resource.group},
               {"status", error.status},
               {"error", error.message},
               {"after_ms", std::chrono::duration_cast<std::chrono::milliseconds>(pause).count()}});
    co_await client_.loop().sleep(pause);
  }
}

Task<Result<void>> Reflector::list() {
  std::set<ObjectKey> seen;
  std::string next;
  std::string revision;
  do {
    HttpRequest page = request("limit=" + std::to_string(kPageObjects) + (next.empty() ? "" : "&continue=" + escape(next)));
    Result<Json> list = co_await client_.send(std::move(page));
    if (!list) co_return fail(list.error());
    const Json& metadata = (*list)["metadata"];
    next = metadata["continue"].as_string();
    revision = metadata["resourceVersion"].as_string();
    if (!(*list)["items"].is_array() || revision.empty()) co_return fail("Protocol", "the API server's answer is no list");
    for (Json& item : (*list)["items"].items()) {
      // Items of a list carry neither.
      if (item["kind"].is_null()) item["kind"] = options_.resource.kind;
      if (item["apiVersion"].is_null()) item["apiVersion"] = options_.resource.api_version();
      seen.insert(key_of(item));
      put(std::move(item));
    }
  } while (!next.empty());
  for (auto at = objects_.begin(); at != objects_.end();) {
    const ObjectKey key = (at++)->first;
    if (!seen.contains(key)) drop(key);
  }
  revision_ = std::move(revision);
  synced_.set();
  co_return Result<void>();
}

Task<Result<void>> Reflector::watch() {
  const Time begin = Loop::now();
  HttpRequest made = request("watch=true&allowWatchBookmarks=true&resourceVersion=" + escape(revision_));
  Result<std::unique_ptr<HttpClient::Exchange>> exchange = co_await client_.open(std::move(made));
  if (!exchange) co_return fail(exchange.error());
  LineSplitter lines;
  Result<void> outcome;
  const std::function<void(std::string_view)> take = [&](std::string_view line) {
    if (outcome) outcome = take_event(line);
  };
  bool any = false;
  for (;;) {
    const Result<std::string> some = co_await (*exchange)->read_some();
    if (!some) co_return fail(some.error());
    if (some->empty()) break;
    any = true;
    if (!lines.feed(*some, take)) co_return fail("Protocol", "an event of a watch is too large");
    if (!outcome) co_return outcome;
    backoff_.reset();
    gone_before_ = false;
  }
  // The server ends watches after a while; one that ends at once is a fault.
  if (!any && Loop::now() - begin < kShortWatch) co_return fail("Network", "the watch ended at once");
  co_return Result<void>();
}

Result<void> Reflector::take_event(std::string_view line) {
  if (line.empty()) return {};
  Result<Json> event = Json::parse(line);
  if (!event) return fail(event.error());
  const std::string_view type = (*event)["type"].as_string();
  Json& object = (*event)["object"];
  if (type == "ERROR") {
    return fail(Error{static_cast<int>(std::as_const(object)["code"].as_integer()), std::string(object["reason"].as_string()),
                      std::string(object["message"].as_string()), {}});
  }
  std::string revision(std::as_const(object)["metadata"]["resourceVersion"].as_string());
  if (revision.empty()) return fail("Protocol", "an event of a watch has no resourceVersion");
  if (type == "ADDED" || type == "MODIFIED") {
    put(std::move(object));
  } else if (type == "DELETED") {
    drop(key_of(object));
  } else if (type != "BOOKMARK") {
    return fail("Protocol", "unknown type of watch event: " + std::string(type));
  }
  revision_ = std::move(revision);
  return {};
}

void Reflector::put(Json object) {
  strip(object);
  const ObjectKey key = key_of(object);
  Object after = std::make_shared<const Json>(std::move(object));
  Object& place = objects_[key];
  const Object before = std::exchange(place, after);
  // A list after a break brings much that is known already.
  const bool same = before && (*before)["metadata"]["resourceVersion"] == (*after)["metadata"]["resourceVersion"];
  if (!same) on_change_(key, before, after);
}

void Reflector::drop(const ObjectKey& key) {
  const auto found = objects_.find(key);
  if (found == objects_.end()) return;
  const Object before = found->second;
  objects_.erase(found);
  on_change_(key, before, nullptr);
}

}  // namespace kubepp
