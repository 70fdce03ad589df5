// SPDX-License-Identifier: Apache-2.0
#pragma once
// One open WATCH: a cursor over the cache's event log, from which its owner reads the bytes of the stream.
//
//   Initial ──▶ Log ──▶ Over
//
// Initial: an immutable snapshot as ADDED events, sorted by key, then the bookmark that ends them. Log: events as they
// come. Nothing is queued: a reader that does not read costs a position, and when the log has moved past it, its stream
// ends with 410 Expired (the API server closes such a stream and answers the next attempt with 410; the outcome is the same).
//
// A sleeping guest need not be woken for everything: pending() says how urgent it is. A bookmark or time-out left unread
// is made when it is read, and is true then.
//
// Ownership: owned by whoever reads; the ResourceCache must outlive it.
// Threads:   the cache's.
// Invariant: a bookmark's revision is one that the API server has told, everything up to it has been read from here
//            before, and it is never below anything read before.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/types.h"
#include "watchcache/api_status.h"
#include "watchcache/event_log.h"
#include "watchcache/object_set.h"
#include "watchcache/selector.h"

namespace dormouse::watchcache {

class ResourceCache;
class Watch;

// A list through its members, so that one may leave while another is looked at.
struct WatchList {
  Watch* first = nullptr;
  Watch* last = nullptr;
  void push(Watch& watch);
  void remove(Watch& watch);
};

struct WatchRequest {
  Selection selection;
  std::optional<Revision> from;   // Unset: from what the cache holds now.
  bool initial_events = false;    // First the state, whatever `from` is.
  bool bookmarks = false;
  bool prune_managed_fields = false;
  std::uint32_t timeout_seconds = 0;  // 0: 30 to 60 minutes, as the API server does.
};

class Watch final : Immovable {
 public:
  enum class Pending : std::uint8_t {
    Nothing,
    Bookmark,  // May wait.
    TimedOut,  // The stream may end now. May wait.
    Event,     // An event, an error, or the end for another reason than time.
  };
  class Listener {
   public:
    // pending() has grown to this. May read from or destroy any watch, and make new ones; may not change the cache.
    virtual void on_watch_pending(Watch& watch, Pending pending) = 0;
   protected:
    ~Listener() = default;
  };
  ~Watch();

  Pending pending() const { return pending_; }
  // The next bytes of the stream, contiguous; empty: nothing now. Valid until anything else of the cache is called.
  std::string_view peek();
  // REQUIRES: no more than peek() showed.
  void consume(std::size_t bytes);
  std::size_t read(std::span<char> into);
  // All has been read and nothing more will come: close the stream, cleanly.
  bool over() const { return phase_ == Phase::Over && part_count_ == 0 && final_.empty(); }
  // Between two events: nothing is cut if the stream ends here.
  bool at_boundary() const { return part_count_ == 0 || (part_ == 0 && offset_ == 0); }

 private:
  friend class ResourceCache;
  friend struct WatchList;
  enum class Phase : std::uint8_t { Initial, Log, Over };
  enum class Type : std::uint8_t { Added, Modified, Deleted };
  Watch(ResourceCache& cache, WatchRequest request, Listener& listener);

  bool selects(const Object& object) const { return everything_ || request_.selection.matches(object.namespace_name(), object.name(), object.labels()); }
  // As what this reader sees an entry; unset: not at all. Lost entries are seen as nothing, but see wants().
  std::optional<Type> type_for(const LogEntry& entry) const;
  bool wants(const LogEntry& entry) const;
  bool advance();            // To the next entry that it wants, or to the log's end. False: the end.
  bool load();               // Makes the next event's parts. False: nothing now.
  bool load_initial();
  bool load_log();
  void load_event(Type type, ObjectPtr object);
  void load_bookmark(Revision revision, bool initial_end);
  void load_frame(std::string frame);
  void release_event();
  void expire();             // 410: the log holds no more what comes next for it.
  void end(const ApiStatus* status);
  void raise(Pending pending);
  void settle();             // Computes pending_ after something was read.
  void become_idle();
  void on_timer(Nanoseconds now);
  Nanoseconds next_timer() const;

  ResourceCache& cache_;
  const WatchRequest request_;
  Listener& listener_;
  const bool everything_;
  const std::uint64_t id_;             // Rises from one watch of a cache to the next.
  Phase phase_ = Phase::Log;
  Pending pending_ = Pending::Nothing;
  bool bookmark_due_ = false, timed_out_ = false;
  bool idle_ = false;                  // Has read everything: it is in the cache's list of those, and next_ means the log's end.
  WatchList* list_ = nullptr;
  Watch *before_ = nullptr, *after_ = nullptr;

  std::unique_ptr<ObjectSet> snapshot_;  // With Initial.
  ObjectSet::Position position_;
  EventLog::Index next_ = 0;
  std::optional<EventLog::Index> stop_at_;  // Timed out: what came before is still told.
  Revision from_ = 0;                  // Events and bookmarks up to here are not for this reader.

  std::string_view parts_[3];          // Of the event being read.
  std::uint8_t part_ = 0, part_count_ = 0;
  std::size_t offset_ = 0;
  ObjectPtr current_;                  // Pinned.
  std::string head_, scratch_, final_; // final_: an ERROR event, to be read after what is being read.

  std::optional<Nanoseconds> timer_;   // As the cache's timers have it.
  Nanoseconds deadline_{}, bookmark_at_{};
};

}  // namespace dormouse::watchcache
