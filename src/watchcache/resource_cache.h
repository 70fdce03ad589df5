// SPDX-License-Identifier: Apache-2.0
#pragma once
// All that the host knows of one resource (one CacheKey): the objects, the last events, and who reads them.
//
// A Reflector writes; gateways read. The cache does no I/O and asks no clock: time comes in with each call that
// needs it, and deadline() says when on_timer() is next due.
//
//   NotReady ──replace()──▶ Ready ──reset()──▶ NotReady (every stream ends)
//
// Ownership: owned by the host; outlives its watches, not its ListStreams.
// Threads:   one (the loop's).
// Invariant: revision() is a revision that the API server has told: of an event, a list or a bookmark. None is made up.
// Invariant: revision() never falls while Ready; when the API server's own has fallen (a restored etcd), that is a reset().

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/types.h"
#include "watchcache/cache_key.h"
#include "watchcache/event_log.h"
#include "watchcache/list_stream.h"
#include "watchcache/object_set.h"
#include "watchcache/watch.h"

namespace dormouse::watchcache {

class ResourceCache final : Immovable {
 public:
  struct Options {
    CacheKey key;
    // The API server keeps 100 to 102,400 events, as many as 75 s bring (watch_cache.go). Ours serve readers in the
    // same process, whose reconnects take milliseconds: enough for a burst, and bounded by bytes.
    std::size_t log_events_max = 10'000;
    std::uint64_t log_bytes_max = 16 * 1024 * 1024;
    Nanoseconds bookmark_interval = std::chrono::minutes(1);       // As the API server's.
    Nanoseconds bookmark_before_timeout = std::chrono::seconds(2); // As the API server's.
    bool zero_on_free = false;  // Secrets: bytes are overwritten when nobody holds them any more.
    std::uint64_t seed = 0;     // For the random part of time-outs.
  };
  explicit ResourceCache(Options options);
  ~ResourceCache();
  const Options& options() const { return options_; }

  // ---- Readers ----
  bool ready() const { return ready_; }
  Revision revision() const { return revision_; }
  std::size_t size() const { return objects_.size(); }
  std::string_view kind() const { return kind_; }
  std::string_view api_version() const { return api_version_; }

  // REQUIRES: ready(). A revision that is held no more makes a stream of one ERROR event with 410, as the API server does.
  std::unique_ptr<Watch> watch(WatchRequest request, Nanoseconds now, Watch::Listener& listener);
  // A stream of one ERROR event: what a WATCH gets when the wait for its revision was in vain.
  std::unique_ptr<Watch> failed_watch(const ApiStatus& status, Watch::Listener& listener);
  // REQUIRES: ready().
  std::unique_ptr<ListStream> list(ListStream::Options options) const;
  // Whether at most `limit` objects match: only then can a LIST with a limit be answered without a continue token.
  bool fits(const Selection& selection, std::uint64_t limit) const;
  // Whether a WATCH from here would see everything after it. REQUIRES: ready().
  bool watchable(Revision from) const;
  ObjectPtr find(std::string_view namespace_name, std::string_view name) const;
  // The body of a GET's answer.
  std::string encode(const Object& object, bool prune_managed_fields) const;

  // `done(true)` once ready and at `revision` (0: just ready), `done(false)` at the deadline or at reset(). Never called
  // from within, and not once the Wait has gone. REQUIRES: that is not so already. REQUIRES of done: as of Watch::Listener; it may destroy its Wait.
  class Wait final : Immovable {
   public:
    ~Wait();
   private:
    friend class ResourceCache;
    Wait(ResourceCache& cache, Revision revision, Nanoseconds deadline, std::function<void(bool)> done)
        : cache_(cache), revision_(revision), deadline_(deadline), done_(std::move(done)) {}
    ResourceCache& cache_;
    const Revision revision_;
    const Nanoseconds deadline_;
    std::function<void(bool)> done_;
  };
  std::unique_ptr<Wait> wait_for(Revision revision, Nanoseconds deadline, std::function<void(bool)> done);

  // ---- Time ----
  std::optional<Nanoseconds> deadline() const;
  void on_timer(Nanoseconds now);

  // ---- The writer (a Reflector) ----
  const std::shared_ptr<ObjectPool>& pool() const { return pool_; }
  // Kind and apiVersion as an upstream list or bookmark has them; the first wins.
  void learn_type(std::string_view kind, std::string_view api_version);
  // A whole list at `revision`, gathered in key order or not. Readers go on where that is exactly right: what has changed
  // becomes events with the objects' own revisions; who saw an object that is gone (nobody knows the revision) gets 410.
  // What contradicts what was known (a revision that has fallen, an object that should have been seen) is a reset() first.
  void replace(std::vector<ObjectPtr> objects, Revision revision);
  // False, and nothing done, if the object's revision is not above revision(): the stream repeats or goes back.
  [[nodiscard]] bool put(ObjectPtr object);
  [[nodiscard]] bool remove(ObjectPtr last_state);
  // An upstream bookmark. False, and nothing done, if it is below revision().
  [[nodiscard]] bool progress(Revision revision);
  // History is not what it was, or the resource is gone: every stream ends (with `status` as ERROR event, if given),
  // waits fail, nothing is held.
  void reset(const ApiStatus* status);

  // ---- Memory ----
  // Compresses what has not been used for longest, until at least `bytes_target` bytes are freed or all is cold. Yields the bytes freed.
  std::uint64_t compress_cold(std::uint64_t bytes_target);
  struct Counters {
    std::uint64_t objects = 0, plain_bytes = 0, compressed_bytes = 0, overhead_bytes = 0;  // Of what is held by anyone.
    std::uint64_t log_entries = 0, log_bytes = 0;
    std::uint64_t watches_open = 0, watches = 0;
    std::uint64_t events = 0, replaces = 0, resets = 0;
    std::uint64_t events_read = 0;                          // By all readers.
    std::uint64_t expired_at_start = 0, expired_slow = 0, expired_lost = 0;  // 410: too old a revision; a slow reader; an object gone unseen.
  };
  Counters counters() const;

 private:
  friend class Watch;
  friend class ListStream;
  void append(LogEntry entry);
  void trim();
  void offer(EventLog::Index from);  // Shows new entries to those who have read all before.
  void end_watches(const ApiStatus* status, const std::function<bool(const Watch&)>& which, WatchList& ending);
  void tell_ended(WatchList& ending);
  void wake_waits(bool fail_all);
  void set_timer(Watch& watch, std::optional<Nanoseconds> at);
  bool merge(std::vector<ObjectPtr>& objects, Revision revision);
  std::unique_ptr<Watch> open(WatchRequest request, Watch::Listener& listener);

  const Options options_;
  std::shared_ptr<ObjectPool> pool_;
  std::string kind_, api_version_;  // Learned from the first object, list or bookmark.
  bool ready_ = false;
  Revision revision_ = 0;
  ObjectSet objects_;
  EventLog log_;
  Revision log_from_ = 0;  // Everything above is in log_, except in gaps_.
  struct Gap { Revision from, to; };
  std::vector<Gap> gaps_;  // Between these (both ends excluded) something may have come and gone unseen.
  WatchList idle_, busy_;
  std::map<std::pair<Nanoseconds, std::uint64_t>, Watch*> timers_;  // By time, then by Watch::id_.
  std::vector<Wait*> waits_;
  std::minstd_rand random_;
  std::uint64_t uses_ = 0;
  Counters counters_;
};

}  // namespace dormouse::watchcache
