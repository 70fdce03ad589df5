// SPDX-License-Identifier: Apache-2.0
// Random paths and link targets from a folder that none may leave.

#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/utf8.h"
#include "wasi/path_resolution.h"
#include "wasi/tree_builder.h"

using namespace dormouse;
using namespace dormouse::wasi;

namespace {

bool lies_below(const Inode& inode, Directory& directory) {
  if (&inode == &directory) return true;
  bool found = false;
  directory.list(0, [&](const Directory::Listed& listed) {
    found = found || listed.inode == inode.number();
    return true;
  });
  if (found) return true;
  for (const char* name : {"a", "b"}) {
    const auto child = directory.lookup(name).inode;
    if (Directory* below = as_directory(child.get()); below != nullptr && lies_below(inode, *below)) return true;
  }
  return false;
}

}  // namespace

// Lines: first the targets of links l0, l1, … in a/ and a/b/ in turn, the last line is the path.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static ManualClock clock;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  auto root = Volume::create({.clock = clock})->make_root();
  CHECK(make_directories(root, "outside/a"));
  CHECK(put_file(root, "secret", "x"));
  auto start = *make_directories(root, "jail");
  CHECK(make_directories(start, "a/b"));
  CHECK(put_file(start, "a/b/f", "x"));
  (*make_directories(start, "n"))->become_network();
  int links = 0;
  for (std::size_t end; (end = text.find('\n')) != text.npos && links < 16; ++links) {
    const std::string_view target = text.substr(0, end).substr(0, kPathBytesMax);
    (void)put_symlink(start, (links % 2 == 0 ? "a/l" : "a/b/l") + std::to_string(links), target);
    text.remove_prefix(end + 1);
  }
  for (const LastLink last_link : {LastLink::Follow, LastLink::Keep, LastLink::KeepAlways}) {
    const auto resolved = resolve({start}, text, last_link);
    if (!resolved) continue;
    CHECK(!resolved->network || resolved->inode == nullptr);
    if (resolved->inode != nullptr) CHECK(lies_below(*resolved->inode, *start));
    if (resolved->parent != nullptr) {
      CHECK(lies_below(*resolved->parent, *start));
      CHECK(resolved->name != ".." && resolved->name != "." && !resolved->name.empty() && resolved->name.find('/') == std::string::npos);
      CHECK(is_utf8(resolved->name));
    }
  }
  return 0;
}
