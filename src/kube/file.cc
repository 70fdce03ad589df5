// SPDX-License-Identifier: Apache-2.0
#include "kube/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/types.h"

namespace dormouse::kube {

Result<std::string> read_small_file(const std::string& path, bool pipe_allowed) {
  // O_NONBLOCK: opening a pipe that nobody writes to must not hang; it has no effect on regular files.
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | (pipe_allowed ? 0 : O_NONBLOCK)));
  if (!fd) return fail_errno(errno, fmt::format("open {}", path));
  struct stat about {};
  if (::fstat(fd.get(), &about) != 0) return fail_errno(errno, fmt::format("stat {}", path));
  if (!S_ISREG(about.st_mode) && !(pipe_allowed && S_ISFIFO(about.st_mode))) {
    return fail(ErrorCode::InvalidArgument, "{} is not a regular file", path);
  }
  std::string text;
  char buffer[16 * 1024];
  while (true) {
    const ssize_t got = ::read(fd.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(errno, fmt::format("read {}", path));
    if (got == 0) return text;
    text.append(buffer, static_cast<std::size_t>(got));
    if (text.size() > kSmallFileBytesMax) return fail(ErrorCode::InvalidArgument, "{} is larger than {} bytes", path, kSmallFileBytesMax);
  }
}

}  // namespace dormouse::kube
