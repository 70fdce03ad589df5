// SPDX-License-Identifier: Apache-2.0
#pragma once
// One watch for all: answers GET, LIST and WATCH of every client from shared caches, each to whoever may, and forwards the rest.
//
//   start() ──▶ not for a cache ─────────────────────────────▶ forwarded as it is
//          └──▶ RoutedExchange: may he? ──▶ which entry? ──▶ from the cache │ forwarded │ relayed, later joined
//
// A CacheEntry keeps one resource equal to the API server, with the token of a reader who may list and watch all of it.
// Nothing is served before the API server has said, as the client, that the client may; while a watch is open it is
// asked again. What cannot be known to be exactly what the API server would say is forwarded: no answer is older than
// what was asked for or than what the client has written, and no revision is made up.
//
// Ownership: owned by the host; borrows Clock, Log and Upstream. Exchanges go before it.
// Threads: the loop's. It keeps no timer: call on_timer() when `wake_at` said.
// Invariant: entries are destroyed only in on_timer(), so an exchange's entry is there for the whole of a call.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "gateway/api_client.h"
#include "gateway/cache_entry.h"
#include "gateway/cache_request.h"
#include "kube/access_reviews.h"

namespace dormouse::gateway {

class RoutedExchange;

// What a client needs for watches that are open: asked for again and again until they are closed.
struct OpenRight {
  const std::pair<std::string, kube::AccessAttributes>* right = nullptr;  // Who, and what.
  Nanoseconds due{};
  std::uint64_t question = 0;  // The one whose answer counts: the last.
  bool doubtful = false;       // Denied once.
  std::set<RoutedExchange*> exchanges;
};

class SharedCache final : public ApiFront, Immovable {
 public:
  struct Options {
    Nanoseconds grace = std::chrono::seconds(60);           // How long an entry outlives its last reader; not those of Secrets.
    Nanoseconds ready_wait = std::chrono::seconds(3);       // For an entry that is coming up; then the request is forwarded.
    Nanoseconds review_interval = std::chrono::seconds(15); // While a watch is open: revoked rights end it within 30 s.
    // Denied is believed when it is said again after this: an API server that has just started denies everybody everything.
    Nanoseconds denied_again = std::chrono::seconds(12);
    Nanoseconds refused_for = std::chrono::seconds(10);     // What cannot be cached is forwarded for so long.
    Nanoseconds lists_refused_for = std::chrono::minutes(10);  // Lists that no watch followed begin no entry for so long.
    std::size_t entries_max = 512;
    std::size_t refusals_max = 4096;
    std::uint64_t seed = 0;
    // Called, if set, around the handling of what comes on an entry's watch while anybody reads from it: true before, false after.
    std::function<void(bool begins)> around_data;
    std::function<void(Nanoseconds)> wake_at;               // on_timer() is due then; a later call may name an earlier time.
  };
  SharedCache(const Clock& clock, Log& log, kube::Upstream& upstream, Options options);
  ~SharedCache() override;

  std::unique_ptr<kube::Exchange> start(kube::Request request, std::shared_ptr<ApiClient> client, kube::ExchangeSink& sink) override;
  // The client's identity is going, after all its exchanges.
  void client_gone(ApiClient& client);
  void on_timer();

  struct EntryStatus {
    watchcache::CacheKey key;
    std::string state, donor, error;       // "Watching" and so on; whose token it uses.
    watchcache::Revision revision = 0;
    std::size_t objects = 0;
    std::size_t readers = 0, watches = 0;  // Of whatever kind; streams that it feeds.
    Nanoseconds age{};
    std::uint64_t bytes = 0;               // Objects and log.
    watchcache::ResourceCache::Counters cache;
    watchcache::Reflector::Counters reflector;
  };
  struct Counters {
    std::uint64_t served_lists = 0, served_watches = 0, served_gets = 0;
    std::uint64_t forwarded[static_cast<std::size_t>(Forwarded::kCount)] = {};
    std::uint64_t relays = 0, joined = 0;  // Watches that began as the client's own stream, and went over to a cache.
    std::uint64_t donor_moves = 0, revoked = 0;
  };
  // Memory is short: compresses what has not been read for longest, until so much is freed or all is cold. Yields the bytes freed. About 3 ms
  // a MB (zstd).
  std::uint64_t compress_cold(std::uint64_t bytes_target);
  std::vector<EntryStatus> status() const;
  const Counters& counters() const { return counters_; }
  const kube::AccessReviews::Counters& review_counters() const { return reviews_.counters(); }

  // ---- For entries and exchanges ----
  Nanoseconds now() const { return clock_.monotonic(); }
  Log& log() { return log_; }
  kube::Upstream& upstream() { return upstream_; }
  kube::AccessReviews& reviews() { return reviews_; }
  const Options& options() const { return options_; }
  Counters& count() { return counters_; }
  std::uint64_t next_sequence() { return ++sequence_; }
  // `task` runs in the next on_timer(), unless `alive` has gone.
  void soon(std::weak_ptr<void> alive, std::function<void()> task);
  void wake_at(Nanoseconds when);
  // The entry of exactly this, or one that holds more; null: none.
  CacheEntry* find(const CacheRequest& request) const;
  bool refused(const watchcache::CacheKey& key) const { return refused_in(refusals_, key); }
  bool lists_refused(const watchcache::CacheKey& key) const { return refused_in(list_refusals_, key); }
  void refuse(const watchcache::CacheKey& key) { refuse_in(refusals_, key, options_.refused_for); }
  void refuse_lists(const watchcache::CacheKey& key) { refuse_in(list_refusals_, key, options_.lists_refused_for); }
  // A new entry. Null: there are too many.
  CacheEntry* create(const watchcache::CacheKey& key);
  // The entry has died: nobody finds it any more.
  void entry_died(CacheEntry& entry);
  // A waiting exchange, which gives up at its time.
  void waits(RoutedExchange& exchange) { waiting_.insert(&exchange); }
  bool anybody_waits() const { return !waiting_.empty(); }
  void waits_no_more(RoutedExchange& exchange) { waiting_.erase(&exchange); }
  // An open watch out of a cache.
  OpenRight& watch_opened(RoutedExchange& exchange, const kube::AccessAttributes& rights);
  void watch_closed(RoutedExchange& exchange, OpenRight& right);
  // This client's right has turned out to be gone.
  void review_now(const std::string& who);

 private:
  using Right = std::pair<std::string, kube::AccessAttributes>;
  using Refusals = std::map<watchcache::CacheKey, Nanoseconds>;
  bool refused_in(const Refusals& refusals, const watchcache::CacheKey& key) const;
  void refuse_in(Refusals& refusals, const watchcache::CacheKey& key, Nanoseconds how_long);
  void review_rights();
  void reviewed(const Right& right, std::uint64_t question, kube::AccessReviews::Verdict verdict);

  const Clock& clock_;
  Log& log_;
  kube::Upstream& upstream_;
  const Options options_;
  kube::AccessReviews reviews_;
  Counters counters_;
  std::uint64_t sequence_ = 0;
  struct ByKey {
    using is_transparent = void;
    static const watchcache::CacheKey& of(const watchcache::CacheKey& key) { return key; }
    static const watchcache::CacheKey& of(const std::unique_ptr<CacheEntry>& entry) { return entry->key(); }
    bool operator()(const auto& a, const auto& b) const { return of(a) < of(b); }
  };
  std::set<std::unique_ptr<CacheEntry>, ByKey> entries_;
  std::vector<std::unique_ptr<CacheEntry>> dead_;
  Refusals refusals_, list_refusals_;      // Until when.
  std::map<Right, OpenRight> open_rights_;
  std::set<RoutedExchange*> waiting_;
  std::vector<std::pair<std::weak_ptr<void>, std::function<void()>>> soon_;
  std::optional<Nanoseconds> alarm_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace dormouse::gateway
