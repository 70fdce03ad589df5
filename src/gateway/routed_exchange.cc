// SPDX-License-Identifier: Apache-2.0
#include "gateway/routed_exchange.h"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "gateway/shared_cache.h"
#include "watchcache/metadata.h"

namespace dormouse::gateway {

using watchcache::Query;
using watchcache::Verb;
using watchcache::WatchEvent;

RoutedExchange::RoutedExchange(SharedCache& owner, kube::Request request, CacheRequest read, std::shared_ptr<ApiClient> client, kube::ExchangeSink& sink)
    : owner_(owner), request_(std::move(request)), read_(std::make_unique<CacheRequest>(std::move(read))), sink_(&sink), sequence_(owner.next_sequence()), came_at_(owner.now()) {
  client_ = std::move(client);
  owner_.soon(alive_, [this] { ask_rights(); });
}

RoutedExchange::~RoutedExchange() {
  become(State::Over);
  watch_.reset();
  leave_entry();
}

// --- May he? ---

void RoutedExchange::ask_rights() {
  if (client_->identity == nullptr) return forward(Forwarded::NoIdentity);
  const CacheEntry* const entry = owner_.find(*read_);
  // Who may list and watch all of an entry can lend his token to it.
  const bool lend = read_->query.verb != Verb::Get && (entry == nullptr || entry->key() == read_->key);
  const std::array<std::string_view, 2> verbs = {read_->rights.verb, read_->query.verb == Verb::List ? "watch" : "list"};
  const int count = lend ? 2 : 1;
  may_donate_ = lend;
  verdicts_wanted_ = count;
  const std::weak_ptr<bool> alive = alive_;
  for (int i = 0; i < count; ++i) {
    kube::AccessAttributes what = read_->rights;
    what.verb = verbs[static_cast<std::size_t>(i)];
    owner_.reviews().check(client_->name, *client_->identity, what, [this, i, alive](Verdict verdict) {
      if (!alive.expired()) on_verdict(i, verdict);
    });
    if (alive.expired()) return;
  }
}

void RoutedExchange::on_verdict(int which, Verdict verdict) {
  if (state_ != State::Rights) return;
  if (which == 0) verdict_ = verdict;
  if (verdict != Verdict::Allowed) may_donate_ = false;
  if (--verdicts_wanted_ > 0) return;
  if (verdict_ == Verdict::Allowed) return route();
  forward(verdict_ == Verdict::Denied ? Forwarded::Denied : Forwarded::ReviewFailed);
}

// --- From where? ---

void RoutedExchange::route() {
  entry_ = owner_.find(*read_);
  if (entry_ == nullptr) {
    const bool begins = read_->query.verb == Verb::Watch || (read_->query.verb == Verb::List && client_->lists_before_watching && !owner_.lists_refused(read_->key));
    if (!begins) return forward(Forwarded::Cold);
    if (owner_.refused(read_->key)) return forward(Forwarded::NotReady);
    if (!may_donate_) return forward(Forwarded::NoDonor);
    entry_ = owner_.create(read_->key);
    if (entry_ == nullptr) return forward(Forwarded::Full);
  } else if (entry_->key() != read_->key) {
    may_donate_ = false;
  }
  entry_->attach(*this);
  become(State::Waiting);
  give_up_at_ = came_at_ + owner_.options().ready_wait;
  look();
}

RoutedExchange::Choice RoutedExchange::choose(Forwarded& reason) const {
  const Query& query = read_->query;
  const bool watch = query.verb == Verb::Watch;
  const auto otherwise = [&](Forwarded why) {
    reason = why;
    return watch ? Choice::Relay : Choice::Forward;
  };
  const auto coming = [&] {
    return entry_->in_trouble() || owner_.now() >= give_up_at_ ? otherwise(Forwarded::NotReady) : Choice::Wait;
  };
  const watchcache::ResourceCache& cache = entry_->cache();
  if (watch && !query.initial_events) {
    if (query.from == Query::From::Unset) return otherwise(Forwarded::Consistent);
    if (query.from == Query::From::Any) return entry_->ready() ? Choice::Serve : coming();
    return entry_->ready() && cache.watchable(query.revision) ? Choice::Serve : otherwise(entry_->ready() ? Forwarded::TooOld : Forwarded::NotReady);
  }
  // A state is asked for.
  const auto floor = client_->writes.floor(read_->resource);
  if (!floor) return otherwise(Forwarded::Older);
  if (!entry_->ready()) return coming();
  // What the client has written is on its way here; the API server's own cache may be as far behind.
  if (cache.revision() < *floor) return owner_.now() >= give_up_at_ ? otherwise(Forwarded::Older) : Choice::Wait;
  if (query.from == Query::From::Unset) {
    // Held since after the request came, and so as new as anything that the API server would have answered then.
    if (entry_->fresh_as_of() <= sequence_) return otherwise(Forwarded::Consistent);
  } else if (query.from == Query::From::Revision && cache.revision() < query.revision) {
    return otherwise(Forwarded::Older);
  }
  if (query.verb == Verb::List && query.limit > 0 && query.from != Query::From::Any && !cache.fits(read_->selection(), query.limit)) return otherwise(Forwarded::Limit);
  return Choice::Serve;
}

void RoutedExchange::look() {
  if (entry_->dead()) return forward(Forwarded::NotReady);
  Forwarded reason = Forwarded::NotReady;
  switch (choose(reason)) {
    case Choice::Serve: return serve();
    case Choice::Wait: return owner_.wake_at(give_up_at_);
    case Choice::Relay: return relay(reason);
    case Choice::Forward: return forward(reason);
  }
}

void RoutedExchange::on_entry_changed() {
  if (state_ == State::Waiting) return look();
  if (state_ != State::Relay) return;
  if (entry_->dead()) {
    leave_entry();
  } else if (may_join()) {
    join();
  }
}

void RoutedExchange::become(State state) {
  if (state_ == State::Waiting) owner_.waits_no_more(*this);
  if (state_ == State::Watch) owner_.watch_closed(*this, *std::exchange(right_, nullptr));
  state_ = state;
  if (state_ == State::Waiting) owner_.waits(*this);
  if (state_ == State::Watch) right_ = &owner_.watch_opened(*this, read_->rights);
}

void RoutedExchange::leave_entry() {
  if (entry_ != nullptr) std::exchange(entry_, nullptr)->detach(*this);
}

// --- By the API server ---

void RoutedExchange::forward(Forwarded reason) {
  ++owner_.count().forwarded[static_cast<std::size_t>(reason)];
  leave_entry();
  become(State::Forwarded);
  read_.reset();
  inner_ = owner_.upstream().start(std::move(request_), *sink_);
}

void RoutedExchange::relay(Forwarded reason) {
  ++owner_.count().forwarded[static_cast<std::size_t>(reason)];
  ++owner_.count().relays;
  become(State::Relay);
  initial_over_ = !read_->query.initial_events;
  last_ = read_->query.from == Query::From::Revision ? read_->query.revision : 0;
  inner_ = owner_.upstream().start(std::move(request_), *this);
}

void RoutedExchange::on_response(int status, kube::Headers headers) {
  if (status == 200) {
    for (const auto& [name, value] : headers) {
      if (name == "content-type" && value.starts_with(read_->key.list_content_type())) {
        decoder_.emplace(read_->key.encoding);
      }
    }
  }
  sink_->on_response(status, std::move(headers));
}

// How many of these bytes go through before the cache can take over; all of them if it cannot.
std::size_t RoutedExchange::read_relayed(std::string_view bytes) {
  decoder_->feed(bytes);
  std::size_t whole = bytes.size();
  while (true) {
    const auto event = decoder_->next();
    if (event && !*event) break;
    bool understood = event.has_value();
    if (understood && (*event)->type == WatchEvent::Type::Bookmark) {
      const auto bookmark = watchcache::parse_bookmark(read_->key.encoding, (*event)->object);
      understood = bookmark.has_value();
      if (understood) {
        initial_over_ = initial_over_ || bookmark->initial_events_end;
        last_ = bookmark->revision;
      }
    } else if (understood && (*event)->type != WatchEvent::Type::Error) {
      const auto metadata = watchcache::read_metadata(read_->key.encoding, (*event)->object);
      understood = metadata.has_value();
      if (understood && initial_over_) last_ = metadata->revision;
    } else {
      understood = false;
    }
    if (!understood) {
      // Whatever it is, the client sees it as it came, and nothing but what comes after.
      decoder_.reset();
      leave_entry();
      return bytes.size();
    }
    whole = bytes.size() - decoder_->held_bytes();
    if (may_join()) return whole;
  }
  return bytes.size();
}

bool RoutedExchange::may_join() const {
  return decoder_ && initial_over_ && last_ > 0 && entry_ != nullptr && entry_->ready() && client_->identity != nullptr && entry_->cache().watchable(last_);
}

void RoutedExchange::on_data(std::span<const std::byte> bytes) {
  std::size_t through = bytes.size();
  bool joins = false;
  if (decoder_ && entry_ != nullptr) {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    through = read_relayed(text);
    joins = may_join() && through == bytes.size() - decoder_->held_bytes();
  }
  relay_unconsumed_ += through;
  const std::weak_ptr<bool> alive = alive_;
  if (through > 0) sink_->on_data(bytes.first(through));
  if (!alive.expired() && joins && state_ == State::Relay) join();
}

void RoutedExchange::on_end() {
  inner_.reset();
  end();
}

void RoutedExchange::on_failure(const Error& error, bool before_response) {
  inner_.reset();
  leave_entry();
  become(State::Over);
  sink_->on_failure(error, before_response);
}

// The cache holds everything after what has gone through.
void RoutedExchange::join() {
  CHECK(may_join());
  ++owner_.count().joined;
  inner_.reset();
  decoder_.reset();
  // What was relayed is not the cache's to be credited.
  open_watch(last_, false);
}

// --- From the cache ---

void RoutedExchange::respond(std::string_view content_type, std::optional<std::uint64_t> length) {
  (void)std::exchange(request_, {});  // With its token; nobody forwards it any more.
  kube::Headers headers = {{"content-type", std::string(content_type)}, {"cache-control", "no-cache, private"}};
  if (length) headers.emplace_back("content-length", fmt::to_string(*length));
  sink_->on_response(200, std::move(headers));
}

void RoutedExchange::serve() {
  switch (read_->query.verb) {
    case Verb::List: return serve_list();
    case Verb::Get: return serve_get();
    case Verb::Watch: break;
  }
  ++owner_.count().served_watches;
  const std::weak_ptr<bool> alive = alive_;
  std::optional<watchcache::Revision> from;
  if (!read_->query.initial_events && read_->query.from == Query::From::Revision) from = read_->query.revision;
  become(State::Watch);
  respond(read_->key.watch_content_type(), std::nullopt);
  if (alive.expired() || state_ != State::Watch) return;
  if (!entry_->ready()) return revoke();
  open_watch(from, read_->query.initial_events);
}

void RoutedExchange::open_watch(std::optional<watchcache::Revision> from, bool initial_events) {
  entry_->watched();
  if (state_ != State::Watch) become(State::Watch);
  std::uint32_t timeout = read_->query.timeout_seconds;
  if (timeout > 0) {
    const auto gone = std::chrono::duration_cast<std::chrono::seconds>(owner_.now() - came_at_).count();
    timeout = gone >= timeout ? 1 : timeout - static_cast<std::uint32_t>(gone);
  }
  watch_ = entry_->cache().watch({.selection = read_->selection(), .from = from, .initial_events = initial_events, .bookmarks = read_->query.bookmarks,
                                  .prune_managed_fields = client_->prune_managed_fields, .timeout_seconds = timeout},
                                 owner_.now(), *this);
  // client-go's 5 to 10 minutes (and no time-out at all) are the server's affair; kube-rs's 290 s are to come before its own end of patience.
  wants_timeout_ = read_->query.timeout_seconds > 0 && read_->query.timeout_seconds < 300;
  read_.reset();
  if (const auto due = entry_->cache().deadline()) owner_.wake_at(*due);
  pump();
}

void RoutedExchange::serve_list() {
  ++owner_.count().served_lists;
  list_ = entry_->cache().list({.selection = read_->selection(), .prune_managed_fields = client_->prune_managed_fields});
  // The snapshot is its own: the entry may go.
  leave_entry();
  become(State::List);
  const std::weak_ptr<bool> alive = alive_;
  respond(read_->key.list_content_type(), list_->size());
  if (!alive.expired()) pump();
}

void RoutedExchange::serve_get() {
  const watchcache::ObjectPtr object = entry_->cache().find(read_->key.namespace_name, read_->name);
  if (object == nullptr) return forward(Forwarded::Missing);
  ++owner_.count().served_gets;
  body_ = entry_->cache().encode(*object, client_->prune_managed_fields);
  leave_entry();
  become(State::Body);
  const std::weak_ptr<bool> alive = alive_;
  respond(read_->key.list_content_type(), body_.size());
  if (!alive.expired()) pump();
}

std::size_t RoutedExchange::read_piece(std::span<char> into) {
  switch (state_) {
    case State::List: return list_->read(into);
    case State::Body: {
      const std::size_t size = body_.copy(into.data(), into.size(), body_at_);
      body_at_ += size;
      return size;
    }
    case State::Watch:
      // A bookmark alone wakes nobody who may sleep; it is made when there is something else to read.
      if (watch_ == nullptr || (client_->may_sleep && watch_->at_boundary() && watch_->pending() == watchcache::Watch::Pending::Bookmark)) return 0;
      return watch_->read(into);
    default: return 0;
  }
}

bool RoutedExchange::source_over() {
  switch (state_) {
    case State::List: return list_->over();
    case State::Body: return body_at_ == body_.size();
    case State::Watch: return watch_ != nullptr && watch_->over();
    default: return false;
  }
}

void RoutedExchange::pump() {
  if (pumping_) return;
  pumping_ = true;
  const std::weak_ptr<bool> alive = alive_;
  std::array<char, kPieceBytes> piece;
  while (unconsumed_ < kWindowBytes) {
    const std::size_t size = read_piece(std::span(piece).first(std::min(piece.size(), kWindowBytes - unconsumed_)));
    if (size == 0) break;
    unconsumed_ += size;
    sink_->on_data(std::as_bytes(std::span(piece).first(size)));
    if (alive.expired()) return;
  }
  pumping_ = false;
  if (source_over()) end();
}

void RoutedExchange::consumed(std::size_t bytes) {
  // In the order in which they came: a relay's bytes first.
  const std::size_t relayed = std::min(bytes, relay_unconsumed_);
  relay_unconsumed_ -= relayed;
  if (inner_ != nullptr) inner_->consumed(state_ == State::Forwarded ? bytes : relayed);
  if (state_ == State::Forwarded || state_ == State::Relay) return;
  const bool was_full = unconsumed_ >= kWindowBytes;
  unconsumed_ -= std::min(unconsumed_, bytes - relayed);
  // Not from within the session's call, which is in the midst of its own output.
  if (was_full && !pumping_) owner_.soon(alive_, [this] { pump(); });
}

void RoutedExchange::on_watch_pending(watchcache::Watch&, watchcache::Watch::Pending pending) {
  using Pending = watchcache::Watch::Pending;
  // Who may sleep is not woken for what can wait until something else comes.
  if (client_->may_sleep && (pending == Pending::Bookmark || (pending == Pending::TimedOut && !wants_timeout_))) return;
  pump();
}

void RoutedExchange::revoke() {
  if (state_ != State::Watch) return;
  end();
}

void RoutedExchange::end() {
  become(State::Over);
  watch_.reset();
  list_.reset();
  leave_entry();
  sink_->on_end();
}

}  // namespace dormouse::gateway
