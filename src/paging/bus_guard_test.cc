// SPDX-License-Identifier: Apache-2.0
#include "paging/bus_guard.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <csignal>
#include <cstring>

#include "base/sanitizers.h"
#include "paging/paged_memory.h"
#include "paging/test_support.h"

namespace dormouse::paging {
namespace {

// Cuts the file short under its mapping, which is what a medium that fails looks like to whoever reads the memory.
class CuttingDisk final : public SystemDisk {
 public:
  int map(std::byte* at, std::size_t bytes, int fd, std::uint64_t offset, bool alone) override {
    last_fd = fd;
    return SystemDisk::map(at, bytes, fd, offset, alone);
  }
  int last_fd = -1;
};

// A sanitizer's own handler comes first, and ends the process its own way.
bool ended_by_bus_error(int status) {
  if (kSanitized) return status != 0;
  return ::testing::KilledBySignal(SIGBUS)(status);
}

int look(const std::byte* at) { return static_cast<int>(*static_cast<const volatile std::byte*>(at)); }

TEST(BusGuard, APageThatCannotBeReadLosesThatGuestAndNotTheProcess) {
  SystemClock clock;
  Log log({.level = Log::Level::Error}, clock);
  testing::Scratch folder;
  CuttingDisk disk;
  const auto store = PageStore::create({.directory = folder.path, .budget_bytes = 1 << 20, .allow_ram_file_system = true}, disk, log).value();
  const std::size_t bytes = 16 * page_bytes();
  auto* base = static_cast<std::byte*>(::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(base, MAP_FAILED);
  std::memset(base, 7, bytes);
  PagedMemory memory(*store);
  ASSERT_TRUE(memory.page_out({.stack = {base, page_bytes()}, .memory = {base + page_bytes(), bytes - page_bytes()}}));
  ASSERT_TRUE(memory.wake());
  ASSERT_EQ(disk.resize(disk.last_fd, 4 * page_bytes()), 0);
  BusGuard::install();
  int told = 0;
  {
    const BusGuard::Scope scope(&memory, [](void* context) { ++*static_cast<int*>(context); }, &told);
    EXPECT_EQ(look(base + 3 * page_bytes()), 7);
    EXPECT_FALSE(memory.lost());
    EXPECT_EQ(look(base + 12 * page_bytes()), 0);
  }
  EXPECT_TRUE(memory.lost());
  EXPECT_EQ(told, 1);
  ::munmap(base, bytes);
}

TEST(BusGuardDeathTest, AnyOtherBusErrorEndsTheProcessAsEver) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        BusGuard::install();
        ::raise(SIGBUS);
        ::raise(SIGBUS);
      },
      ended_by_bus_error, "");
}

}  // namespace
}  // namespace dormouse::paging
