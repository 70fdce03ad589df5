// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the API server says when it says no, as an Error for people.
//
// Threads: pure.

#include <string>
#include <string_view>

#include "base/result.h"

namespace dormouse::kube {

// `message`: Kubernetes' own sentence out of a Status (it names user, verb and resource), cut to a sane length, without
// control characters; or the HTTP status alone. `kind` is what the Status is about ("pods", "serviceaccounts"), or empty.
struct ApiStatus {
  int code = 0;
  std::string message, kind;
};
ApiStatus parse_api_status(int http_status, std::string_view body);

// NotFound, PermissionDenied, InvalidArgument, AlreadyExists or Unavailable: as it fits an HTTP status.
ErrorCode code_of_http_status(int http_status);

// Letters, digits, '.', '-': a name that can stand in a path as it is. Kubernetes' names are such.
bool is_plain_name(std::string_view name);

}  // namespace dormouse::kube
