// SPDX-License-Identifier: Apache-2.0
#include "watchcache/event_log.h"

#include <algorithm>

namespace dormouse::watchcache {

std::uint64_t EventLog::bytes_of(const LogEntry& entry) {
  return sizeof(LogEntry) + (entry.kind == LogEntry::Kind::Deleted ? entry.object->size() : 0) + (entry.previous == nullptr ? 0 : entry.previous->size());
}

void EventLog::append(LogEntry entry) {
  bytes_ += bytes_of(entry);
  if (!entries_) entries_.emplace();
  entries_->push_back(std::move(entry));
}

void EventLog::drop_first() {
  bytes_ -= bytes_of(entries_->front());
  entries_->pop_front();
  ++first_;
  if (entries_->empty()) entries_.reset();
}

void EventLog::clear() {
  first_ = end();
  entries_.reset();
  bytes_ = 0;
}

EventLog::Index EventLog::after(Revision revision) const {
  if (!entries_) return first_;
  const auto found = std::ranges::upper_bound(*entries_, revision, {}, &LogEntry::revision);
  return first_ + static_cast<Index>(found - entries_->begin());
}

}  // namespace dormouse::watchcache
