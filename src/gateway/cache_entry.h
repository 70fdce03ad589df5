// SPDX-License-Identifier: Apache-2.0
#pragma once
// One resource in the shared cache: its reflector's requests are performed here, with the token of one of its readers who
// may list and watch all of it (the donor), and go over to another's when that one leaves or may no more.
//
//   Alive ──gone, refused, no donor left, or nobody wants it──▶ Dead (streams have ended cleanly, waiting readers forward)
//
// Ownership: owned by SharedCache, destroyed only in its on_timer(). Readers detach before they go.
// Threads: the loop's.
// Invariant: a reader's call leads to no call of the reflector: what it changes is done in run().

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/types.h"
#include "gateway/api_client.h"
#include "kube/upstream.h"
#include "watchcache/reflector.h"
#include "watchcache/resource_cache.h"

namespace dormouse::gateway {

class SharedCache;

class CacheEntry final : public kube::ExchangeSink, Immovable {
 public:
  // An API server that has just started denies everybody everything until it has read its roles.
  static constexpr Nanoseconds kDeniedMin = std::chrono::seconds(20);

  class Reader {
   public:
    // The cache has come up, failed to, or died. May detach this reader, no other.
    virtual void on_entry_changed() = 0;
   protected:
    ~Reader() = default;
    friend class CacheEntry;
    bool may_donate_ = false;  // Its client may list and watch all that the entry holds.
    std::shared_ptr<ApiClient> client_;
  };
  CacheEntry(SharedCache& owner, watchcache::CacheKey key, std::uint64_t seed);
  ~CacheEntry() override;

  const watchcache::CacheKey& key() const { return cache_.options().key; }
  watchcache::ResourceCache& cache() { return cache_; }
  const watchcache::ResourceCache& cache() const { return cache_; }
  const watchcache::Reflector& reflector() const { return reflector_; }
  bool dead() const { return dead_; }
  bool ready() const { return !dead_ && cache_.ready(); }
  // It is not ready, and something is wrong.
  bool in_trouble() const { return reflector_.trouble() != watchcache::Reflector::Trouble::None; }
  // What is held is no older than when SharedCache counted this (next_sequence()).
  std::uint64_t fresh_as_of() const { return fresh_as_of_; }

  void attach(Reader& reader);
  void detach(Reader& reader);
  std::size_t readers() const { return readers_.size(); }
  const ApiClient* donor() const { return donor_.get(); }
  Nanoseconds since() const { return since_; }
  // A watch was served; else it was there for lists alone.
  void watched() { watched_ = true; }

  // Timers and whatever readers' comings and goings have changed. Only from SharedCache::on_timer().
  void run(Nanoseconds now);
  // When run() is due next.
  std::optional<Nanoseconds> due() const { return donor_dirty_ ? std::optional(Nanoseconds()) : deadline(); }
  void client_gone(const ApiClient& client);

 private:
  std::optional<Nanoseconds> deadline() const;
  void on_response(int status, kube::Headers headers) override;
  void on_data(std::span<const std::byte> bytes) override;
  void on_end() override;
  void on_failure(const Error& error, bool before_response) override;
  void on_writable() override {}

  void perform();
  void request(watchcache::Reflector::Action action, bool retry);
  void after_reflector();
  void choose_donor();
  enum class Refuse : std::uint8_t { No, Lists, All };
  void die(Refuse refuse, std::string_view why);
  void tell_readers();
  std::optional<Nanoseconds> unwanted_until() const;
  Nanoseconds now() const;

  SharedCache& owner_;
  watchcache::ResourceCache cache_;
  watchcache::Reflector reflector_;
  const Nanoseconds since_;
  std::vector<Reader*> readers_;
  std::shared_ptr<ApiClient> donor_;
  bool donor_dirty_ = true;
  std::optional<Nanoseconds> unwanted_since_;
  std::optional<watchcache::Reflector::Action> waiting_;  // For a donor.
  std::unique_ptr<kube::Exchange> exchange_;
  watchcache::Reflector::Action current_;
  std::string token_;  // Of the request under way, until its answer begins.
  bool retried_ = false;
  std::uint64_t request_number_ = 0;
  std::uint64_t lists_seen_ = 0, replaces_seen_ = 0, list_sequence_ = 0, fresh_as_of_ = 0;
  std::optional<Nanoseconds> denied_since_;
  watchcache::Revision revision_told_ = 0;
  bool was_ready_ = false, watched_ = false, dead_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace dormouse::gateway
