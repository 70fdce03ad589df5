// SPDX-License-Identifier: Apache-2.0
#pragma once
// How an operation tells that the world did not play along: Result<T>, and the Error in it.
//
// An Error says what failed, where, and what the reader can do, in one sentence for a person; its
// code is for the program. It is logged once, by whoever handles it. A bug of ours is CHECK, never
// an Error; a guest's misbehaviour is a trap of that guest.

#include <fmt/format.h>

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace dormouse {

enum class ErrorCode : std::uint8_t {
  InvalidArgument,   // What was given is wrong and stays wrong.
  NotFound,
  AlreadyExists,
  PermissionDenied,
  Unavailable,       // May work when tried again.
  DeadlineExceeded,
  Cancelled,
  ResourceExhausted, // A named limit was reached.
  Unsupported,
  Corrupt,           // Bytes that should be whole are not.
  Internal,
};

std::string_view to_string(ErrorCode code);

struct Error {
  ErrorCode code = ErrorCode::Internal;
  std::string message;

  // The same error with where it happened put before it: "where: message".
  Error within(std::string_view where) && {
    message.insert(0, ": ");
    message.insert(0, where);
    return std::move(*this);
  }
};

template <typename T>
using Result = std::expected<T, Error>;

// return fail(ErrorCode::NotFound, "{}: no such file", path);
template <typename... Args>
[[nodiscard]] std::unexpected<Error> fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  return std::unexpected(Error{code, fmt::format(format, std::forward<Args>(args)...)});
}
[[nodiscard]] inline std::unexpected<Error> fail(Error error) { return std::unexpected(std::move(error)); }
// "open PATH: No such file or directory" with the code that fits `error_number` (an errno).
[[nodiscard]] std::unexpected<Error> fail_errno(int error_number, std::string_view what);

}  // namespace dormouse
