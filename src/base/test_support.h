// SPDX-License-Identifier: Apache-2.0
#pragma once
// For tests only.

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <system_error>

#include "base/types.h"

namespace dormouse::testing {

// A folder of its own, which goes with it and all that is in it.
class Scratch : Immovable {
 public:
  Scratch() {
    std::string name = std::filesystem::temp_directory_path() / "dormouse-test-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path = name;
  }
  ~Scratch() { std::filesystem::remove_all(path); }
  std::string file(const std::string& name, std::string_view bytes) const {
    std::ofstream(path / name, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return path / name;
  }
  std::filesystem::path path;
};

// Descriptors of this process, but for those of /proc: a sanitizer's thread looks there now and then.
inline long open_files() {
  long count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    const std::string of = std::filesystem::read_symlink(entry, gone);
    if (!gone && !of.starts_with("/proc/")) ++count;
  }
  return count;
}

}  // namespace dormouse::testing
