// SPDX-License-Identifier: Apache-2.0
#include "gateway/shared_cache.h"

#include <algorithm>

#include "base/check.h"
#include "gateway/routed_exchange.h"
#include "gateway/write_exchange.h"

namespace dormouse::gateway {

using Verdict = kube::AccessReviews::Verdict;

SharedCache::SharedCache(const Clock& clock, Log& log, kube::Upstream& upstream, Options options)
    : clock_(clock), log_(log), upstream_(upstream), options_(std::move(options)), reviews_(clock, upstream, {}) {}

SharedCache::~SharedCache() = default;

std::unique_ptr<kube::Exchange> SharedCache::start(kube::Request request, std::shared_ptr<ApiClient> client, kube::ExchangeSink& sink) {
  ReadRequest read;
  if (client == nullptr || client->identity == nullptr) read.reason = Forwarded::NoIdentity;
  else read = read_request(request);
  // The newest state of one object is asked of the API server: there is nothing to learn or to begin by it.
  if (read.cached && read.cached->query.verb == watchcache::Verb::Get && read.cached->query.from == watchcache::Query::From::Unset) {
    read = {.reason = Forwarded::Consistent};
  }
  if (read.cached) return std::make_unique<RoutedExchange>(*this, std::move(request), std::move(*read.cached), std::move(client), sink);
  ++counters_.forwarded[static_cast<std::size_t>(read.reason)];
  if (!read.written.empty()) return std::make_unique<WriteExchange>(upstream_, std::move(request), std::move(read.written), std::move(client), sink);
  return upstream_.start(std::move(request), sink);
}

void SharedCache::client_gone(ApiClient& client) {
  client.identity = nullptr;
  for (const auto& entry : entries_) entry->client_gone(client);
}

// --- Entries ---

CacheEntry* SharedCache::find(const CacheRequest& request) const {
  watchcache::CacheKey key = request.key;
  const auto at = [&]() -> CacheEntry* {
    const auto found = entries_.find(key);
    return found == entries_.end() ? nullptr : found->get();
  };
  if (CacheEntry* const exact = at()) return exact;
  // One that holds more: without selectors, or of all namespaces, or both.
  key.label_selector.clear();
  key.field_selector.clear();
  if (CacheEntry* const whole = at()) return whole;
  key.namespace_name.clear();
  if (CacheEntry* const everywhere = at()) return everywhere;
  key.label_selector = request.key.label_selector;
  key.field_selector = request.key.field_selector;
  return at();
}

CacheEntry* SharedCache::create(const watchcache::CacheKey& key) {
  CHECK(!entries_.contains(key));
  if (entries_.size() >= options_.entries_max) return nullptr;
  auto entry = std::make_unique<CacheEntry>(*this, key, options_.seed + next_sequence());
  return entries_.insert(std::move(entry)).first->get();
}

std::uint64_t SharedCache::compress_cold(std::uint64_t bytes_target) {
  std::uint64_t freed = 0;
  for (const auto& entry : entries_) {
    if (freed >= bytes_target) break;
    freed += entry->cache().compress_cold(bytes_target - freed);
  }
  return freed;
}

void SharedCache::entry_died(CacheEntry& entry) {
  const auto at = entries_.find(entry.key());
  CHECK(at != entries_.end() && at->get() == &entry);
  auto node = entries_.extract(at);
  dead_.push_back(std::move(node.value()));
  wake_at(now());
}

bool SharedCache::refused_in(const Refusals& refusals, const watchcache::CacheKey& key) const {
  const auto found = refusals.find(key);
  return found != refusals.end() && now() < found->second;
}

void SharedCache::refuse_in(Refusals& refusals, const watchcache::CacheKey& key, Nanoseconds how_long) {
  if (refusals.size() >= options_.refusals_max) std::erase_if(refusals, [this](const auto& entry) { return entry.second <= now(); });
  if (refusals.size() < options_.refusals_max) refusals[key] = now() + how_long;
}

// --- Rights, while watches are open ---

OpenRight& SharedCache::watch_opened(RoutedExchange& exchange, const kube::AccessAttributes& rights) {
  const auto at = open_rights_.try_emplace({exchange.client().name, rights}).first;
  OpenRight& right = at->second;
  right.right = &at->first;
  if (right.exchanges.empty()) right.due = now() + options_.review_interval;
  right.exchanges.insert(&exchange);
  wake_at(right.due);
  return right;
}

void SharedCache::watch_closed(RoutedExchange& exchange, OpenRight& right) {
  right.exchanges.erase(&exchange);
  if (right.exchanges.empty()) open_rights_.erase(open_rights_.find(*right.right));
}

void SharedCache::review_now(const std::string& who) {
  for (auto& [right, open] : open_rights_) {
    if (right.first == who) open.due = now();
  }
  wake_at(now());
}

void SharedCache::review_rights() {
  if (std::ranges::none_of(open_rights_, [this](const auto& entry) { return entry.second.due <= now(); })) return;
  // With those that would be due soon: many reviews at once cost a loop that sleeps in between a fraction of the same one by one. Not a
  // denial that is to be seen again: its time is a shortest one.
  std::vector<Right> due;
  for (const auto& [right, open] : open_rights_) {
    if (open.due <= now() + (open.doubtful ? Nanoseconds() : options_.review_interval / 8)) due.push_back(right);
  }
  for (const Right& right : due) {
    const auto found = open_rights_.find(right);
    if (found == open_rights_.end()) continue;
    const auto asker = std::ranges::find_if(found->second.exchanges, [](RoutedExchange* exchange) { return exchange->client().identity != nullptr; });
    const std::uint64_t question = found->second.question = next_sequence();
    if (asker == found->second.exchanges.end()) {
      reviewed(right, question, Verdict::Denied);
      continue;
    }
    // The next time counts from the question: an answer that never comes is asked for again.
    found->second.due = now() + options_.review_interval;
    reviews_.check_again(right.first, *(*asker)->client().identity, right.second, [this, right, question, alive = std::weak_ptr<bool>(alive_)](Verdict verdict) {
      if (!alive.expired()) reviewed(right, question, verdict);
    });
  }
}

void SharedCache::reviewed(const Right& right, std::uint64_t question, Verdict verdict) {
  const auto found = open_rights_.find(right);
  if (found == open_rights_.end() || found->second.question != question) return;
  const bool doubted = std::exchange(found->second.doubtful, verdict == Verdict::Denied);
  if (verdict == Verdict::Denied && !doubted) {
    found->second.due = now() + options_.denied_again;
    return wake_at(found->second.due);
  }
  if (verdict == Verdict::Allowed) return wake_at(found->second.due);
  const auto exchanges = found->second.exchanges;
  log_.info("a watch has ended: its client may not watch this any more", {{"client", right.first}, {"verb", right.second.verb}, {"resource", right.second.resource},
                                                                         {"namespace", right.second.namespace_name}, {"streams", exchanges.size()}});
  counters_.revoked += exchanges.size();
  for (RoutedExchange* const exchange : exchanges) {
    // Ending one may end others: they share sessions with nobody, but their owners may.
    const auto still = open_rights_.find(right);
    if (still != open_rights_.end() && still->second.exchanges.contains(exchange)) exchange->revoke();
  }
}

// --- Time ---

void SharedCache::soon(std::weak_ptr<void> alive, std::function<void()> task) {
  soon_.emplace_back(std::move(alive), std::move(task));
  wake_at(now());
}

void SharedCache::wake_at(Nanoseconds when) {
  if (alarm_ && *alarm_ <= when) return;
  alarm_ = when;
  if (options_.wake_at) options_.wake_at(when);
}

void SharedCache::on_timer() {
  alarm_.reset();
  for (auto& [alive, task] : std::exchange(soon_, {})) {
    if (!alive.expired()) task();
  }
  std::vector<CacheEntry*> due;
  std::optional<Nanoseconds> next;
  const auto take = [&next](std::optional<Nanoseconds> when) {
    if (when && (!next || *when < *next)) next = when;
  };
  for (const auto& entry : entries_) {
    if (const auto when = entry->due(); when && *when <= now()) due.push_back(entry.get());
  }
  // One may end others; they stay in dead_ until the end of this, and their run() does nothing.
  for (CacheEntry* const entry : due) entry->run(now());
  for (RoutedExchange* const exchange : std::set<RoutedExchange*>(waiting_)) {
    if (waiting_.contains(exchange) && exchange->give_up_at() <= now()) exchange->give_up();
  }
  review_rights();
  std::erase_if(dead_, [](const auto& entry) { return entry->readers() == 0; });
  for (const auto& entry : entries_) take(entry->due());
  for (const RoutedExchange* const exchange : waiting_) take(exchange->give_up_at());
  for (const auto& [right, open] : open_rights_) take(open.due);
  if (!soon_.empty()) take(now());
  if (next) wake_at(*next);
}

std::vector<SharedCache::EntryStatus> SharedCache::status() const {
  static constexpr std::string_view kStates[] = {"Stopped", "Listing", "Watching", "Probing", "Waiting"};
  std::vector<EntryStatus> all;
  for (const auto& entry : entries_) {
    EntryStatus status{.key = entry->key(), .state = std::string(kStates[static_cast<std::size_t>(entry->reflector().state())]), .error = entry->in_trouble() ? entry->reflector().last_error() : "",
                       .revision = entry->cache().revision(), .objects = entry->cache().size(), .readers = entry->readers(), .age = now() - entry->since(), .cache = entry->cache().counters(), .reflector = entry->reflector().counters()};
    if (entry->donor() != nullptr) status.donor = entry->donor()->name;
    status.watches = status.cache.watches_open;
    status.bytes = status.cache.plain_bytes + status.cache.compressed_bytes + status.cache.overhead_bytes;
    all.push_back(std::move(status));
  }
  return all;
}

}  // namespace dormouse::gateway
