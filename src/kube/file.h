// SPDX-License-Identifier: Apache-2.0
#pragma once
// Reads small files whole: certificates, tokens, configurations.
//
// Threads: any.

#include <cstddef>
#include <string>

#include "base/result.h"

namespace dormouse::kube {

inline constexpr std::size_t kSmallFileBytesMax = 1024 * 1024;

// Errors: as open(2) and read(2) have them; InvalidArgument if it is not a regular file (or a pipe, with `pipe_allowed`, which
// may block) or too large.
Result<std::string> read_small_file(const std::string& path, bool pipe_allowed = false);

}  // namespace dormouse::kube
