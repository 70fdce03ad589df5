// SPDX-License-Identifier: Apache-2.0
#pragma once
// Trees for guests, built by the host from its own data or as a copy of one of its folders.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "wasi/file_tree.h"

namespace dormouse::wasi {

// The folder at `path` ("a/b/c" or "/a/b/c") below `root`, made with those on the way where they are missing. Mounts are entered.
// Errors: InvalidArgument (a name that is none; something else is there), ResourceExhausted.
Result<std::shared_ptr<Directory>> make_directories(const std::shared_ptr<Directory>& root, std::string_view path);

// A file with this content at `path`, in place of the one there. Errors: as above.
Result<void> put_file(const std::shared_ptr<Directory>& root, std::string_view path, std::string_view content);

// A symbolic link at `path`. Errors: as above.
Result<void> put_symlink(const std::shared_ptr<Directory>& root, std::string_view path, std::string_view target);

// Puts `mount` at `path`, over whatever is there. Errors: as above.
Result<void> put_mount(const std::shared_ptr<Directory>& root, std::string_view path, std::shared_ptr<Mount> mount);

struct CopyLimits {
  std::uint64_t bytes_max = std::uint64_t{1} << 30;
  std::uint64_t entries_max = 100'000;
  unsigned depth_max = 100;
};
// A copy of the host's folder `path` in `volume`: files, folders and symbolic links with their times. Links are copied, never
// followed; devices, sockets and pipes are left out. Blocking.
// Errors: of the host's system calls; ResourceExhausted (a limit, the volume's account); InvalidArgument (a name is not UTF-8).
Result<std::shared_ptr<Directory>> copy_host_folder(const std::string& path, Volume& volume, CopyLimits limits = {});

}  // namespace dormouse::wasi
