// SPDX-License-Identifier: Apache-2.0
#include "watchcache/watch.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/check.h"
#include "watchcache/protobuf.h"
#include "watchcache/read_pieces.h"
#include "watchcache/resource_cache.h"

namespace dormouse::watchcache {

namespace {

constexpr std::size_t kScratchKept = 64 * 1024;  // A larger object's room is given back at once.
constexpr std::string_view kJsonTail = "}\n";
// By Watch::Type.
constexpr std::string_view kTypeNames[] = {"ADDED", "MODIFIED", "DELETED"};
constexpr std::string_view kJsonHeads[] = {R"({"type":"ADDED","object":)", R"({"type":"MODIFIED","object":)", R"({"type":"DELETED","object":)"};

// What lies before the `size` bytes of an enveloped message, in a frame of the protobuf stream.
void append_frame_head(std::string& out, std::string_view type, std::string_view envelope_head, std::size_t size) {
  const std::size_t enveloped = envelope_head.size() + size;
  std::string event;
  append_bytes_field(event, 1, type);
  append_bytes_head(event, 2, 1 + varint_size(enveloped) + enveloped);  // RawExtension
  append_bytes_head(event, 1, enveloped);
  const std::size_t frame = event.size() + enveloped;
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>(frame >> shift));
  out.append(event).append(envelope_head);
}

}  // namespace

void WatchList::push(Watch& watch) {
  watch.list_ = this;
  watch.before_ = last;
  watch.after_ = nullptr;
  (last == nullptr ? first : last->after_) = &watch;
  last = &watch;
}

void WatchList::remove(Watch& watch) {
  (watch.before_ == nullptr ? first : watch.before_->after_) = watch.after_;
  (watch.after_ == nullptr ? last : watch.after_->before_) = watch.before_;
  watch.list_ = nullptr;
}

Watch::Watch(ResourceCache& cache, WatchRequest request, Listener& listener)
    : cache_(cache), request_(std::move(request)), listener_(listener), everything_(request_.selection.everything()), id_(cache.counters_.watches) {}

Watch::~Watch() {
  release_event();
  cache_.set_timer(*this, std::nullopt);
  list_->remove(*this);
  --cache_.counters_.watches_open;
}

// ---- What this reader sees ----

std::optional<Watch::Type> Watch::type_for(const LogEntry& entry) const {
  if (entry.revision <= from_ || entry.kind == LogEntry::Kind::Lost) return std::nullopt;
  const bool before = entry.previous != nullptr && selects(*entry.previous);
  const bool now = entry.kind == LogEntry::Kind::Put && selects(*entry.object);
  if (now) return before ? Type::Modified : Type::Added;
  if (before) return Type::Deleted;
  return std::nullopt;
}

bool Watch::wants(const LogEntry& entry) const {
  if (entry.kind == LogEntry::Kind::Lost) return entry.revision > from_ && selects(*entry.previous);
  return type_for(entry).has_value();
}

bool Watch::advance() {
  if (next_ < cache_.log_.begin()) return true;  // Too late: that is told.
  const EventLog::Index end = stop_at_.value_or(cache_.log_.end());
  while (next_ < end && !wants(cache_.log_.at(next_))) ++next_;
  return next_ < end;
}

// ---- Bytes ----

std::string_view Watch::peek() {
  if (part_count_ == 0 && !load()) return {};
  return parts_[part_].substr(offset_);
}

void Watch::consume(std::size_t bytes) {
  CHECK(part_count_ > 0 && bytes <= parts_[part_].size() - offset_);
  offset_ += bytes;
  if (offset_ < parts_[part_].size()) return;
  offset_ = 0;
  if (++part_ < part_count_) return;
  release_event();
  ++cache_.counters_.events_read;
  settle();
}

std::size_t Watch::read(std::span<char> into) { return read_pieces(*this, into); }

void Watch::release_event() {
  part_ = part_count_ = 0;
  offset_ = 0;
  if (current_ != nullptr) {
    if (current_->secret()) wipe(scratch_);
    current_->unpin();
    current_.reset();
  }
  scratch_.clear();
  if (scratch_.capacity() > kScratchKept) scratch_.shrink_to_fit();
}

bool Watch::load() {
  if (!final_.empty()) {
    load_frame(std::exchange(final_, {}));
    return true;
  }
  switch (phase_) {
    case Phase::Initial: return load_initial();
    case Phase::Log: return load_log();
    case Phase::Over: return false;
  }
  CHECK(false);
}

bool Watch::load_initial() {
  while (const ObjectPtr* const object = snapshot_->next(position_)) {
    if (!selects(**object)) continue;
    load_event(Type::Added, *object);
    return true;
  }
  snapshot_.reset();
  phase_ = Phase::Log;
  if (!request_.bookmarks) return load_log();
  load_bookmark(from_, true);
  return true;
}

bool Watch::load_log() {
  if (timed_out_ && !stop_at_) stop_at_ = cache_.log_.end();
  if (!idle_ && advance()) {
    if (next_ < cache_.log_.begin()) {
      ++cache_.counters_.expired_slow;
      expire();
      return load();
    }
    const LogEntry& entry = cache_.log_.at(next_);
    if (entry.kind == LogEntry::Kind::Lost) {
      ++cache_.counters_.expired_lost;
      expire();
      return load();
    }
    ++next_;
    const Type type = *type_for(entry);
    if (type == Type::Deleted && entry.kind == LogEntry::Kind::Put) {
      if (entry.left == nullptr) entry.left = entry.previous->with_revision(entry.revision);
      load_event(type, entry.left);
    } else {
      load_event(type, entry.object);
    }
    return true;
  }
  // All has been read. A bookmark covers everything up to the cache's revision, so there must be nothing left in the log.
  const bool all = idle_ || next_ == cache_.log_.end();
  if (request_.bookmarks && (bookmark_due_ || timed_out_) && all && cache_.revision_ > from_) {
    bookmark_due_ = false;
    if (timed_out_) end(nullptr);
    load_bookmark(cache_.revision_, false);
    return true;
  }
  bookmark_due_ = false;
  if (timed_out_) {
    end(nullptr);
    return false;
  }
  if (!idle_) become_idle();
  pending_ = Pending::Nothing;
  return false;
}

void Watch::load_event(Type type, ObjectPtr object) {
  current_ = std::move(object);
  current_->pin();
  std::string_view body;
  if (request_.prune_managed_fields) {
    current_->append_pruned(scratch_);
    body = scratch_;
  } else {
    body = current_->bytes(scratch_);
  }
  const auto index = static_cast<std::size_t>(type);
  if (cache_.options_.key.encoding == Encoding::Json) {
    parts_[0] = kJsonHeads[index];
    parts_[1] = body;
    parts_[2] = kJsonTail;
    part_count_ = 3;
  } else {
    std::string envelope_head;
    append_envelope_head(envelope_head, cache_.api_version_, cache_.kind_, body.size());
    head_.clear();
    append_frame_head(head_, kTypeNames[index], envelope_head, body.size());
    parts_[0] = head_;
    parts_[1] = body;
    part_count_ = 2;
  }
}

void Watch::load_frame(std::string frame) {
  head_ = std::move(frame);
  parts_[0] = head_;
  part_count_ = 1;
}

void Watch::load_bookmark(Revision revision, bool initial_end) {
  if (cache_.options_.key.encoding == Encoding::Json) {
    load_frame(fmt::format(R"({{"type":"BOOKMARK","object":{{"kind":"{}","apiVersion":"{}","metadata":{{"resourceVersion":"{}"{}}}}}}}{})", cache_.kind_, cache_.api_version_, revision,
                           initial_end ? R"(,"annotations":{"k8s.io/initial-events-end":"true"})" : "", "\n"));
    return;
  }
  std::string annotation, meta, object, envelope_head, frame;
  append_bytes_field(meta, 6, fmt::to_string(revision));
  if (initial_end) {
    append_bytes_field(annotation, 1, "k8s.io/initial-events-end");
    append_bytes_field(annotation, 2, "true");
    append_bytes_field(meta, 12, annotation);
  }
  append_bytes_field(object, 1, meta);
  append_envelope_head(envelope_head, cache_.api_version_, cache_.kind_, object.size());
  append_frame_head(frame, "BOOKMARK", envelope_head, object.size());
  load_frame(frame + object);
}

// ---- Ends and readiness ----

void Watch::expire() {
  const ApiStatus status = too_old_revision(from_, cache_.log_from_);
  end(&status);
}

void Watch::end(const ApiStatus* status) {
  if (phase_ == Phase::Over) return;
  phase_ = Phase::Over;
  snapshot_.reset();
  cache_.set_timer(*this, std::nullopt);
  if (idle_) {
    idle_ = false;
    list_->remove(*this);
    cache_.busy_.push(*this);
  }
  if (status == nullptr) return;
  const std::string encoded = status->encode(cache_.options_.key.encoding);
  if (cache_.options_.key.encoding == Encoding::Json) {
    final_ = fmt::format(R"({{"type":"ERROR","object":{}}}{})", encoded, "\n");
  } else {
    append_frame_head(final_, "ERROR", {}, encoded.size());
    final_ += encoded;
  }
}

void Watch::become_idle() {
  idle_ = true;
  list_->remove(*this);
  cache_.idle_.push(*this);
}

void Watch::raise(Pending pending) {
  if (pending <= pending_) return;
  pending_ = pending;
  listener_.on_watch_pending(*this, pending);
}

void Watch::settle() {
  if (part_count_ > 0 || phase_ != Phase::Log || (!idle_ && advance())) {
    pending_ = Pending::Event;
    return;
  }
  if (!idle_ && !stop_at_) become_idle();
  pending_ = timed_out_ ? Pending::TimedOut : bookmark_due_ ? Pending::Bookmark : Pending::Nothing;
}

Nanoseconds Watch::next_timer() const { return bookmark_at_ < deadline_ ? bookmark_at_ : deadline_; }

void Watch::on_timer(Nanoseconds now) {
  if (now >= deadline_) {
    timed_out_ = true;
    return raise(Pending::TimedOut);
  }
  // The next one in a minute, but one shortly before the end, and none after that.
  const Nanoseconds last = deadline_ - cache_.options_.bookmark_before_timeout;
  const Nanoseconds next = now + cache_.options_.bookmark_interval;
  bookmark_at_ = now >= last ? deadline_ : std::min(next, last);
  cache_.set_timer(*this, next_timer());
  if (cache_.revision_ <= from_) return;
  bookmark_due_ = true;
  if (phase_ == Phase::Log) raise(Pending::Bookmark);
}

}  // namespace dormouse::watchcache
