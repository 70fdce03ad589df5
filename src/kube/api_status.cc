// SPDX-License-Identifier: Apache-2.0
#include "kube/api_status.h"

#include <algorithm>
#include <boost/json.hpp>

namespace dormouse::kube {
namespace json = boost::json;
namespace {
constexpr std::size_t kMessageBytesMax = 500;

std::string shown(std::string_view text) {
  std::string out(text.substr(0, kMessageBytesMax));
  std::ranges::replace_if(out, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, ' ');
  return out;
}
}  // namespace

ApiStatus parse_api_status(int http_status, std::string_view body) {
  ApiStatus status;
  status.code = http_status;
  boost::system::error_code error;
  const json::value parsed = json::parse(body, error);
  if (!error && parsed.is_object()) {
    const json::object& root = parsed.get_object();
    if (const auto* const message = root.if_contains("message"); message != nullptr && message->is_string()) status.message = shown(message->get_string());
    if (const auto* const code = root.if_contains("code"); code != nullptr && code->is_int64() && code->get_int64() > 0 && code->get_int64() < 1000) {
      status.code = static_cast<int>(code->get_int64());
    }
    if (const auto* const details = root.if_contains("details"); details != nullptr && details->is_object()) {
      if (const auto* const kind = details->get_object().if_contains("kind"); kind != nullptr && kind->is_string()) status.kind = shown(kind->get_string());
    }
  }
  if (status.message.empty()) status.message = fmt::format("the API server answered {}", http_status);
  return status;
}

ErrorCode code_of_http_status(int http_status) {
  switch (http_status) {
    case 401: case 403: return ErrorCode::PermissionDenied;
    case 404: return ErrorCode::NotFound;
    case 409: return ErrorCode::AlreadyExists;
    case 400: case 405: case 406: case 415: case 422: return ErrorCode::InvalidArgument;
    default: return ErrorCode::Unavailable;
  }
}

bool is_plain_name(std::string_view name) {
  return !name.empty() && name.size() <= 253 && name != "." && name != ".." && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-';
  });
}

}  // namespace dormouse::kube
