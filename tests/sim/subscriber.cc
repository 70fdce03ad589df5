// SPDX-License-Identifier: Apache-2.0
#include "subscriber.h"

#include <algorithm>

#include <fmt/format.h>

#include "watchcache/metadata.h"

namespace dormouse::sim {

using namespace watchcache;
using Pending = Watch::Pending;

void World::refresh() {
  const auto counters = cache.counters();
  if (counters.resets != resets) {
    gaps.clear();
  } else if (counters.replaces != replaces && last_revision != 0) {
    gaps.push_back({last_revision, cache.revision()});
    if (gaps.size() > 100) gaps.erase(gaps.begin());
  }
  if (counters.replaces != floor_of && cache.ready()) {  // Within a replacement's own callbacks it is not.
    floor = cache.revision();
    floor_of = counters.replaces;
  }
  replaces = counters.replaces;
  resets = counters.resets;
  last_revision = cache.ready() ? cache.revision() : 0;
}

bool World::in_gap(Revision revision) const {
  return std::ranges::any_of(gaps, [revision](const Gap& gap) { return gap.from < revision && revision < gap.to; });
}

Subscriber::Subscriber(World& world, std::vector<std::unique_ptr<Subscriber>>& others, std::size_t index)
    : world_(world),
      others_(others),
      index_(index),
      class_(index % kClasses.size()),
      slow_(world.has(kSlow) && index % 5 == 4),
      prune_(index % 3 == 2),
      decoder_(world.encoding),
      view_(world.model.keys()) {}

void Subscriber::violated(std::string_view what) const {
  throw Violation(fmt::format("reader {} ({}{}{}): {}; its position {}, begun after {}, cache at {}, server at {}", index_, kClasses[class_].namespace_name, kClasses[class_].labels, kClasses[class_].fields, what,
                              position_, from_, world_.cache.revision(), world_.model.revision()));
}

Selection Subscriber::selection() const {
  const Class& one = kClasses[class_];
  return {.namespace_name = std::string(one.namespace_name), .labels = *LabelSelector::parse(one.labels), .fields = *FieldSelector::parse(one.fields)};
}

void Subscriber::set(std::size_t key, const State& state) {
  State& held = view_[key];
  if (held.exists) sum_ -= Model::term(key, held.revision);
  held = state;
  if (held.exists) sum_ += Model::term(key, held.revision);
}

// How many of the upstream watch's events lie above `from`, as far as it matters.
std::uint64_t Subscriber::events_after(Revision from) const {
  std::uint64_t count = 0;
  for (Revision r = from + 1; r <= std::min(world_.cache.revision(), world_.model.revision()) && count <= world_.log_events_max; ++r) {
    if (const auto key = world_.model.changed(r)) count += world_.model.in_upstream(world_.model.at(*key, r)) || world_.model.in_upstream(world_.model.at(*key, r - 1)) ? 1 : 0;
  }
  return count;
}

void Subscriber::check_sum(Revision revision, std::string_view where) const {
  if (revision > world_.model.revision()) violated(fmt::format("{}: revision {} is of the future", where, revision));
  if (sum_ != world_.model.sum(class_, revision)) violated(fmt::format("{}: what it holds is not what there is at revision {}", where, revision));
}

// ---- Streams ----

void Subscriber::forget() {
  forgotten_ = watch_ != nullptr;
  have_view_ = false;
}

void Subscriber::list() {
  const auto stream = world_.cache.list({.selection = selection(), .prune_managed_fields = prune_});
  std::string body;
  for (std::string_view piece = stream->peek(); !piece.empty(); piece = stream->peek()) {
    body += piece;
    stream->consume(piece.size());
  }
  const Revision revision = world_.cache.revision();
  auto parsed = ListBody::parse(world_.encoding, body);
  if (!parsed || parsed->revision != revision || parsed->kind != "PodList") violated("a list is malformed, or of another revision");
  for (std::size_t i = 0; i < view_.size(); ++i) set(i, {});
  for (std::size_t i = 0; i < view_.size(); ++i) {
    const State state = world_.model.at(i, revision);
    if (!world_.model.in_class(class_, i, state)) continue;
    std::string text = world_.model.text(i, state, !prune_);
    if (world_.encoding == Encoding::Json) text.erase(1, std::string_view(R"("kind":"Pod","apiVersion":"v1",)").size());
    const auto item = parsed->next();
    if (!item || !*item || **item != text) violated(fmt::format("a list at {} lacks {} or has it otherwise", revision, world_.model.key(i)));
    set(i, state);
  }
  if (const auto more = parsed->next(); !more || *more) violated("a list has more than there is");
  position_ = revision;
  have_view_ = true;
  ++world_.totals.lists;
}

void Subscriber::start() {
  ResourceCache& cache = world_.cache;
  if (!cache.ready() || world_.suspect) return;
  world_.refresh();
  WatchRequest request{.selection = selection(), .prune_managed_fields = prune_};
  request.bookmarks = bookmarks_ = world_.random() % 4 != 0;
  request.timeout_seconds = 1 + world_.random() % 600;
  const unsigned how = world_.random() % 10;
  mode_ = Mode::Live;
  if (how < 4 || (how < 6 && have_view_)) {
    if (!have_view_ || how < 2) list();
    request.from = position_;
  } else if (how < 7) {
    // Somebody who has listed elsewhere, at any time; often a moment ago, which the cache may not have reached.
    const Revision newest = world_.model.revision();
    const Revision revision = newest - world_.random() % (world_.random() % 2 == 0 ? std::min<Revision>(newest, 8) : newest);
    for (std::size_t i = 0; i < view_.size(); ++i) {
      const State state = world_.model.at(i, revision);
      set(i, world_.model.in_class(class_, i, state) ? state : State{});
    }
    position_ = revision;
    have_view_ = true;
    request.from = revision;
  } else {
    for (std::size_t i = 0; i < view_.size(); ++i) set(i, {});
    request.initial_events = true;
    mode_ = Mode::Initial;
    next_key_ = 0;
    position_ = 0;
  }
  from_ = mode_ == Mode::Initial ? cache.revision() : position_;
  decoder_.clear();
  started_ = last_bookmark_ = world_.now;
  timeout_ = std::chrono::seconds(request.timeout_seconds);
  replaces_at_start_ = world_.replaces;
  resets_at_start_ = world_.resets;
  ++world_.totals.streams;
  watch_ = cache.watch(std::move(request), world_.now, *this);
  told_ = watch_->pending() != Pending::Nothing;
}

void Subscriber::on_watch_pending(Watch&, Pending) {
  told_ = true;
  if (forgotten_ || world_.suspect) return;
  // Whatever the header allows is done now and then, from within.
  switch (world_.random() % 40) {
    case 0: read_all(); break;
    case 1: stop(); break;
    case 2: others_[world_.random() % others_.size()]->stop(); break;
    case 3: others_[world_.random() % others_.size()]->read_all(); break;
    default: break;
  }
}

void Subscriber::step() {
  if (forgotten_ && !world_.suspect) {
    // Its stream must have ended, whatever it still had to say.
    for (std::string_view piece = watch_ == nullptr ? "" : watch_->peek(); !piece.empty(); piece = watch_->peek()) watch_->consume(piece.size());
    if (watch_ != nullptr && !watch_->over()) violated("its stream goes on in another history");
    watch_.reset();
    forgotten_ = false;
  }
  if (forgotten_ || world_.suspect) return;
  if (watch_ == nullptr) {
    if (world_.chance(3)) start();
    return;
  }
  if ((world_.has(kRights) && world_.chance(2'000)) || (slow_ && world_.chance(500))) return stop();
  if (!told_) return;
  if (slow_) {
    if (world_.chance(10)) read(1 + world_.random() % 600);
  } else if (world_.chance(2)) {
    read(world_.chance(3) ? 1 + world_.random() % 2'000 : ~0ULL);
  }
}

bool Subscriber::read_all() {
  if (watch_ == nullptr || forgotten_ || reading_) return false;
  read(~0ULL);
  return watch_ != nullptr;
}

void Subscriber::read(std::size_t bytes_max) {
  world_.refresh();
  reading_ = true;
  struct Done { bool& flag; ~Done() { flag = false; } } done{reading_};
  while (bytes_max > 0) {
    std::string piece(watch_->peek().substr(0, bytes_max));
    if (piece.empty()) {
      if (watch_->over()) return on_over();
      told_ = watch_->pending() != Pending::Nothing;
      if (told_) violated("nothing to read though told of something");
      if (mode_ == Mode::Initial && !bookmarks_) {
        check_sum(from_, "the initial events");
        live(from_);
      }
      return check_caught_up();
    }
    watch_->consume(piece.size());
    bytes_max -= piece.size();
    decoder_.feed(piece);
    while (true) {
      const auto event = decoder_.next();
      if (!event) violated(event.error().message);
      if (!*event) break;
      on_event(**event);
    }
  }
}

void Subscriber::on_over() {
  const auto counters = world_.cache.counters();
  if (decoder_.held_bytes() > 0) violated("its stream ends within an event");
  const bool expired = counters.resets != resets_at_start_;
  if (!expired && world_.now < started_ + timeout_ && have_view_ && mode_ == Mode::Live) violated("its stream has ended before its time");
  watch_.reset();
}

void Subscriber::live(Revision revision) {
  mode_ = Mode::Live;
  position_ = revision;
  have_view_ = true;
}

void Subscriber::on_error(const WatchEvent& event) {
  const StatusInfo status = parse_status(world_.encoding, event.object);
  if (status.code != 410 || status.reason != "Expired") violated(fmt::format("an error {} {}", status.code, status.reason));
  ++world_.totals.expired;
  const auto counters = world_.cache.counters();
  const bool relisted = counters.replaces != replaces_at_start_ || counters.resets != resets_at_start_ || from_ < world_.floor;
  if (!relisted && !world_.has(kBytes) && events_after(std::min(position_ == 0 ? from_ : position_, from_)) <= world_.log_events_max) violated("410 without need");
  have_view_ = false;
  mode_ = Mode::Live;
}

void Subscriber::on_event(const WatchEvent& event) {
  Model& model = world_.model;
  if (event.type == WatchEvent::Type::Error) return on_error(event);
  if (event.type == WatchEvent::Type::Bookmark) {
    const auto bookmark = parse_bookmark(world_.encoding, event.object);
    if (!bookmark) violated(bookmark.error().message);
    ++world_.totals.bookmarks;
    const Revision revision = bookmark->revision;
    if (!bookmarks_) violated("a bookmark that it has not asked for");
    if (!world_.server.told(revision)) violated(fmt::format("a bookmark at {}, of which the server has never spoken", revision));
    if (bookmark->initial_events_end != (mode_ == Mode::Initial)) violated("the end of the initial events is marked where it is not");
    if (revision < position_ || (mode_ == Mode::Live && revision <= from_)) violated(fmt::format("a bookmark goes back to {}", revision));
    check_sum(revision, "a bookmark");
    last_bookmark_ = world_.now;
    return live(revision);
  }
  ++world_.totals.events;
  const auto metadata = read_metadata(world_.encoding, event.object);
  const auto key = metadata ? model.find(metadata->namespace_name, metadata->name) : std::nullopt;
  if (!key) violated("an event of no object");
  const Revision revision = metadata->revision;
  const State held = view_[*key];
  const State now = model.at(*key, revision);
  if (mode_ == Mode::Initial && !bookmarks_ && revision > from_) {
    check_sum(from_, "the initial events");
    live(from_);
  }
  if (mode_ == Mode::Live) {
    if (revision <= position_) violated(fmt::format("an event at {} repeats or goes back", revision));
    if (now.revision != revision) violated(fmt::format("an event at {}, at which nothing happened to {}", revision, model.key(*key)));
  } else {
    if (event.type != WatchEvent::Type::Added || *key < next_key_ || revision > from_) violated("initial events are out of order");
    next_key_ = *key + 1;
  }
  if (event.type == WatchEvent::Type::Deleted) {
    if (!held.exists) violated("something is deleted that it has never had");
    if (model.in_class(class_, *key, now)) violated("something is deleted that is there");
    if (now.exists && now.uid != held.uid) violated("another object's change ends this one");
    State last = held;
    last.revision = revision;
    if (event.object != model.text(*key, last, !prune_)) violated("a deleted object is not its last state");
    set(*key, {});
  } else {
    if (!model.in_class(class_, *key, now)) violated(fmt::format("it is shown {}, which is none of its objects", model.key(*key)));
    if ((event.type == WatchEvent::Type::Modified) != held.exists) violated("ADDED and MODIFIED are taken for each other");
    if (held.exists && held.uid != now.uid) violated("an object becomes another");
    if (event.object != model.text(*key, now, !prune_)) violated("an object's bytes are not the server's");
    set(*key, now);
  }
  if (mode_ == Mode::Initial) return;
  position_ = revision;
  if (!world_.in_gap(revision)) check_sum(revision, "an event");
}

// ---- Judging ----

void Subscriber::check_caught_up() const {
  if (mode_ == Mode::Initial) violated("the initial events have no end");
  check_sum(std::max(from_, world_.cache.revision()), "all has been read");
}

void Subscriber::check_idle() const {
  if (watch_ == nullptr || forgotten_ || world_.suspect || !world_.cache.ready()) return;
  if (told_) return;
  if (watch_->pending() != Pending::Nothing) violated("something is pending of which it was not told");
  if (!have_view_) violated("it waits without having been given anything");
  check_caught_up();
  if (world_.now >= started_ + timeout_) violated("its time is over and it was not told");
  const auto& options = world_.cache.options();
  if (bookmarks_ && world_.cache.revision() > from_ && world_.now >= std::max(last_bookmark_, world_.last_jump) + 5 * options.bookmark_interval && world_.now < started_ + timeout_ - options.bookmark_before_timeout) {
    violated("it has had no bookmark for five minutes");
  }
}

}  // namespace dormouse::sim
