// SPDX-License-Identifier: Apache-2.0
#include "watchcache/frames.h"

#include "watchcache/json_scan.h"
#include "watchcache/protobuf.h"

namespace dormouse::watchcache {

namespace {

constexpr std::string_view kInitialEventsEnd = "k8s.io/initial-events-end";  // metav1.InitialEventsAnnotationKey.
constexpr std::string_view kTooLargeCause = "ResourceVersionTooLarge";       // metav1.CauseTypeResourceVersionTooLarge.
constexpr std::string_view kTooLargeMessage = "Too large resource version";

std::optional<WatchEvent::Type> type_of(std::string_view text) {
  if (text == "ADDED") return WatchEvent::Type::Added;
  if (text == "MODIFIED") return WatchEvent::Type::Modified;
  if (text == "DELETED") return WatchEvent::Type::Deleted;
  if (text == "BOOKMARK") return WatchEvent::Type::Bookmark;
  if (text == "ERROR") return WatchEvent::Type::Error;
  return std::nullopt;
}

Result<WatchEvent> parse_json_event(std::string_view line) {
  WatchEvent event;
  std::string type;
  JsonScan scan(line);
  bool twice = false;
  const bool good = scan.object([&](std::string_view key) {
    if (key == "type") {
      twice = twice || !type.empty();
      return scan.string(type);
    }
    if (key != "object") return scan.value();
    if (scan.peek() != '{') return false;
    const std::size_t from = scan.at();
    twice = twice || !event.object.empty();
    if (!scan.value()) return false;
    event.object = scan.since(from);
    return true;
  });
  const auto known = type_of(type);
  if (!good || !scan.at_end() || twice || !known || event.object.empty()) return fail(ErrorCode::Corrupt, "watch: a line is no event");
  event.type = *known;
  return event;
}

Result<WatchEvent> parse_protobuf_event(std::string_view message) {
  WatchEvent event;
  std::string_view type, raw;
  WireReader reader(message);
  while (reader.next()) {
    if (!reader.is_bytes()) continue;
    if (reader.field() == 1) type = reader.bytes();
    if (reader.field() == 2) {
      WireReader extension(reader.bytes());
      while (extension.next()) {
        if (extension.field() == 1 && extension.is_bytes()) raw = extension.bytes();
      }
      if (extension.malformed()) return fail(ErrorCode::Corrupt, "watch: an event's object is malformed");
    }
  }
  const auto known = type_of(type);
  if (reader.malformed() || !known) return fail(ErrorCode::Corrupt, "watch: a frame is no event");
  auto envelope = read_envelope(raw);
  if (!envelope) return fail(std::move(envelope.error()));
  event.type = *known;
  event.kind = envelope->kind;
  event.api_version = envelope->api_version;
  event.object = envelope->raw;
  return event;
}

}  // namespace

void WatchDecoder::feed(std::string_view bytes) {
  if (at_ > 0) {
    held_.erase(0, at_);
    searched_ -= at_;
    at_ = 0;
  }
  held_.append(bytes);
}

void WatchDecoder::clear() {
  ZeroingString().swap(held_);
  at_ = searched_ = 0;
}

std::optional<WatchEvent> WatchDecoder::need_more() {
  // Most watches are silent most of the time, and there are many: what has no event has no room for one.
  if (held_bytes() == 0) clear();
  return std::nullopt;
}

Result<std::optional<WatchEvent>> WatchDecoder::next() {
  const auto too_long = [this] { return fail(ErrorCode::ResourceExhausted, "watch: an event is longer than {} bytes", event_bytes_max_); };
  if (encoding_ == Encoding::Json) {
    while (true) {
      const std::size_t end = held_.find('\n', searched_);
      if (end == std::string::npos) {
        searched_ = held_.size();
        if (held_bytes() > event_bytes_max_) return too_long();
        return need_more();
      }
      const std::string_view line = std::string_view(held_).substr(at_, end - at_);
      at_ = searched_ = end + 1;
      if (line.empty() || line == "\r") continue;
      if (line.size() > event_bytes_max_) return too_long();
      auto event = parse_json_event(line);
      if (!event) return fail(std::move(event.error()));
      return *event;
    }
  }
  if (held_bytes() < 4) return need_more();
  std::uint32_t length = 0;
  for (std::size_t i = 0; i < 4; ++i) length = length << 8 | static_cast<unsigned char>(held_[at_ + i]);
  if (length > event_bytes_max_) return too_long();
  if (held_bytes() - 4 < length) return std::nullopt;
  auto event = parse_protobuf_event(std::string_view(held_).substr(at_ + 4, length));
  at_ += 4 + length;
  searched_ = at_;
  if (!event) return fail(std::move(event.error()));
  return *event;
}

Result<Bookmark> parse_bookmark(Encoding encoding, std::string_view object) {
  Bookmark bookmark;
  std::string revision, value;
  bool good = true;
  if (encoding == Encoding::Json) {
    JsonScan scan(object);
    good = scan.object([&](std::string_view key) {
      if (key == "kind") return scan.string(bookmark.kind);
      if (key == "apiVersion") return scan.string(bookmark.api_version);
      if (key != "metadata") return scan.value();
      return scan.object([&](std::string_view field) {
        if (field == "resourceVersion") return scan.string(revision);
        if (field != "annotations" || scan.peek() != '{') return scan.value();
        return scan.object([&](std::string_view annotation) {
          if (!scan.string(value)) return false;
          if (annotation == kInitialEventsEnd && value == "true") bookmark.initial_events_end = true;
          return true;
        });
      });
    });
  } else {
    WireReader reader(object);
    while (reader.next()) {
      if (reader.field() != 1 || !reader.is_bytes()) continue;
      WireReader meta(reader.bytes());
      while (meta.next()) {
        if (!meta.is_bytes()) continue;
        if (meta.field() == 6) revision = meta.bytes();
        if (meta.field() != 12) continue;
        std::string_view annotation, text;
        WireReader entry(meta.bytes());
        while (entry.next()) {
          if (entry.is_bytes() && entry.field() == 1) annotation = entry.bytes();
          if (entry.is_bytes() && entry.field() == 2) text = entry.bytes();
        }
        if (annotation == kInitialEventsEnd && text == "true") bookmark.initial_events_end = true;
      }
      good = good && !meta.malformed();
    }
    good = good && !reader.malformed();
  }
  const auto number = parse_revision(revision);
  if (!good || !number) return fail(ErrorCode::Corrupt, "watch: a bookmark without a revision");
  bookmark.revision = *number;
  return bookmark;
}

StatusInfo parse_status(Encoding encoding, std::string_view object) {
  StatusInfo status;
  const auto cause = [&status](std::string_view reason, std::string_view message) {
    if (reason == kTooLargeCause || message.starts_with(kTooLargeMessage)) status.too_large_revision = true;
  };
  if (encoding == Encoding::Json) {
    JsonScan scan(object);
    std::int64_t number = 0;
    const auto one_cause = [&] {
      std::string reason, message;
      const bool good = scan.object([&](std::string_view key) { return key == "reason" ? scan.string(reason) : key == "message" ? scan.string(message) : scan.value(); });
      cause(reason, message);
      return good;
    };
    scan.object([&](std::string_view key) {
      if (key == "code") {
        if (!scan.number(number)) return false;
        status.code = number > 0 && number < 1000 ? static_cast<int>(number) : 0;
        return true;
      }
      if (key == "reason") return scan.string(status.reason);
      if (key == "message") return scan.string(status.message);
      if (key != "details" || scan.peek() != '{') return scan.value();
      return scan.object([&](std::string_view field) {
        if (field == "causes" && scan.peek() == '[') return scan.array(one_cause);
        if (field != "retryAfterSeconds") return scan.value();
        if (!scan.number(number)) return false;
        status.retry_after_seconds = number > 0 && number < 3600 ? static_cast<int>(number) : 0;
        return true;
      });
    });
  } else {
    WireReader reader(object);
    while (reader.next()) {
      if (reader.field() == 3 && reader.is_bytes()) status.message = reader.bytes();
      if (reader.field() == 4 && reader.is_bytes()) status.reason = reader.bytes();
      if (reader.field() == 6 && reader.is_varint() && reader.varint() < 1000) status.code = static_cast<int>(reader.varint());
      if (reader.field() != 5 || !reader.is_bytes()) continue;
      WireReader details(reader.bytes());
      while (details.next()) {
        if (details.field() == 5 && details.is_varint() && details.varint() < 3600) status.retry_after_seconds = static_cast<int>(details.varint());
        if (details.field() != 4 || !details.is_bytes()) continue;
        std::string_view reason, message;
        WireReader one(details.bytes());
        while (one.next()) {
          if (one.field() == 1 && one.is_bytes()) reason = one.bytes();
          if (one.field() == 2 && one.is_bytes()) message = one.bytes();
        }
        cause(reason, message);
      }
    }
  }
  return status;
}

Result<ListBody> ListBody::parse(Encoding encoding, std::string_view body) {
  ListBody list;
  list.encoding_ = encoding;
  std::string revision;
  bool good = true, has_items = false;
  if (encoding == Encoding::Json) {
    JsonScan scan(body);
    good = scan.object([&](std::string_view key) {
      if (key == "kind") return scan.string(list.kind);
      if (key == "apiVersion") return scan.string(list.api_version);
      if (key == "metadata") {
        return scan.object([&](std::string_view field) {
          if (field == "resourceVersion") return scan.string(revision);
          if (field == "continue") return scan.string(list.continue_token);
          return scan.value();
        });
      }
      if (key != "items") return scan.value();
      if (has_items) return false;
      has_items = true;
      if (scan.peek() == 'n') return scan.value();  // null: none.
      if (scan.peek() != '[') return false;
      const std::size_t from = scan.at();
      if (!scan.value()) return false;
      list.rest_ = scan.since(from);
      list.rest_.remove_prefix(1);
      return true;
    });
    good = good && scan.at_end() && has_items;
  } else {
    auto envelope = read_envelope(body);
    if (!envelope) return fail(std::move(envelope.error()));
    list.kind = envelope->kind;
    list.api_version = envelope->api_version;
    list.rest_ = envelope->raw;
    WireReader reader(envelope->raw);
    while (reader.next()) {
      if (reader.field() != 1 || !reader.is_bytes()) continue;
      WireReader meta(reader.bytes());
      while (meta.next()) {
        if (meta.field() == 2 && meta.is_bytes()) revision = meta.bytes();
        if (meta.field() == 3 && meta.is_bytes()) list.continue_token = meta.bytes();
      }
      good = good && !meta.malformed();
    }
    good = good && !reader.malformed();
  }
  const auto number = parse_revision(revision);
  if (!good || !number) return fail(ErrorCode::Corrupt, "the answer is no list with a resourceVersion");
  list.revision = *number;
  return list;
}

Result<std::optional<std::string_view>> ListBody::next() {
  if (encoding_ == Encoding::Json) {
    JsonScan scan(rest_);
    if (rest_.empty() || scan.peek() == ']') return std::nullopt;
    if (scan.peek() == ',') scan.take(',');
    if (scan.peek() != '{') return fail(ErrorCode::Corrupt, "a list's item is no object");
    const std::size_t from = scan.at();
    if (!scan.value()) return fail(ErrorCode::Corrupt, "a list's item is malformed");
    const std::string_view item = scan.since(from);
    rest_.remove_prefix(scan.at());
    return item;
  }
  WireReader reader(rest_);
  while (reader.next()) {
    rest_.remove_prefix(reader.whole().size());
    if (reader.field() == 2 && reader.is_bytes()) return reader.bytes();
  }
  return std::nullopt;
}

}  // namespace dormouse::watchcache
