// SPDX-License-Identifier: Apache-2.0
#include "watchcache/api_status.h"

#include <fmt/format.h>

#include "base/log.h"
#include "watchcache/protobuf.h"

namespace dormouse::watchcache {

namespace {
constexpr std::string_view kTooLargeCause = "ResourceVersionTooLarge";  // metav1.CauseTypeResourceVersionTooLarge.

void append_member(std::string& out, std::string_view key, std::string_view value) {
  if (value.empty()) return;
  if (out.back() != '{') out += ',';
  out.append("\"").append(key).append("\":\"");
  append_json_escaped(out, value);
  out += '"';
}

void append_if(std::string& out, std::uint32_t field, std::string_view value) {
  if (!value.empty()) append_bytes_field(out, field, value);
}

}  // namespace

std::string ApiStatus::encode(Encoding encoding) const {
  const bool details = !name.empty() || !resource.empty() || !cause.empty() || retry_after_seconds != 0;
  if (encoding == Encoding::Json) {
    std::string out = R"({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure")";
    append_member(out, "message", message);
    append_member(out, "reason", reason);
    if (details) {
      out += R"(,"details":{)";
      append_member(out, "name", name);
      append_member(out, "group", group);
      append_member(out, "kind", resource);
      if (!cause.empty()) {
        if (out.back() != '{') out += ',';
        out += R"("causes":[{)";
        append_member(out, "reason", cause);
        append_member(out, "message", cause_message);
        out += "}]";
      }
      if (retry_after_seconds != 0) out += fmt::format(R"({}"retryAfterSeconds":{})", out.back() == '{' ? "" : ",", retry_after_seconds);
      out += '}';
    }
    return out + fmt::format(R"(,"code":{}}})", code);
  }
  // meta/v1/generated.proto: Status and StatusDetails.
  std::string status;
  append_bytes_field(status, 1, "");
  append_bytes_field(status, 2, "Failure");
  append_if(status, 3, message);
  append_if(status, 4, reason);
  if (details) {
    std::string inner;
    append_if(inner, 1, name);
    append_if(inner, 2, group);
    append_if(inner, 3, resource);
    if (!cause.empty()) {
      std::string one;
      append_bytes_field(one, 1, cause);
      append_if(one, 2, cause_message);
      append_bytes_field(inner, 4, one);
    }
    if (retry_after_seconds != 0) append_varint_field(inner, 5, static_cast<std::uint64_t>(retry_after_seconds));
    append_bytes_field(status, 5, inner);
  }
  append_varint_field(status, 6, static_cast<std::uint64_t>(code));
  std::string out;
  append_envelope_head(out, "v1", "Status", status.size());
  return out + status;
}

ApiStatus too_old_revision(Revision asked, Revision oldest) {
  return {.code = 410, .reason = "Expired", .message = fmt::format("too old resource version: {} ({})", asked, oldest)};
}

ApiStatus too_large_revision(Revision asked, Revision current) {
  return {.code = 504,
          .reason = "Timeout",
          .message = fmt::format("Timeout: Too large resource version: {}, current: {}", asked, current),
          .retry_after_seconds = 1,
          .cause = std::string(kTooLargeCause),
          .cause_message = "Too large resource version"};
}

ApiStatus not_found(const CacheKey& key, std::string_view name) {
  return {.code = 404,
          .reason = "NotFound",
          .message = fmt::format("{} \"{}\" not found", key.group_resource(), name),
          .name = std::string(name),
          .group = key.group,
          .resource = key.resource};
}

}  // namespace dormouse::watchcache
