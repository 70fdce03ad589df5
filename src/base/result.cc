// SPDX-License-Identifier: Apache-2.0
#include "base/result.h"

#include <cerrno>
#include <system_error>

namespace dormouse {

std::string_view to_string(ErrorCode code) {
  switch (code) {
    case ErrorCode::InvalidArgument: return "invalid argument";
    case ErrorCode::NotFound: return "not found";
    case ErrorCode::AlreadyExists: return "already exists";
    case ErrorCode::PermissionDenied: return "permission denied";
    case ErrorCode::Unavailable: return "unavailable";
    case ErrorCode::DeadlineExceeded: return "deadline exceeded";
    case ErrorCode::Cancelled: return "cancelled";
    case ErrorCode::ResourceExhausted: return "resource exhausted";
    case ErrorCode::Unsupported: return "unsupported";
    case ErrorCode::Corrupt: return "corrupt";
    case ErrorCode::Internal: return "internal";
  }
  return "unknown";
}

std::unexpected<Error> fail_errno(int error_number, std::string_view what) {
  ErrorCode code = ErrorCode::Internal;
  switch (error_number) {
    case ENOENT: case ENOTDIR: code = ErrorCode::NotFound; break;
    case EEXIST: case EADDRINUSE: code = ErrorCode::AlreadyExists; break;
    case EACCES: case EPERM: code = ErrorCode::PermissionDenied; break;
    case ENOMEM: case ENOSPC: case EMFILE: case ENFILE: case EDQUOT: code = ErrorCode::ResourceExhausted; break;
    case EINVAL: case EISDIR: case ENAMETOOLONG: case ELOOP: code = ErrorCode::InvalidArgument; break;
    case EAGAIN: case EINTR: case ECONNREFUSED: case ECONNRESET: case EHOSTUNREACH: case ENETUNREACH:
      code = ErrorCode::Unavailable; break;
    case ETIMEDOUT: code = ErrorCode::DeadlineExceeded; break;
    default: break;
  }
  return std::unexpected(Error{code, fmt::format("{}: {}", what, std::generic_category().message(error_number))});
}

}  // namespace dormouse
