// SPDX-License-Identifier: Apache-2.0
#include "server.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "watchcache/api_status.h"
#include "watchcache/protobuf.h"

namespace dormouse::sim {

using namespace watchcache;

Server::Server(Model& model, std::mt19937_64& random, std::uint32_t faults, Encoding encoding)
    : model_(model), random_(random), faults_(faults), encoding_(encoding) {}

void Server::perform(const Reflector::Action& action) {
  kind_ = Kind::None;
  out_.clear();
  out_at_ = 0;
  last_event_.clear();
  if (action.kind == Reflector::Action::Kind::Cancel) return;
  target_ = action.target;
  const bool watch = target_.find("watch=true") != std::string::npos;
  kind_ = !watch ? Kind::List : target_.find("sendInitialEvents=true") != std::string::npos ? Kind::WatchList : Kind::Watch;
  answered_ = ends_ = broken_ = false;
  status_ = 200;
  lag_ = has(kStale) && chance(3) ? random_() % 20 : 0;
}

void Server::restart(Revision restored_to) {
  if (restored_to < model_.revision()) {
    model_.restore(restored_to);
    told_.resize(std::min<std::size_t>(told_.size(), restored_to + 1));
    compacted_ = std::min(compacted_, restored_to);
  }
  broken_ = true;
}

void Server::set_gone(bool gone) {
  gone_ = gone;
  broken_ = true;
}

void Server::tell(Revision revision) {
  if (told_.size() <= revision) told_.resize(revision + 1);
  told_[revision] = true;
}

std::string Server::enveloped(std::string_view kind, std::string_view message) const {
  std::string out;
  append_envelope_head(out, "v1", kind, message.size());
  return out.append(message);
}

void Server::event(std::string_view type, std::string_view object) {
  if (encoding_ == Encoding::Json) {
    last_event_ = fmt::format("{{\"type\":\"{}\",\"object\":{}}}\n", type, object);
  } else {
    std::string message, extension;
    append_bytes_field(extension, 1, type == "ERROR" ? std::string(object) : enveloped("Pod", object));
    append_bytes_field(message, 1, type);
    append_bytes_field(message, 2, extension);
    last_event_.clear();
    for (int shift = 24; shift >= 0; shift -= 8) last_event_.push_back(static_cast<char>(message.size() >> shift));
    last_event_ += message;
  }
  out_ += last_event_;
}

void Server::bookmark(Revision revision, bool end) {
  tell(revision);
  if (encoding_ == Encoding::Json) {
    return event("BOOKMARK", fmt::format(R"({{"kind":"Pod","apiVersion":"v1","metadata":{{"resourceVersion":"{}"{}}}}})", revision, end ? R"(,"annotations":{"k8s.io/initial-events-end":"true"})" : ""));
  }
  std::string annotation, meta, object;
  append_bytes_field(meta, 6, fmt::to_string(revision));
  if (end) {
    append_bytes_field(annotation, 1, "k8s.io/initial-events-end");
    append_bytes_field(annotation, 2, "true");
    append_bytes_field(meta, 12, annotation);
  }
  append_bytes_field(object, 1, meta);
  event("BOOKMARK", object);
}

void Server::error(int code, std::string_view reason) {
  event("ERROR", ApiStatus{.code = code, .reason = std::string(reason), .message = "simulated"}.encode(encoding_));
  ends_ = true;
}

// The head of the answer, and a list's or the initial events' body.
void Server::answer() {
  answered_ = true;
  if (gone_) {
    status_ = 404;
  } else if (has(kRefuse) && chance(12)) {
    static constexpr int kCodes[] = {429, 500, 503, 403, 504};
    status_ = kCodes[random_() % 5];
  } else if (has(kOldServer) && kind_ == Kind::WatchList) {
    status_ = 422;
  }
  const auto number_after = [this](std::string_view name) {
    Revision number = 0;
    const std::size_t at = target_.find(name);
    if (at != std::string::npos) std::from_chars(target_.data() + at + name.size(), target_.data() + target_.size(), number);
    return number;
  };
  if (status_ == 200 && kind_ == Kind::List) {
    // A quorum read; with a stale replica now and then one that is not (and says so by its revision).
    std::size_t from = 0;
    const std::size_t limit = number_after("limit=");
    const std::size_t token = target_.find("continue=");
    Revision revision = model_.revision();
    if (token != std::string::npos) {
      from = number_after("continue=");
      revision = page_revision_;
      if (revision < compacted_ || revision > model_.revision()) status_ = 410;
    } else if (has(kStale) && limit > 1 && chance(10)) {
      revision -= random_() % std::min<Revision>(revision, 30);
    }
    if (revision == 0) revision = 1;
    page_revision_ = revision;
    std::string items, next;
    std::size_t count = 0, i = from;
    // Pages are of ten at most here, so that there are several.
    for (; i < model_.keys() && count < std::min<std::size_t>(limit, 10); ++i) {
      const State state = model_.at(i, revision);
      if (!model_.in_upstream(state)) continue;
      std::string text = model_.text(i, state, true);
      if (encoding_ == Encoding::Json) {
        // As built-in types in lists: without kind and apiVersion.
        static constexpr std::string_view kType = R"("kind":"Pod","apiVersion":"v1",)";
        text.erase(1, kType.size());
        items += (count == 0 ? "" : ",") + text;
      } else {
        append_bytes_field(items, 2, text);
      }
      ++count;
    }
    if (i < model_.keys() && limit > 1) next = fmt::to_string(i);
    if (status_ == 200) {
      tell(revision);
      if (encoding_ == Encoding::Json) {
        out_ = fmt::format(R"({{"kind":"PodList","apiVersion":"v1","metadata":{{"resourceVersion":"{}","continue":"{}"}},"items":[{}]}})", revision, next, items);
      } else {
        std::string meta, list;
        append_bytes_field(meta, 2, fmt::to_string(revision));
        append_bytes_field(meta, 3, next);
        append_bytes_field(list, 1, meta);
        out_ = enveloped("PodList", list + items);
      }
    }
    ends_ = true;
  } else if (status_ == 200 && kind_ == Kind::WatchList) {
    at_ = model_.revision();
    if (has(kStale) && chance(10)) at_ -= random_() % std::min<Revision>(at_, 30);
    if (at_ == 0) at_ = 1;
    for (std::size_t i = 0; i < model_.keys(); ++i) {
      if (const State state = model_.at(i, at_); model_.in_upstream(state)) event("ADDED", model_.text(i, state, true));
    }
    bookmark(at_, true);
  } else if (status_ == 200) {
    at_ = number_after("resourceVersion=");
    if (at_ < compacted_) error(410, "Expired");
  }
  if (status_ != 200) {
    out_ = ApiStatus{.code = status_, .reason = "Simulated", .message = "simulated"}.encode(Encoding::Json);
    ends_ = true;
  }
}

// What a watch has to tell since it was last looked at.
void Server::produce() {
  if (ends_ || kind_ == Kind::List) return;
  if (lag_ > 0 && chance(4)) --lag_;
  const Revision visible = model_.revision() - std::min(lag_, model_.revision());
  for (; at_ < visible && out_.size() - out_at_ < 8'192; ++at_) {
    const auto key = model_.changed(at_ + 1);
    if (!key) continue;
    const State before = model_.at(*key, at_);
    State after = model_.at(*key, at_ + 1);
    const bool was = model_.in_upstream(before), is = model_.in_upstream(after);
    if (!was && !is) continue;
    tell(at_ + 1);
    if (!is) {
      after = before;
      after.revision = at_ + 1;
    }
    event(!is ? "DELETED" : was ? "MODIFIED" : "ADDED", model_.text(*key, after, true));
    if (has(kDuplicate) && chance(3'000)) out_ += last_event_;
  }
  if (at_ == visible && chance(20)) bookmark(at_, false);
  if (has(kGarbage) && chance(20'000)) out_ += encoding_ == Encoding::Json ? "{\"type\":\"ADDED\",\"object\":{}}\n" : std::string("\0\0\0\1x", 5);
  if (has(kExpire) && chance(20'000)) error(410, "Expired");
}

void Server::pump(Reflector& reflector, Nanoseconds now) {
  if (kind_ == Kind::None) return;
  if (broken_ || (has(kDrop) && chance(2'500))) {
    kind_ = Kind::None;
    return reflector.on_failure("simulated: connection lost", now);
  }
  if (has(kDelay) && chance(5)) return;
  if (!answered_) {
    answer();
    const std::string_view type = status_ != 200 || encoding_ == Encoding::Json ? "application/json" : "application/vnd.kubernetes.protobuf";
    return reflector.on_response(status_, {{"content-type", std::string(type)}}, now);
  }
  produce();
  if (out_at_ < out_.size()) {
    std::size_t size = out_.size() - out_at_;
    if (has(kDelay) && chance(3)) size = 1 + random_() % size;
    // It may start another request: this one's bytes are taken out first.
    const std::string piece = out_.substr(out_at_, size);
    out_at_ += size;
    if (out_at_ == out_.size()) {
      out_.clear();
      out_at_ = 0;
    }
    return reflector.on_data(piece, now);
  }
  if (ends_ || (kind_ != Kind::List && chance(20'000))) {
    kind_ = Kind::None;
    reflector.on_end(now);
  }
}

}  // namespace dormouse::sim
