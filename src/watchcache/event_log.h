// SPDX-License-Identifier: Apache-2.0
#pragma once
// The last events of a cache, in the order of their revisions, numbered without gaps.
//
// Ownership: owned by its ResourceCache.
// Threads:   one.

#include <cstdint>
#include <deque>
#include <optional>

#include "watchcache/object.h"

namespace dormouse::watchcache {

struct LogEntry {
  enum class Kind : std::uint8_t {
    Put,      // `object` is there now; `previous` was before, or null.
    Deleted,  // `object` is the last state, with the revision of its deletion; `previous` was before.
    Lost,     // `previous` was deleted while nobody watched, at a revision that nobody knows: whoever saw it must list again.
  };
  Kind kind = Kind::Put;
  Revision revision = 0;
  ObjectPtr object, previous;
  mutable ObjectPtr left;  // `previous` with this event's revision: for those whose selection it has left. Made when first needed.
};

class EventLog {
 public:
  using Index = std::uint64_t;

  Index begin() const { return first_; }
  Index end() const { return first_ + (entries_ ? entries_->size() : 0); }
  const LogEntry& at(Index index) const { return (*entries_)[index - first_]; }
  std::uint64_t bytes() const { return bytes_; }

  // An entry is charged with what is held for its sake alone: the state before (what came after lies in the store or is the state
  // before of a later entry), and a deleted object's last.
  void append(LogEntry entry);
  void drop_first();
  void clear();
  // The first entry above `revision`.
  Index after(Revision revision) const;

 private:
  static std::uint64_t bytes_of(const LogEntry& entry);

  std::optional<std::deque<LogEntry>> entries_;  // An empty deque would take 600 bytes.
  Index first_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace dormouse::watchcache
