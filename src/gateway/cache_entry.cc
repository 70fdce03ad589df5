// SPDX-License-Identifier: Apache-2.0
#include "gateway/cache_entry.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "gateway/shared_cache.h"

namespace dormouse::gateway {

using watchcache::Reflector;

namespace {

bool holds_secrets(const watchcache::CacheKey& key) { return key.group.empty() && key.resource == "secrets"; }

}  // namespace

CacheEntry::CacheEntry(SharedCache& owner, watchcache::CacheKey key, std::uint64_t seed)
    : owner_(owner),
      cache_({.key = key, .zero_on_free = holds_secrets(key), .seed = seed}),
      reflector_({.seed = seed}, cache_),
      since_(owner.now()) {}

CacheEntry::~CacheEntry() { CHECK(readers_.empty()); }

Nanoseconds CacheEntry::now() const { return owner_.now(); }

void CacheEntry::attach(Reader& reader) {
  readers_.push_back(&reader);
  unwanted_since_.reset();
  if (reader.may_donate_ && (donor_ == nullptr || reflector_.state() == Reflector::State::Stopped)) donor_dirty_ = true;
  if (donor_dirty_) owner_.wake_at(now());
}

void CacheEntry::detach(Reader& reader) {
  std::erase(readers_, &reader);
  if (reader.client_ == donor_) donor_dirty_ = true;
  if (readers_.empty()) unwanted_since_ = now();
  owner_.wake_at(now());
}

void CacheEntry::client_gone(const ApiClient& client) {
  if (donor_.get() != &client) return;
  // Nothing is asked for with its token any more; what is under way goes on until somebody else can go on with it.
  donor_.reset();
  donor_dirty_ = true;
  owner_.wake_at(now());
}

// --- The donor ---

void CacheEntry::choose_donor() {
  donor_dirty_ = false;
  if (dead_) return;
  const auto may = [](const Reader* reader) { return reader->may_donate_ && reader->client_->identity != nullptr; };
  // Its other readers keep the client in place: no request is made anew for nothing.
  if (donor_ != nullptr && std::ranges::any_of(readers_, [&](const Reader* reader) { return may(reader) && reader->client_ == donor_; })) return;
  const auto next = std::ranges::find_if(readers_, may);
  if (next == readers_.end()) {
    if (readers_.empty()) return;  // In the grace period its last donor's stream goes on.
    return die(Refuse::No, "none of those who watch it may list and watch all of it");
  }
  const bool moved = std::exchange(donor_, (*next)->client_) != nullptr || exchange_ != nullptr;
  if (reflector_.state() == Reflector::State::Stopped) {
    reflector_.start(now());
  } else if (waiting_) {
    request(*std::exchange(waiting_, std::nullopt), false);
  } else {
    reflector_.credentials_changed(now());
  }
  if (moved) ++owner_.count().donor_moves;
  after_reflector();
}

// --- The reflector's requests ---

void CacheEntry::perform() {
  while (auto action = reflector_.take_action()) {
    ++request_number_;
    exchange_.reset();
    waiting_.reset();
    if (action->kind == Reflector::Action::Kind::Start) request(std::move(*action), false);
  }
}

void CacheEntry::request(Reflector::Action action, bool retry) {
  retried_ = retry;
  current_ = std::move(action);
  if (reflector_.counters().lists != lists_seen_) {
    lists_seen_ = reflector_.counters().lists;
    list_sequence_ = owner_.next_sequence();
  }
  if (donor_ == nullptr || donor_->identity == nullptr) {
    waiting_ = current_;
    return;
  }
  const std::uint64_t number = ++request_number_;
  donor_->identity->with_token([this, number, alive = std::weak_ptr<bool>(alive_)](Result<std::string> token) {
    if (alive.expired() || number != request_number_ || dead_) return;
    if (!token) {
      reflector_.on_failure(token.error().message, now());
      // From within perform() the loop there goes on; else after_reflector() would not be reached.
      return owner_.soon(alive, [this] { after_reflector(); });
    }
    token_ = std::move(*token);
    exchange_ = owner_.upstream().start({.method = "GET", .target = current_.target, .headers = {{"accept", current_.accept}}, .bearer = token_}, *this);
  });
}

void CacheEntry::on_response(int status, kube::Headers headers) {
  if (status < 200) return;
  if (status == 401 && donor_ != nullptr && donor_->identity != nullptr && donor_->identity->rejected(token_) && !retried_) {
    exchange_.reset();
    return request(current_, true);
  }
  (void)std::exchange(token_, {});  // A kilobyte, and the watch may last for an hour.
  reflector_.on_response(status, headers, now());
  after_reflector();
}

void CacheEntry::on_data(std::span<const std::byte> bytes) {
  exchange_->consumed(bytes.size());
  const auto& around_data = owner_.options().around_data;
  const bool told = around_data && cache_.ready() && !readers_.empty();
  if (told) around_data(true);
  reflector_.on_data({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, now());
  after_reflector();
  if (told) around_data(false);
}

void CacheEntry::on_end() {
  exchange_.reset();
  reflector_.on_end(now());
  after_reflector();
}

void CacheEntry::on_failure(const Error& error, bool) {
  exchange_.reset();
  reflector_.on_failure(error.message, now());
  after_reflector();
}

// The reflector has returned: does what it wants done, and tells readers what has changed.
void CacheEntry::after_reflector() {
  if (dead_) return;
  perform();
  const auto& counters = cache_.counters();
  if (counters.replaces != replaces_seen_) {
    replaces_seen_ = counters.replaces;
    fresh_as_of_ = list_sequence_;
  }
  switch (reflector_.trouble()) {
    case Reflector::Trouble::Denied: {
      if (!denied_since_) denied_since_ = now();
      if (now() - *denied_since_ < kDeniedMin) {
        if (!cache_.ready()) tell_readers();
        break;
      }
      denied_since_.reset();
      // Its right or its token is gone, whatever was remembered of it.
      for (Reader* reader : readers_) {
        if (reader->client_ == donor_) reader->may_donate_ = false;
      }
      if (donor_ != nullptr) owner_.review_now(donor_->name);
      donor_.reset();
      donor_dirty_ = true;
      if (readers_.empty()) return die(Refuse::No, reflector_.last_error());
      owner_.wake_at(now());
      break;
    }
    case Reflector::Trouble::Gone:
    case Reflector::Trouble::NotAcceptable: return die(Refuse::All, reflector_.last_error());
    case Reflector::Trouble::Failing:
      if (!cache_.ready()) tell_readers();
      break;
    case Reflector::Trouble::None: denied_since_.reset(); break;
  }
  const bool came_or_went = std::exchange(was_ready_, cache_.ready()) != cache_.ready();
  const bool went_on = std::exchange(revision_told_, cache_.revision()) != cache_.revision() && owner_.anybody_waits();
  if (came_or_went || went_on) tell_readers();
  if (const auto when = deadline()) owner_.wake_at(*when);
}

void CacheEntry::tell_readers() {
  for (Reader* reader : std::vector<Reader*>(readers_)) {
    if (std::ranges::find(readers_, reader) != readers_.end()) reader->on_entry_changed();
  }
}

void CacheEntry::die(Refuse refuse, std::string_view why) {
  if (std::exchange(dead_, true)) return;
  owner_.log().debug("a cache has ended", {{"resource", key().group_resource()}, {"namespace", key().namespace_name}, {"why", why}});
  ++request_number_;
  exchange_.reset();
  waiting_.reset();
  reflector_.stop();
  owner_.entry_died(*this);
  if (refuse == Refuse::Lists) owner_.refuse_lists(key());
  if (refuse == Refuse::All) owner_.refuse(key());
  cache_.reset(nullptr);
  tell_readers();
}

// --- Time ---

// When it ends if nobody wants it until then.
std::optional<Nanoseconds> CacheEntry::unwanted_until() const {
  if (!unwanted_since_) return std::nullopt;
  return *unwanted_since_ + (holds_secrets(key()) ? Nanoseconds() : owner_.options().grace);
}

std::optional<Nanoseconds> CacheEntry::deadline() const {
  std::optional<Nanoseconds> earliest = reflector_.deadline();
  const auto take = [&earliest](std::optional<Nanoseconds> when) {
    if (when && (!earliest || *when < *earliest)) earliest = when;
  };
  take(cache_.deadline());
  take(unwanted_until());
  return earliest;
}

void CacheEntry::run(Nanoseconds now) {
  if (dead_) return;
  if (donor_dirty_) choose_donor();
  if (dead_) return;
  if (reflector_.deadline() && *reflector_.deadline() <= now) {
    reflector_.on_timer(now);
    after_reflector();
  }
  if (dead_) return;
  if (cache_.deadline() && *cache_.deadline() <= now) cache_.on_timer(now);
  if (const auto until = unwanted_until(); until && now >= *until) die(watched_ ? Refuse::No : Refuse::Lists, "nobody wants it any more");
}

}  // namespace dormouse::gateway
