// SPDX-License-Identifier: Apache-2.0
#pragma once
// The API server's streams, cut into events and items. Sizes are bounded; whatever is not well-formed is an error.
//
// Ownership: values.
// Threads: any.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "watchcache/cache_key.h"
#include "watchcache/revision.h"
#include "watchcache/zeroing.h"

namespace dormouse::watchcache {

struct WatchEvent {
  enum class Type : std::uint8_t { Added, Modified, Deleted, Bookmark, Error };
  Type type = Type::Added;
  std::string_view kind, api_version;  // Of the object; empty where JSON has none in front.
  std::string_view object;             // JSON text, or the protobuf message without its envelope.
};

// A watch's bytes → events: a JSON object a line, or protobuf messages with their length before them.
class WatchDecoder final {
 public:
  // etcd takes 1.5 MiB a request; base64 and field names make more of it, and managedFields are counted in.
  static constexpr std::size_t kEventBytesMax = 16 * 1024 * 1024;
  explicit WatchDecoder(Encoding encoding, std::size_t event_bytes_max = kEventBytesMax) : encoding_(encoding), event_bytes_max_(event_bytes_max) {}

  // Call next() until it yields nothing before the next feed(). Its result is valid until the next call of either.
  void feed(std::string_view bytes);
  // Unset: more bytes are needed. Errors: Corrupt, ResourceExhausted (an event above the limit).
  Result<std::optional<WatchEvent>> next();
  // Bytes of an event that has not ended.
  std::size_t held_bytes() const { return held_.size() - at_; }
  void clear();

 private:
  std::optional<WatchEvent> need_more();

  const Encoding encoding_;
  const std::size_t event_bytes_max_;
  ZeroingString held_;
  std::size_t at_ = 0, searched_ = 0;
};

// Revision and the mark of a bookmark's object.
struct Bookmark {
  Revision revision = 0;
  bool initial_events_end = false;
  std::string kind, api_version;  // JSON only; of protobuf the event has them.
};
Result<Bookmark> parse_bookmark(Encoding encoding, std::string_view object);

// Code, reason and message of a Status, for decisions and logs. `object`: JSON text, or protobuf without its envelope.
struct StatusInfo {
  int code = 0;
  std::string reason, message;
  int retry_after_seconds = 0;
  bool too_large_revision = false;
};
StatusInfo parse_status(Encoding encoding, std::string_view object);

// A LIST's body → items.
class ListBody {
 public:
  // Errors: Corrupt. `body` outlives this.
  static Result<ListBody> parse(Encoding encoding, std::string_view body);

  std::string_view kind, api_version;  // Of the list.
  Revision revision = 0;
  std::string continue_token;
  // The next item's bytes; unset at the end. Errors: Corrupt.
  Result<std::optional<std::string_view>> next();

 private:
  Encoding encoding_ = Encoding::Json;
  std::string_view rest_;  // JSON: inside of items; protobuf: the list's message.
};

}  // namespace dormouse::watchcache
