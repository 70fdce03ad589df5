// SPDX-License-Identifier: Apache-2.0
#include "watchcache/reflector.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "base/check.h"
#include "watchcache/metadata.h"
#include "watchcache/protobuf.h"

namespace dormouse::watchcache {

namespace {

constexpr std::size_t kErrorBytesMax = 64 * 1024;   // Of an answer that is none.
constexpr auto kQuick = std::chrono::seconds(5);    // A watch that the server ends sooner, or a 410 so soon after another, is a failure.
constexpr auto kOverdue = std::chrono::seconds(30); // A watch that the server has not ended so long after its time is given up.
constexpr std::uint32_t kPageItemsMax = 100'000;    // Beyond, a list is asked for in one piece.

std::string percent_encoded(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~') {
      out.push_back(c);
    } else {
      fmt::format_to(std::back_inserter(out), "%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

// The Status in an answer that is an error: in the encoding that was asked for, or JSON.
StatusInfo read_refusal(int http_status, std::string_view body) {
  StatusInfo status;
  if (body.starts_with('{')) {
    status = parse_status(Encoding::Json, body);
  } else if (body.starts_with("k8s")) {
    if (const auto envelope = read_envelope(body)) status = parse_status(Encoding::Protobuf, envelope->raw);
  }
  status.code = http_status;
  status.message = status.message.empty() ? fmt::format("HTTP status {}", http_status) : status.message.substr(0, 512);
  return status;
}

}  // namespace

Reflector::Reflector(Options options, ResourceCache& cache)
    : options_(options),
      cache_(cache),
      random_(static_cast<std::minstd_rand::result_type>(options.seed)),
      decoder_(cache.options().key.encoding),
      page_items_(options.page_items) {}

// ---- Requests ----

void Reflector::start(Nanoseconds now) {
  CHECK(state_ == State::Stopped);
  trouble_ = Trouble::None;
  failures_ = 0;
  cache_.ready() ? begin(Phase::Probe, now) : relist(now);
}

void Reflector::stop() {
  drop_request();
  drop_staged();
  deadline_.reset();
  state_ = State::Stopped;
}

std::optional<Reflector::Action> Reflector::take_action() {
  if (std::exchange(cancel_, false)) return Action{Action::Kind::Cancel, {}, {}};
  if (start_) started_ = true;
  return std::exchange(start_, std::nullopt);
}

std::string Reflector::target(Phase phase) const {
  const CacheKey& key = cache_.options().key;
  std::string target = key.path();
  switch (phase) {
    case Phase::WatchList:
      target += fmt::format("?watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds={}", watch_seconds_);
      break;
    case Phase::Watch: target += fmt::format("?watch=true&allowWatchBookmarks=true&resourceVersion={}&timeoutSeconds={}", cache_.revision(), watch_seconds_); break;
    case Phase::Probe: target += "?limit=1"; break;
    case Phase::Page:
      target += page_items_ > kPageItemsMax ? "?limit=0" : fmt::format("?limit={}", page_items_);
      if (!continue_.empty()) target += "&continue=" + percent_encoded(continue_);
      break;
    case Phase::None: CHECK(false);
  }
  if (!key.label_selector.empty()) target += "&labelSelector=" + percent_encoded(key.label_selector);
  if (!key.field_selector.empty()) target += "&fieldSelector=" + percent_encoded(key.field_selector);
  return target;
}

void Reflector::begin(Phase phase, Nanoseconds now) {
  CHECK(!open_);
  phase_ = phase;
  opened_ = now;
  open_ = true;
  started_ = false;
  status_ = 0;
  retry_after_seconds_ = 0;
  decoder_.clear();
  ZeroingString().swap(body_);
  deadline_ = now + options_.list_stall;
  switch (phase) {
    case Phase::WatchList: case Phase::Watch:
      watch_seconds_ = std::uniform_int_distribution(options_.watch_seconds_min, 2 * options_.watch_seconds_min)(random_);
      state_ = phase == Phase::Watch ? State::Watching : State::Listing;
      ++(phase == Phase::Watch ? counters_.watches : counters_.lists);
      if (phase == Phase::Watch) deadline_ = now + std::chrono::seconds(watch_seconds_) + kOverdue;
      break;
    case Phase::Page:
      state_ = State::Listing;
      if (continue_.empty()) ++counters_.lists;
      break;
    case Phase::Probe:
      state_ = State::Probing;
      break;
    case Phase::None: CHECK(false);
  }
  // Of a list, the API server makes a list of metadata or refuses (406).
  start_ = Action{Action::Kind::Start, target(phase), cache_.options().key.accept(phase == Phase::Page || phase == Phase::Probe)};
}

void Reflector::drop_request() {
  if (!open_) return;
  open_ = false;
  start_.reset();
  if (started_) cancel_ = true;
}

void Reflector::drop_staged() {
  std::vector<ObjectPtr>().swap(staged_);
  staged_bytes_ = 0;
  continue_.clear();
  list_revision_ = 0;
}

void Reflector::relist(Nanoseconds now) {
  drop_request();
  drop_staged();
  begin(list_phase(), now);
}

void Reflector::credentials_changed(Nanoseconds now) {
  if (state_ == State::Stopped) return;
  failures_ = 0;
  if (trouble_ == Trouble::Denied) trouble_ = Trouble::Failing;
  // A watch goes on from where it is; a list begins anew.
  const Phase next = state_ == State::Waiting ? again_ : state_ == State::Listing ? Phase::None : phase_;
  drop_request();
  if (next == Phase::None || !cache_.ready()) return relist(now);
  begin(next, now);
}

// ---- What comes of them ----

void Reflector::on_response(int status, const Headers& headers, Nanoseconds now) {
  if (!open_ || !started_) return;
  status_ = status;
  for (const auto& [name, value] : headers) {
    if (name == "retry-after") std::from_chars(value.data(), value.data() + value.size(), retry_after_seconds_);
    if (name != "content-type" || status != 200) continue;
    if (!value.starts_with(cache_.options().key.list_content_type())) {
      return fail_and_wait(fmt::format("the API server answered as \"{}\"", value.substr(0, 100)), now);
    }
  }
  if (status == 200 && phase_ == Phase::Watch) trouble_ = Trouble::None;
}

void Reflector::on_data(std::string_view bytes, Nanoseconds now) {
  if (!open_ || status_ == 0) return;
  if (phase_ != Phase::Watch) deadline_ = now + options_.list_stall;
  if (status_ != 200) {
    body_.append(bytes.substr(0, kErrorBytesMax - std::min(kErrorBytesMax, body_.size())));
    return;
  }
  if (phase_ == Phase::Page || phase_ == Phase::Probe) {
    body_.append(bytes);
    if (body_.size() > options_.page_bytes_max) smaller_pages(now);
    return;
  }
  decoder_.feed(bytes);
  while (open_) {
    const auto event = decoder_.next();
    if (!event) return fail_and_wait(event.error().message, now);
    if (!*event) return;
    phase_ == Phase::WatchList ? on_initial_event(**event, now) : on_event(**event, now);
  }
}

void Reflector::on_end(Nanoseconds now) {
  if (!open_ || !started_) return;
  started_ = false;  // There is nothing to cancel any more.
  if (status_ != 200) return on_refusal(read_refusal(status_, body_), now);
  switch (phase_) {
    case Phase::Page: return on_page(now);
    case Phase::Probe: return on_probe(now);
    case Phase::WatchList: return fail_and_wait("the API server ended the list before it was whole", now);
    case Phase::Watch: break;
    case Phase::None: CHECK(false);
  }
  if (decoder_.held_bytes() > 0) return fail_and_wait("the API server ended the watch within an event", now);
  if (now - opened_ < kQuick) return fail_and_wait("the API server ended the watch at once", now);
  drop_request();
  // At its time: as agreed. Before that the server is going down, and may come back with another history.
  begin(now - opened_ + kQuick >= std::chrono::seconds(watch_seconds_) ? Phase::Watch : Phase::Probe, now);
}

void Reflector::on_failure(std::string_view what, Nanoseconds now) {
  if (!open_) return;
  started_ = false;
  fail_and_wait(std::string(what), now);
}

void Reflector::on_timer(Nanoseconds now) {
  if (!deadline_ || now < *deadline_) return;
  deadline_.reset();
  if (state_ == State::Waiting) {
    if (again_ == Phase::None || !cache_.ready()) return relist(now);
    return begin(again_, now);
  }
  if (!open_) return;
  if (phase_ == Phase::WatchList && status_ == 200) {
    // An API server from before WatchList sends the state but never the bookmark that ends it.
    watch_list_refused_ = true;
  }
  fail_and_wait("the API server has fallen silent", now);
}

void Reflector::on_refusal(const StatusInfo& status, Nanoseconds now) {
  if (status.retry_after_seconds > 0) retry_after_seconds_ = std::max(retry_after_seconds_, static_cast<std::uint32_t>(status.retry_after_seconds));
  switch (status.code) {
    case 401: case 403: return fail_and_wait(status.message, now, Trouble::Denied);
    case 404:
      drop_request();
      cache_.reset(nullptr);
      return fail_and_wait(status.message, now, Trouble::Gone);
    case 406: return fail_and_wait(status.message, now, Trouble::NotAcceptable);
    case 410:
      if (phase_ == Phase::Page) {
        // The continue token died before the list was whole: larger pages need fewer of them.
        page_items_ = page_items_ > kPageItemsMax ? page_items_ : page_items_ * 4;
        return relist(now);
      }
      return expired(now);
    case 400: case 405: case 422: case 501:
      if (phase_ == Phase::WatchList) {
        watch_list_refused_ = true;
        return relist(now);
      }
      break;
    default: break;
  }
  fail_and_wait(status.message, now);
}

void Reflector::on_event(const WatchEvent& event, Nanoseconds now) {
  const Encoding encoding = cache_.options().key.encoding;
  if (event.type == WatchEvent::Type::Error) return on_error_event(parse_status(encoding, event.object), now);
  bool good = false;
  if (event.type == WatchEvent::Type::Bookmark) {
    const auto bookmark = parse_bookmark(encoding, event.object);
    if (!bookmark) return fail_and_wait(bookmark.error().message, now);
    good = cache_.progress(bookmark->revision);
  } else {
    if (!learn(event, nullptr)) return fail_and_wait(fmt::format("the API server sent a {} among others", event.kind.substr(0, 100)), now);
    auto object = Object::create(cache_.pool(), event.object, cache_.kind(), cache_.api_version());
    if (!object) return fail_and_wait(object.error().message, now);
    good = event.type == WatchEvent::Type::Deleted ? cache_.remove(std::move(*object)) : cache_.put(std::move(*object));
  }
  if (!good) fail_and_wait("the watch went back or repeated itself", now);
}

void Reflector::on_initial_event(const WatchEvent& event, Nanoseconds now) {
  const Encoding encoding = cache_.options().key.encoding;
  if (event.type == WatchEvent::Type::Error) return on_error_event(parse_status(encoding, event.object), now);
  if (event.type == WatchEvent::Type::Bookmark) {
    const auto bookmark = parse_bookmark(encoding, event.object);
    if (!bookmark) return fail_and_wait(bookmark.error().message, now);
    if (!learn(event, &*bookmark)) return fail_and_wait("the API server sent a bookmark of another kind", now);
    if (!bookmark->initial_events_end) return;
    phase_ = Phase::Watch;
    state_ = State::Watching;
    deadline_ = opened_ + std::chrono::seconds(watch_seconds_) + kOverdue;
    return finish_list(bookmark->revision, now);
  }
  if (!learn(event, nullptr)) return fail_and_wait(fmt::format("the API server sent a {} among others", event.kind.substr(0, 100)), now);
  const auto staged = stage(event.object, cache_.kind(), cache_.api_version());
  if (!staged) return fail_and_wait(staged.error().message, now);
  if (event.type == WatchEvent::Type::Deleted) {
    const ObjectPtr gone = std::move(staged_.back());
    std::erase_if(staged_, [&](const ObjectPtr& object) { return object == nullptr || object->key() == gone->key(); });
  }
}

void Reflector::on_error_event(const StatusInfo& status, Nanoseconds now) {
  if (status.code == 410) return expired(now);
  if (phase_ == Phase::WatchList && !status.too_large_revision && (status.code == 400 || status.code == 422 || status.code == 500)) {
    // As client-go: an API server that cannot do it says so in many ways.
    watch_list_refused_ = true;
    return relist(now);
  }
  fail_and_wait(status.message.empty() ? "the API server ended the watch with an error" : status.message.substr(0, 512), now);
}

void Reflector::expired(Nanoseconds now) {
  const bool again_so_soon = last_expired_ != Nanoseconds() && now - last_expired_ < kQuick;
  last_expired_ = now;
  drop_request();
  if (!again_so_soon) return relist(now);
  phase_ = Phase::None;
  fail_and_wait("the API server forgets revisions at once", now);
}

void Reflector::on_page(Nanoseconds now) {
  auto list = ListBody::parse(cache_.options().key.encoding, body_);
  if (!list) return fail_and_wait(list.error().message, now);
  if (continue_.empty()) {
    list_revision_ = list->revision;
    std::string_view kind = list->kind;
    if (kind.ends_with("List")) kind.remove_suffix(4);
    if (is_plain_type(kind) && is_plain_type(list->api_version)) cache_.learn_type(kind, list->api_version);
  } else if (list->revision != list_revision_) {
    return fail_and_wait("the pages of a list are of different revisions", now);
  }
  while (true) {
    const auto item = list->next();
    if (!item) return fail_and_wait(item.error().message, now);
    if (!*item) break;
    const auto staged = stage(**item, cache_.kind(), cache_.api_version());
    if (!staged) return fail_and_wait(staged.error().message, now);
  }
  drop_request();
  continue_ = std::move(list->continue_token);
  if (!continue_.empty()) return begin(Phase::Page, now);
  finish_list(list_revision_, now);
  if (state_ == State::Listing) begin(Phase::Watch, now);
}

void Reflector::on_probe(Nanoseconds now) {
  const auto list = ListBody::parse(cache_.options().key.encoding, body_);
  if (!list) return fail_and_wait(list.error().message, now);
  drop_request();
  if (list->revision < cache_.revision()) return went_back(now);
  begin(Phase::Watch, now);
}

void Reflector::observed(Revision server_revision, Revision cache_revision_when_asked, Nanoseconds now) {
  if (state_ != State::Stopped && cache_.ready() && server_revision < cache_revision_when_asked) went_back(now);
}

void Reflector::went_back(Nanoseconds now) {
  ++counters_.went_back;
  const ApiStatus status = too_old_revision(cache_.revision(), 0);
  cache_.reset(&status);
  relist(now);
}

void Reflector::smaller_pages(Nanoseconds now) {
  if (phase_ == Phase::Probe || page_items_ == 1) return fail_and_wait("the API server's answer is too long", now);
  page_items_ = std::min(page_items_, kPageItemsMax) / 2;
  relist(now);
}

// False: another kind than everything before.
bool Reflector::learn(const WatchEvent& event, const Bookmark* bookmark) {
  const std::string_view kind = !event.kind.empty() || bookmark == nullptr ? event.kind : bookmark->kind;
  const std::string_view api_version = !event.api_version.empty() || bookmark == nullptr ? event.api_version : bookmark->api_version;
  if (is_plain_type(kind) && is_plain_type(api_version)) cache_.learn_type(kind, api_version);
  return kind.empty() || (kind == cache_.kind() && api_version == cache_.api_version());
}

Result<void> Reflector::stage(std::string_view bytes, std::string_view kind, std::string_view api_version) {
  auto object = Object::create(cache_.pool(), bytes, kind, api_version);
  if (!object) return fail(std::move(object.error()));
  // What has not changed is not held twice.
  if (ObjectPtr held = cache_.find((*object)->namespace_name(), (*object)->name()); held != nullptr && held->revision() == (*object)->revision()) *object = std::move(held);
  staged_bytes_ += (*object)->size();
  if (staged_bytes_ > options_.list_bytes_max) return fail(ErrorCode::ResourceExhausted, "the list is larger than {} bytes", options_.list_bytes_max);
  staged_.push_back(std::move(*object));
  return {};
}

void Reflector::finish_list(Revision revision, Nanoseconds now) {
  const bool newer = std::ranges::any_of(staged_, [revision](const ObjectPtr& object) { return object->revision() > revision; });
  if (newer || cache_.kind().empty()) {
    drop_request();
    return fail_and_wait("the API server's list is of no one revision, or of no known kind", now);
  }
  trouble_ = Trouble::None;
  std::vector<ObjectPtr> objects = std::move(staged_);
  drop_staged();
  cache_.replace(std::move(objects), revision);
}

void Reflector::fail_and_wait(std::string what, Nanoseconds now, Trouble trouble) {
  // A broken watch goes on after a probe; a list that was not finished begins anew.
  again_ = cache_.ready() && (phase_ == Phase::Watch || phase_ == Phase::Probe) ? Phase::Probe : Phase::None;
  drop_request();
  drop_staged();
  ++counters_.failures;
  last_error_ = std::move(what);
  trouble_ = trouble;
  if (now - last_failure_ > options_.backoff_reset) failures_ = 0;
  last_failure_ = now;
  const double doubled = static_cast<double>(options_.backoff_min.count()) * static_cast<double>(1ULL << std::min(failures_++, 20U));
  const double bounded = std::min(doubled, static_cast<double>(options_.backoff_max.count())) * std::uniform_real_distribution(1.0, 2.0)(random_);
  const Nanoseconds asked = std::chrono::seconds(std::min<std::uint32_t>(retry_after_seconds_, 300));
  deadline_ = now + std::max(Nanoseconds(static_cast<std::int64_t>(bounded)), asked);
  state_ = State::Waiting;
}

}  // namespace dormouse::watchcache
