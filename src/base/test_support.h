// SPDX-License-Identifier: Apache-2.0
#pragma once
// For tests only.

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

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

// Of this process.
inline std::ptrdiff_t open_files() { return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {}); }
inline std::ptrdiff_t mappings() {
  std::ifstream maps("/proc/self/maps");
  return std::count(std::istreambuf_iterator<char>(maps), {}, '\n');
}

}  // namespace dormouse::testing
