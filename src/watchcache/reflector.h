// SPDX-License-Identifier: Apache-2.0
#pragma once
// Keeps one ResourceCache equal to the API server: which request to make next, and what to do with its answer.
//
//   Stopped ──start()──▶ Listing ──whole──▶ Watching ──ended by time──▶ Watching again from the last revision
//                           ▲  ▲                │ ended otherwise
//                           │  └── 410 ─────────┤
//                           │                   ▼
//                           └─ gone back ── Probing (is the server's revision at least ours?) ──▶ Watching again
//   any failure ──▶ Waiting (back-off with jitter) ──▶ where it was
//
// Listing is one WATCH with sendInitialEvents, of quorum consistency; where the server knows no such thing, a LIST in
// pages. Probing is a LIST of at most one object with quorum: a watch from a revision that a restored etcd does not have
// yet would be silent for ever, not an error, so a connection that broke is not resumed without it.
//
// The owner performs requests: take_action() says what to start or cancel, and what comes of it is told by on_…(),
// in order, for the one request that is open. Everything is a GET.
//
// Ownership: owned by the host; borrows the cache, which outlives it.
// Threads:   the cache's.
// Invariant: at most one request is open; nothing of a cancelled one may be told any more.

#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/types.h"
#include "watchcache/frames.h"
#include "watchcache/resource_cache.h"

namespace dormouse::watchcache {

class Reflector final : Immovable {
 public:
  using Headers = std::vector<std::pair<std::string, std::string>>;  // Names in lower case.
  enum class State : std::uint8_t { Stopped, Listing, Watching, Probing, Waiting };
  enum class Trouble : std::uint8_t {
    None,
    Failing,  // Trying again; what is held may be old.
    Denied,   // 401 or 403: whoever's credentials these are may not (any more). Give others, then credentials_changed().
    Gone,     // 404: there is no such resource. The cache is reset.
    NotAcceptable,  // 406: the resource is not to be had in this encoding (custom resources know no protobuf). Use another cache.
  };
  struct Options {
    std::uint64_t seed = 0;
    bool watch_list = true;
    std::uint32_t page_items = 500;                                 // As client-go's pager.
    std::size_t page_bytes_max = 64 * 1024 * 1024;                  // A larger page is asked for again at half the items.
    std::size_t list_bytes_max = 2ULL * 1024 * 1024 * 1024;         // All objects of a list together; beyond, it fails.
    Nanoseconds backoff_min = std::chrono::milliseconds(800);       // As client-go's reflector: 800 ms to 30 s,
    Nanoseconds backoff_max = std::chrono::seconds(30);             // doubled each time, with jitter,
    Nanoseconds backoff_reset = std::chrono::minutes(2);            // and forgotten after two quiet minutes.
    std::uint32_t watch_seconds_min = 300;                          // timeoutSeconds is this to twice this, as client-go's.
    Nanoseconds list_stall = std::chrono::seconds(60);              // A list that brings nothing for so long is given up.
  };
  struct Action {
    enum class Kind : std::uint8_t { Start, Cancel };
    Kind kind = Kind::Start;
    std::string target;  // Path and query.
    std::string accept;
  };

  Reflector(Options options, ResourceCache& cache);

  void start(Nanoseconds now);
  // Cancels; the cache keeps what it holds, unchanged.
  void stop();
  void credentials_changed(Nanoseconds now);
  // The server's revision, learned with quorum by somebody else (a consistent read), and the cache's when that was asked for. If the
  // server's is below, history has been changed (etcd was restored): everything is read anew.
  void observed(Revision server_revision, Revision cache_revision_when_asked, Nanoseconds now);

  // What the owner has to do, until there is nothing.
  std::optional<Action> take_action();
  void on_response(int status, const Headers& headers, Nanoseconds now);
  void on_data(std::string_view bytes, Nanoseconds now);
  void on_end(Nanoseconds now);
  void on_failure(std::string_view what, Nanoseconds now);
  std::optional<Nanoseconds> deadline() const { return deadline_; }
  void on_timer(Nanoseconds now);

  State state() const { return state_; }
  Trouble trouble() const { return trouble_; }
  const std::string& last_error() const { return last_error_; }
  struct Counters {
    std::uint64_t lists = 0, watches = 0, failures = 0, went_back = 0;
  };
  const Counters& counters() const { return counters_; }

 private:
  enum class Phase : std::uint8_t { None, WatchList, Page, Watch, Probe };
  void begin(Phase phase, Nanoseconds now);
  void relist(Nanoseconds now);
  void expired(Nanoseconds now);
  void went_back(Nanoseconds now);
  void on_event(const WatchEvent& event, Nanoseconds now);
  void on_initial_event(const WatchEvent& event, Nanoseconds now);
  void on_error_event(const StatusInfo& status, Nanoseconds now);
  void on_refusal(const StatusInfo& status, Nanoseconds now);
  void on_page(Nanoseconds now);
  void on_probe(Nanoseconds now);
  void smaller_pages(Nanoseconds now);
  bool learn(const WatchEvent& event, const Bookmark* bookmark);
  void finish_list(Revision revision, Nanoseconds now);
  Result<void> stage(std::string_view object, std::string_view kind, std::string_view api_version);
  void fail_and_wait(std::string what, Nanoseconds now, Trouble trouble = Trouble::Failing);
  void drop_request();
  void drop_staged();
  Phase list_phase() const { return options_.watch_list && !watch_list_refused_ ? Phase::WatchList : Phase::Page; }
  std::string target(Phase phase) const;

  const Options options_;
  ResourceCache& cache_;
  std::minstd_rand random_;
  State state_ = State::Stopped;
  Trouble trouble_ = Trouble::None;
  Phase phase_ = Phase::None, again_ = Phase::None;  // again_: what comes after Waiting; None: a list.
  std::optional<Action> start_;
  bool cancel_ = false, open_ = false, started_ = false;  // started_: the owner has been told of the open request.
  std::optional<Nanoseconds> deadline_;
  unsigned failures_ = 0;
  Nanoseconds last_failure_{}, last_expired_{}, opened_{};
  std::string last_error_;

  int status_ = 0;
  std::uint32_t retry_after_seconds_ = 0;
  WatchDecoder decoder_;
  ZeroingString body_;
  std::vector<ObjectPtr> staged_;
  std::uint64_t staged_bytes_ = 0;
  bool watch_list_refused_ = false;
  std::uint32_t page_items_, watch_seconds_ = 0;
  std::string continue_;
  Revision list_revision_ = 0;
  Counters counters_;
};

}  // namespace dormouse::watchcache
