// SPDX-License-Identifier: Apache-2.0
// Lists a folder through random buffers while entries come and go: who is there all the time is seen exactly once.

#include <map>
#include <set>

#include "wasi/test_guest.h"

using namespace dormouse;
using namespace dormouse::wasi;
using dormouse::wasi::test::TestGuest;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  TestGuest guest({.limit_bytes = 1 << 20, .memory_bytes = 64 * 1024, .network = false});
  auto folder = *make_directories(guest.root, "folder");
  const Fd fd = guest.open_folder("folder");
  std::set<std::string> there, stayed;
  for (int i = 0; i < 12; ++i) {
    const std::string name(1 + i * 3, static_cast<char>('a' + i));
    CHECK(folder->create_file(name));
    there.insert(name);
  }
  stayed = there;
  std::map<std::string, int> seen;
  std::uint64_t cookie = 0;
  for (std::size_t i = 0; i < size; ++i) {
    const std::string name(1 + data[i] / 4 % 40, static_cast<char>('a' + data[i] / 4 % 26));
    if (data[i] % 4 == 0 && folder->unlink(name) == Errno::Success) {
      there.erase(name);
      stayed.erase(name);
    }
    if (data[i] % 4 == 1 && folder->create_file(name)) there.insert(name);
    if (data[i] % 4 < 2) continue;
    guest.forget();
    const std::uint32_t length = 64 + data[i], buffer = guest.take(length), used_at = guest.take(4);
    CHECK(guest.call("fd_readdir", fd, buffer, length, cookie, used_at) == Errno::Success);
    const std::uint32_t used = guest.load<std::uint32_t>(used_at);
    CHECK(used <= length);
    for (std::uint32_t at = 0; used - at >= sizeof(Dirent);) {
      const Dirent entry = guest.load<Dirent>(buffer + at);
      if (used - at - sizeof(Dirent) < entry.name_length) break;
      CHECK(entry.padding[0] == 0 && entry.padding[1] == 0 && entry.padding[2] == 0 && entry.next > cookie);
      ++seen[guest.text_at(buffer + at + sizeof(Dirent), entry.name_length)];
      cookie = entry.next;
      at += sizeof(Dirent) + entry.name_length;
    }
    if (used == length) continue;
    for (const std::string& name_there : stayed) CHECK(seen[name_there] == 1);
    CHECK(seen["."] == 1 && seen[".."] == 1);
    seen.clear();
    stayed = there;
    cookie = 0;
  }
  return 0;
}
