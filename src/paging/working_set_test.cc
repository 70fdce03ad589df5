// SPDX-License-Identifier: Apache-2.0
#include "paging/working_set.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <thread>
#include <vector>

#include "base/clock.h"
#include "paging/disk.h"
#include "paging/page_store.h"

namespace dormouse::paging {
namespace {

// A mapped file of which nothing is in page cache.
class WorkingSetTest : public ::testing::Test {
 protected:
  static constexpr std::size_t kPages = 256;
  void SetUp() override {
    auto made = disk_.create_file(::testing::TempDir());
    ASSERT_TRUE(made);
    file_ = std::move(*made);
    const std::vector<std::byte> bytes(kPages * page_bytes(), std::byte{7});
    ASSERT_EQ(write_all(disk_, file_.get(), bytes, 0), 0);
    ASSERT_EQ(disk_.sync(file_.get()), 0);
    mapping_ = {static_cast<std::byte*>(::mmap(nullptr, bytes.size(), PROT_READ, MAP_PRIVATE, file_.get(), 0)), bytes.size()};
    drop();
  }
  void TearDown() override { ::munmap(mapping_.data(), mapping_.size()); }
  void drop() {
    ::madvise(mapping_.data(), mapping_.size(), MADV_DONTNEED);
    disk_.drop_cache(file_.get());
  }
  // By mincore(): a read that may not wait starts one that may.
  bool cached(std::size_t page) {
    unsigned char there = 0;
    return ::mincore(mapping_.data() + page * page_bytes(), 1, &there) == 0 && (there & 1) != 0;
  }
  void touch(std::size_t page) {
    const std::byte found = *const_cast<volatile std::byte*>(mapping_.data() + page * page_bytes());
    EXPECT_EQ(found, std::byte{7});
  }
  SystemDisk disk_;
  UniqueFd file_;
  std::span<std::byte> mapping_;
  std::unique_ptr<PageScan> scan_ = PageScan::create().value();
};

TEST_F(WorkingSetTest, WhatWasUsedComesBackAndNothingElse) {
  if (cached(0)) GTEST_SKIP() << "the folder for temporary files is in memory";
  WorkingSet set;
  touch(200);
  set.note(*scan_, mapping_);  // The start.
  drop();
  touch(3);
  touch(100);
  set.note(*scan_, mapping_);
  drop();
  ASSERT_FALSE(cached(3) || cached(100) || cached(200));
  set.read_ahead(mapping_);
  const SystemClock clock;
  const Nanoseconds until = clock.monotonic() + std::chrono::seconds(20);
  while (!(cached(3) && cached(100)) && clock.monotonic() < until) std::this_thread::yield();
  EXPECT_TRUE(cached(3) && cached(100));
  EXPECT_FALSE(cached(200));
}

TEST_F(WorkingSetTest, AMappingThatBecameSmallerIsNotReadBehindItsEnd) {
  WorkingSet set;
  set.note(*scan_, mapping_);
  touch(200);
  set.note(*scan_, mapping_);
  set.read_ahead(mapping_.first(page_bytes()));
}

}  // namespace
}  // namespace dormouse::paging
