// SPDX-License-Identifier: Apache-2.0
#include "watchcache/resource_cache.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "watchcache/protobuf.h"

namespace dormouse::watchcache {

namespace {
// What the API server gives a WATCH that names no time-out: this to twice this (--min-request-timeout's default).
constexpr std::uint64_t kTimeoutSecondsMin = 1800;
}  // namespace

ResourceCache::ResourceCache(Options options)
    : options_(std::move(options)),
      pool_(std::make_shared<ObjectPool>(options_.key.encoding, options_.zero_on_free)),
      random_(static_cast<std::minstd_rand::result_type>(options_.seed)) {}

ResourceCache::~ResourceCache() {
  CHECK(idle_.first == nullptr && busy_.first == nullptr);
  CHECK(waits_.empty());
}

// ---- Readers ----

std::unique_ptr<Watch> ResourceCache::open(WatchRequest request, Watch::Listener& listener) {
  std::unique_ptr<Watch> watch(new Watch(*this, std::move(request), listener));
  busy_.push(*watch);
  ++counters_.watches_open;
  ++counters_.watches;
  return watch;
}

std::unique_ptr<Watch> ResourceCache::watch(WatchRequest request, Nanoseconds now, Watch::Listener& listener) {
  CHECK(ready_);
  std::unique_ptr<Watch> watch = open(std::move(request), listener);
  const WatchRequest& asked = watch->request_;
  watch->from_ = revision_;
  watch->next_ = log_.end();
  if (asked.initial_events) {
    watch->phase_ = Watch::Phase::Initial;
    watch->snapshot_ = std::make_unique<ObjectSet>(objects_);
  } else if (asked.from) {
    if (!watchable(*asked.from)) {
      ++counters_.expired_at_start;
      const ApiStatus status = too_old_revision(*asked.from, log_from_);
      watch->end(&status);
      watch->settle();
      return watch;
    }
    watch->from_ = *asked.from;
    watch->next_ = log_.after(*asked.from);
  }
  std::uint64_t seconds = asked.timeout_seconds;
  if (seconds == 0) seconds = kTimeoutSecondsMin + std::uniform_int_distribution<std::uint64_t>(0, kTimeoutSecondsMin)(random_);
  watch->deadline_ = now + std::chrono::seconds(seconds);
  watch->bookmark_at_ = watch->deadline_;
  if (asked.bookmarks) {
    watch->bookmark_at_ = std::max(now, std::min(now + options_.bookmark_interval, watch->deadline_ - options_.bookmark_before_timeout));
  }
  set_timer(*watch, watch->next_timer());
  watch->settle();
  return watch;
}

std::unique_ptr<Watch> ResourceCache::failed_watch(const ApiStatus& status, Watch::Listener& listener) {
  std::unique_ptr<Watch> watch = open({}, listener);
  watch->end(&status);
  watch->settle();
  return watch;
}

std::unique_ptr<ListStream> ResourceCache::list(ListStream::Options options) const {
  CHECK(ready_);
  return std::make_unique<ListStream>(objects_, revision_, options_.key.encoding, kind_ + "List", api_version_, std::move(options));
}

bool ResourceCache::fits(const Selection& selection, std::uint64_t limit) const {
  if (selection.everything()) return objects_.size() <= limit;
  std::uint64_t found = 0;
  ObjectSet::Position position;
  while (const ObjectPtr* const object = objects_.next(position)) {
    if (selection.matches((*object)->namespace_name(), (*object)->name(), (*object)->labels()) && ++found > limit) return false;
  }
  return true;
}

ObjectPtr ResourceCache::find(std::string_view namespace_name, std::string_view name) const {
  std::string key(namespace_name);
  if (!key.empty()) key += '/';
  key += name;
  ObjectPtr object = objects_.find(key);
  if (object != nullptr) object->touch(uses_);
  return object;
}

std::string ResourceCache::encode(const Object& object, bool prune_managed_fields) const {
  std::string scratch, out;
  std::string_view body;
  if (prune_managed_fields) {
    object.append_pruned(scratch);
    body = scratch;
  } else {
    body = object.bytes(scratch);
  }
  if (options_.key.encoding == Encoding::Protobuf) {
    append_envelope_head(out, api_version_, kind_, body.size());
    out.append(body);
  } else {
    out.append(body).push_back('\n');
  }
  if (options_.zero_on_free) wipe(scratch);
  return out;
}

// Everything above log_from_ is in the log; within a gap, something may have come and gone that nobody here has seen.
bool ResourceCache::watchable(Revision from) const {
  if (from < log_from_) return false;
  return std::ranges::none_of(gaps_, [from](const Gap& gap) { return gap.from < from && from < gap.to; });
}

// ---- Waits and time ----

ResourceCache::Wait::~Wait() { std::erase(cache_.waits_, this); }

std::unique_ptr<ResourceCache::Wait> ResourceCache::wait_for(Revision revision, Nanoseconds deadline, std::function<void(bool)> done) {
  CHECK(!ready_ || revision_ < revision);
  std::unique_ptr<Wait> wait(new Wait(*this, revision, deadline, std::move(done)));
  waits_.push_back(wait.get());
  return wait;
}

void ResourceCache::wake_waits(bool fail_all) {
  // A callback may destroy other waits, or begin new ones (which are not due): the search starts anew each time.
  const std::size_t most = waits_.size();
  for (std::size_t called = 0; called < most; ++called) {
    const auto found = std::ranges::find_if(waits_, [&](const Wait* wait) { return fail_all || (ready_ && wait->revision_ <= revision_); });
    if (found == waits_.end()) return;
    const std::function<void(bool)> done = std::move((*found)->done_);
    waits_.erase(found);
    done(!fail_all);
  }
}

std::optional<Nanoseconds> ResourceCache::deadline() const {
  std::optional<Nanoseconds> first;
  if (!timers_.empty()) first = timers_.begin()->first.first;
  for (const Wait* wait : waits_) {
    if (!first || wait->deadline_ < *first) first = wait->deadline_;
  }
  return first;
}

void ResourceCache::on_timer(Nanoseconds now) {
  for (std::size_t left = waits_.size(); left > 0; --left) {
    const auto late = std::ranges::find_if(waits_, [now](const Wait* wait) { return wait->deadline_ <= now; });
    if (late == waits_.end()) break;
    const std::function<void(bool)> done = std::move((*late)->done_);
    waits_.erase(late);
    done(false);
  }
  while (!timers_.empty() && timers_.begin()->first.first <= now) {
    Watch& watch = *timers_.begin()->second;
    set_timer(watch, std::nullopt);
    watch.on_timer(now);
  }
}

void ResourceCache::set_timer(Watch& watch, std::optional<Nanoseconds> at) {
  if (watch.timer_) timers_.erase({*watch.timer_, watch.id_});
  watch.timer_ = at;
  if (at) timers_.emplace(std::pair(*at, watch.id_), &watch);
}

// ---- The writer ----

void ResourceCache::learn_type(std::string_view kind, std::string_view api_version) {
  if (!kind_.empty() || kind.empty() || api_version.empty()) return;
  kind_ = kind;
  api_version_ = api_version;
}

void ResourceCache::append(LogEntry entry) {
  ++counters_.events;
  log_.append(std::move(entry));
}

void ResourceCache::trim() {
  while (log_.end() - log_.begin() > 1 && (log_.end() - log_.begin() > options_.log_events_max || log_.bytes() > options_.log_bytes_max)) {
    log_from_ = std::max(log_from_, log_.at(log_.begin()).revision);
    log_.drop_first();
  }
  std::erase_if(gaps_, [this](const Gap& gap) { return gap.to <= log_from_; });
}

void ResourceCache::offer(EventLog::Index from) {
  // A callback may destroy any watch, or read from any: all stand before the new entries first, and each leaves or
  // enters the lists by itself.
  WatchList waiting;
  while (idle_.first != nullptr) {
    Watch& watch = *idle_.first;
    idle_.remove(watch);
    waiting.push(watch);
    watch.idle_ = false;
    watch.next_ = from;
  }
  while (waiting.first != nullptr) {
    Watch& watch = *waiting.first;
    if (!watch.advance()) {
      watch.become_idle();
      continue;
    }
    waiting.remove(watch);
    busy_.push(watch);
    watch.raise(Watch::Pending::Event);
  }
}

// Ends the streams of which `which` says so; they are told later.
void ResourceCache::end_watches(const ApiStatus* status, const std::function<bool(const Watch&)>& which, WatchList& ending) {
  for (WatchList* const list : {&idle_, &busy_}) {
    for (Watch* watch = list->first; watch != nullptr;) {
      Watch& one = *std::exchange(watch, watch->after_);
      if (!which(one)) continue;
      list->remove(one);
      ending.push(one);
      one.idle_ = false;
      one.end(status);
    }
  }
}

void ResourceCache::tell_ended(WatchList& ending) {
  // A callback may read from any of them.
  while (ending.first != nullptr) {
    Watch& watch = *ending.first;
    ending.remove(watch);
    busy_.push(watch);
    watch.raise(Watch::Pending::Event);
  }
}

bool ResourceCache::put(ObjectPtr object) {
  CHECK(ready_);
  if (object->revision() <= revision_) return false;
  object->touch(++uses_);
  revision_ = object->revision();
  ObjectPtr previous = objects_.put(object);
  append({.kind = LogEntry::Kind::Put, .revision = revision_, .object = std::move(object), .previous = std::move(previous)});
  trim();
  offer(log_.end() - 1);
  wake_waits(false);
  return true;
}

bool ResourceCache::remove(ObjectPtr last_state) {
  CHECK(ready_);
  if (last_state->revision() <= revision_) return false;
  ++uses_;
  revision_ = last_state->revision();
  ObjectPtr previous = objects_.erase(last_state->key());
  append({.kind = LogEntry::Kind::Deleted, .revision = revision_, .object = std::move(last_state), .previous = std::move(previous)});
  trim();
  offer(log_.end() - 1);
  wake_waits(false);
  return true;
}

bool ResourceCache::progress(Revision revision) {
  CHECK(ready_);
  if (revision < revision_) return false;
  revision_ = revision;
  wake_waits(false);
  return true;
}

void ResourceCache::replace(std::vector<ObjectPtr> objects, Revision revision) {
  ++counters_.replaces;
  std::ranges::sort(objects, {}, [](const ObjectPtr& object) { return std::pair(object->key(), ~object->revision()); });
  const auto repeated = std::ranges::unique(objects, {}, [](const ObjectPtr& object) { return object->key(); });
  objects.erase(repeated.begin(), repeated.end());
  if (ready_ && merge(objects, revision)) return;
  if (ready_) {
    const ApiStatus status = too_old_revision(revision_, revision);
    reset(&status);
  }
  for (ObjectPtr& object : objects) objects_.put(std::move(object));
  revision_ = log_from_ = revision;
  ready_ = true;
  wake_waits(false);
}

// What a list says of the time since revision(). False, and nothing done: it contradicts what was known.
bool ResourceCache::merge(std::vector<ObjectPtr>& objects, Revision revision) {
  const Revision before = revision_;
  if (revision < before) return false;
  std::vector<LogEntry> lost, changed;
  const auto lose = [&](const ObjectPtr& gone) { lost.push_back({.kind = LogEntry::Kind::Lost, .revision = before + 1, .previous = gone}); };
  ObjectSet::Position position;
  const ObjectPtr* old = objects_.next(position);
  for (ObjectPtr& object : objects) {
    while (old != nullptr && (*old)->key() < object->key()) {
      lose(*old);
      old = objects_.next(position);
    }
    ObjectPtr same = old != nullptr && (*old)->key() == object->key() ? *old : nullptr;
    if (same != nullptr) old = objects_.next(position);
    if (same != nullptr && same->revision() == object->revision()) {
      object = std::move(same);
      continue;
    }
    if (object->revision() <= before || object->revision() > revision) return false;
    if (same != nullptr && same->uid() != object->uid()) {
      lose(same);
      same.reset();
    }
    changed.push_back({.kind = LogEntry::Kind::Put, .revision = object->revision(), .object = object, .previous = std::move(same)});
  }
  for (; old != nullptr; old = objects_.next(position)) lose(*old);
  if (revision == before && !(lost.empty() && changed.empty())) return false;

  std::ranges::sort(changed, {}, &LogEntry::revision);
  ObjectSet all;
  for (ObjectPtr& object : objects) all.put(std::move(object));
  objects_ = std::move(all);
  revision_ = revision;
  if (revision - before > 1) gaps_.push_back({before, revision});
  const EventLog::Index from = log_.end();
  for (LogEntry& entry : lost) append(std::move(entry));
  for (LogEntry& entry : changed) {
    entry.object->touch(++uses_);
    append(std::move(entry));
  }
  trim();
  // Who began at a revision in between may know an object that came and went meanwhile. Before anybody is told of anything, for
  // a callback may read from any: it sees nothing of this, and the others see it.
  const ApiStatus status = too_old_revision(before + 1, revision);
  WatchList ending;
  end_watches(&status, [&](const Watch& watch) { return watch.phase_ == Watch::Phase::Log && before < watch.from_ && watch.from_ < revision; }, ending);
  if (log_.end() != from) offer(from);
  tell_ended(ending);
  wake_waits(false);
  return true;
}

void ResourceCache::reset(const ApiStatus* status) {
  ++counters_.resets;
  ready_ = false;
  revision_ = log_from_ = 0;
  objects_ = {};
  log_.clear();
  gaps_.clear();
  WatchList ending;
  end_watches(status, [](const Watch&) { return true; }, ending);
  tell_ended(ending);
  wake_waits(true);
}

// ---- Memory ----

std::uint64_t ResourceCache::compress_cold(std::uint64_t bytes_target) {
  std::vector<const Object*> candidates;
  // Former states are read by those alone who are behind.
  for (EventLog::Index i = log_.begin(); i != log_.end(); ++i) {
    for (const ObjectPtr* state : {&log_.at(i).previous, &std::as_const(log_.at(i).left)}) {
      if (*state != nullptr && !(*state)->compressed()) candidates.push_back(state->get());
    }
    if (log_.at(i).kind == LogEntry::Kind::Deleted && !log_.at(i).object->compressed()) candidates.push_back(log_.at(i).object.get());
  }
  const auto former = static_cast<std::ptrdiff_t>(candidates.size());
  ObjectSet::Position position;
  while (const ObjectPtr* const object = objects_.next(position)) {
    if (!(*object)->compressed()) candidates.push_back(object->get());
  }
  std::ranges::sort(candidates.begin() + former, candidates.end(), {}, &Object::last_use);
  const std::uint64_t before = pool_->plain_bytes + pool_->compressed_bytes;
  std::uint64_t freed = 0;
  for (const Object* const object : candidates) {
    if (freed >= bytes_target) break;
    object->compress();
    freed = before - (pool_->plain_bytes + pool_->compressed_bytes);
  }
  // The contexts are larger than many a cache; both come back when needed.
  pool_->compressor.reset();
  return freed;
}

ResourceCache::Counters ResourceCache::counters() const {
  Counters counters = counters_;
  counters.objects = pool_->objects;
  counters.plain_bytes = pool_->plain_bytes;
  counters.compressed_bytes = pool_->compressed_bytes;
  counters.overhead_bytes = pool_->overhead_bytes;
  counters.log_entries = log_.end() - log_.begin();
  counters.log_bytes = log_.bytes();
  return counters;
}

}  // namespace dormouse::watchcache
