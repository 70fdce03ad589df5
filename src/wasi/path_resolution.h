// SPDX-License-Identifier: Apache-2.0
#pragma once
// From a guest's path to what it names, starting at an open folder and never leaving it.
//
// ".." goes back along the folders walked through, so it cannot pass the start, whatever symbolic links and
// renames do meanwhile; absolute paths and absolute link targets are refused. The rules for paths are those of
// Linux: a trailing slash demands a folder, the last component's link is followed when asked for.
//
// Threads: any. A path is walked folder by folder, as kernels do: others may change the tree in between.

#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <string_view>

#include "wasi/abi.h"
#include "wasi/file_tree.h"

namespace dormouse::wasi {

inline constexpr std::size_t kPathBytesMax = 4096;        // PATH_MAX
inline constexpr unsigned kSymlinkExpansionsMax = 40;     // As Linux: MAXSYMLINKS
inline constexpr std::size_t kExpandedBytesMax = 16'384;  // Of a path with what its links stand for.

// An open folder that paths start at.
struct PathStart {
  std::shared_ptr<Directory> directory;
  bool read_only = false;  // It was reached through a mount that is.
};

struct Resolved {
  std::shared_ptr<Inode> inode;       // Null: the last component does not exist in `parent`.
  std::shared_ptr<Directory> parent;  // Null when the path ends in "." or "..", or leads into the network.
  std::string name;                   // The last component.
  bool read_only = false;             // Nothing may be changed here: neither `parent`'s entries nor `inode`.
  bool trailing_slash = false;
  bool network = false;               // `name` is a destination: "kube", "tcp/HOST:PORT", "listen/PORT", …
};

enum class LastLink : std::uint8_t {
  Follow,         // The path's last component is followed if it is a symbolic link.
  Keep,           // Only if a slash comes after it.
  KeepAlways,     // Never; a slash after it is NotDir. For what removes or renames names.
};

// Errors: NoEnt (also the empty path), NotDir, Loop, NameTooLong, NotCapable (leads outside, or absolute), IlSeq (not UTF-8), Inval (a NUL).
std::expected<Resolved, Errno> resolve(const PathStart& start, std::string_view path, LastLink last_link);

}  // namespace dormouse::wasi
