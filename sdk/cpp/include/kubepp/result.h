// SPDX-License-Identifier: Apache-2.0
#pragma once
// How an operation tells that the world did not play along: Result<T>, and the Error in it. Nothing here throws.

#include <chrono>
#include <expected>
#include <string>
#include <string_view>

namespace kubepp {

struct Error {
  int status = 0;        // The API server's HTTP status; 0 when there was no answer.
  std::string reason;    // The API's machine word ("NotFound", "Conflict"), or ours: "Network", "Protocol", "Timeout", "Configuration".
  std::string message;   // For people: what, where, and what to do.
  std::chrono::seconds retry_after{0};  // The server asked to wait so long.

  bool not_found() const { return status == 404; }
  bool already_exists() const { return status == 409 && reason == "AlreadyExists"; }
  bool conflict() const { return status == 409; }
  bool gone() const { return status == 410; }
  bool forbidden() const { return status == 403; }
};

template <typename T>
using Result = std::expected<T, Error>;

inline std::unexpected<Error> fail(std::string reason, std::string message) {
  return std::unexpected(Error{0, std::move(reason), std::move(message), {}});
}
inline std::unexpected<Error> fail(Error error) { return std::unexpected(std::move(error)); }

}  // namespace kubepp
