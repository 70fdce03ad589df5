// SPDX-License-Identifier: Apache-2.0
#pragma once
// One GET, LIST or WATCH that a cache may answer: finds out whether it does, and is then the stream of the answer.
//
//   Rights ──▶ Waiting (for the entry) ──▶ List, Body, Watch      from the cache
//      │            └──────────────────▶ Relay ──joined──▶ Watch  the client's own stream first, the cache's from an event on
//      └─────────────────────────────────▶ Forwarded              the client's own stream
//
// A relay is for watches whose beginning only the API server knows (the newest state, a revision before the cache's log): its
// bytes go through untouched, their events are read beside, and as soon as the cache holds everything after the last one
// that went through, the cache goes on from there and the upstream stream is closed. No event is lost, doubled or changed.
//
// Ownership: owned by the session. Its SharedCache outlives it.
// Threads: the loop's.
// Invariant: of the cache's bytes at most kWindowBytes are not yet consumed.
// Invariant: the sink is never called from within the constructor; it may destroy this object in any call.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "gateway/api_client.h"
#include "gateway/cache_entry.h"
#include "gateway/cache_request.h"
#include "kube/access_reviews.h"
#include "kube/upstream.h"
#include "watchcache/frames.h"
#include "watchcache/list_stream.h"
#include "watchcache/watch.h"

namespace dormouse::gateway {

class SharedCache;
struct OpenRight;

class RoutedExchange final : public kube::Exchange, kube::ExchangeSink, watchcache::Watch::Listener, CacheEntry::Reader, Immovable {
 public:
  static constexpr std::size_t kWindowBytes = 64 * 1024;
  static constexpr std::size_t kPieceBytes = 16 * 1024;

  RoutedExchange(SharedCache& owner, kube::Request request, CacheRequest read, std::shared_ptr<ApiClient> client, kube::ExchangeSink& sink);
  ~RoutedExchange() override;

  std::size_t write(std::span<const std::byte> bytes) override { return bytes.size(); }  // There is no body.
  void finish_body() override {}
  void consumed(std::size_t bytes) override;

  // The client may not watch this any more: the stream ends as when an API server goes down in order.
  void revoke();
  ApiClient& client() { return *client_; }
  // It waits for its entry no longer than this.
  Nanoseconds give_up_at() const { return give_up_at_; }
  void give_up() { on_entry_changed(); }

 private:
  enum class State : std::uint8_t { Rights, Waiting, Forwarded, Relay, List, Body, Watch, Over };
  using Verdict = kube::AccessReviews::Verdict;
  enum class Choice : std::uint8_t { Serve, Wait, Relay, Forward };

  void ask_rights();
  void on_verdict(int which, Verdict verdict);
  void route();
  void look();
  Choice choose(Forwarded& reason) const;
  void serve();
  void serve_list();
  void serve_get();
  void open_watch(std::optional<watchcache::Revision> from, bool initial_events);
  void forward(Forwarded reason);
  void relay(Forwarded reason);
  bool may_join() const;
  void join();
  void leave_entry();
  void become(State state);
  void respond(std::string_view content_type, std::optional<std::uint64_t> length);
  void pump();
  std::size_t read_piece(std::span<char> into);
  bool source_over();
  void end();

  // Of a relay's stream.
  void on_response(int status, kube::Headers headers) override;
  void on_data(std::span<const std::byte> bytes) override;
  void on_end() override;
  void on_failure(const Error& error, bool before_response) override;
  void on_writable() override {}
  std::size_t read_relayed(std::string_view bytes);

  void on_watch_pending(watchcache::Watch& watch, watchcache::Watch::Pending pending) override;
  void on_entry_changed() override;

  SharedCache& owner_;
  kube::Request request_;  // Until it is forwarded or answered.
  std::unique_ptr<CacheRequest> read_;  // Until it is forwarded, or its watch is open.
  kube::ExchangeSink* sink_;
  State state_ = State::Rights;
  const std::uint64_t sequence_;       // When it came, in SharedCache's count.
  const Nanoseconds came_at_;
  Nanoseconds give_up_at_{};
  int verdicts_wanted_ = 0;
  Verdict verdict_ = Verdict::Unknown; // On what is asked for.
  CacheEntry* entry_ = nullptr;
  OpenRight* right_ = nullptr;         // With Watch.
  std::unique_ptr<kube::Exchange> inner_;

  std::unique_ptr<watchcache::ListStream> list_;
  std::unique_ptr<watchcache::Watch> watch_;
  std::string body_;
  std::size_t body_at_ = 0;
  std::size_t unconsumed_ = 0;         // Of the cache's bytes.
  bool pumping_ = false;
  bool wants_timeout_ = false;         // Its watch's end in time is not to wait until there is something else to tell.

  std::optional<watchcache::WatchDecoder> decoder_;  // While the relay's events can be read.
  std::size_t relay_unconsumed_ = 0;
  watchcache::Revision last_ = 0;      // Everything up to here has gone through.
  bool initial_over_ = false;

  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace dormouse::gateway
