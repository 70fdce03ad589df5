// SPDX-License-Identifier: Apache-2.0
#include "paging/paged_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cstring>
#include <fstream>
#include <map>
#include <vector>

#include "base/sanitizers.h"
#include "paging/test_support.h"

namespace dormouse::paging {
namespace {

using ::testing::HasSubstr;
using testing::FaultyDisk;
using Operation = FaultyDisk::Operation;

constexpr std::size_t kStackPages = 8, kMemoryPagesMax = 4096;
constexpr std::size_t kAroundBytes = PagedMemory::kTablesReachBytes;
const std::size_t kReservedPages = kMemoryPagesMax + 2 * kAroundBytes / page_bytes();

// A stack and a memory as an engine would map them, and what they should hold.
class Guest {
 public:
  Guest(PageStore& store, std::size_t pages, std::size_t image_pages) : pages_(pages), image_pages_(image_pages) {
    stack_ = map(kStackPages, PROT_READ | PROT_WRITE);
    memory_ = map(kReservedPages, PROT_NONE) + kAroundBytes;
    EXPECT_EQ(::mprotect(memory_, pages * page_bytes(), PROT_READ | PROT_WRITE), 0);
    // The image: a private mapping of a file, whose pages are nobody's own until they are written to.
    const int file = ::memfd_create("image", MFD_CLOEXEC);
    for (std::size_t i = 0; i < image_pages; ++i) {
      const std::vector<std::uint64_t> page(page_bytes() / 8, 0x1111'0000 + i);
      EXPECT_EQ(::pwrite(file, page.data(), page_bytes(), static_cast<off_t>(i * page_bytes())), static_cast<ssize_t>(page_bytes()));
      expected_[kStackPages + i] = 0x1111'0000 + i;
    }
    if (image_pages > 0) {
      EXPECT_NE(::mmap(memory_, image_pages * page_bytes(), PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE, file, 0), MAP_FAILED);
    }
    ::close(file);
    paged = std::make_unique<PagedMemory>(store);
  }
  ~Guest() {
    ::munmap(stack_, kStackPages * page_bytes());
    ::munmap(memory_ - kAroundBytes, kReservedPages * page_bytes());
  }
  // Numbered as in the file: the stack's pages first.
  void write(std::size_t page, std::uint64_t value) {
    auto* words = reinterpret_cast<std::uint64_t*>(at(page));
    std::fill(words, words + page_bytes() / 8, value);
    expected_[page] = value;
  }
  void grow(std::size_t pages) {
    EXPECT_EQ(::mprotect(memory_ + pages_ * page_bytes(), pages * page_bytes(), PROT_READ | PROT_WRITE), 0);
    pages_ += pages;
  }
  // The first page that holds what it should not, or -1.
  int wrong() {
    for (std::size_t page = 0; page < size(); ++page) {
      const auto* words = reinterpret_cast<const std::uint64_t*>(at(page));
      for (std::size_t i = 0; i < page_bytes() / 8; ++i) {
        if (words[i] != expected_[page]) return static_cast<int>(page);
      }
    }
    return -1;
  }
  Result<PagedMemory::Freed> page_out(std::size_t unused_pages = 0, bool idled = false) {
    // A part of what the tests call the stack is what lies beside it.
    constexpr std::size_t kBeside = 3;
    const std::span<std::byte> head(stack_, kStackPages * page_bytes());
    return paged->page_out({.stack = head.first((kStackPages - kBeside) * page_bytes()), .unused_bytes = unused_pages * page_bytes(), .beside = head.last(kBeside * page_bytes()), .memory = {memory_, pages_ * page_bytes()}, .image_bytes = image_pages_ * page_bytes(), .around_bytes = kAroundBytes}, idled);
  }
  // Whether the kernel reads nothing around a page of the memory that it reads from the medium.
  bool memory_is_read_by_the_page() const {
    std::ifstream maps("/proc/self/smaps");
    bool inside = false;
    for (std::string line; std::getline(maps, line);) {
      if (line.find('-') == line.find_first_not_of("0123456789abcdef")) inside = std::stoull(line, nullptr, 16) == address(memory_);
      if (inside && line.starts_with("VmFlags:")) return line.find(" rr") != std::string::npos;
    }
    return false;
  }
  // Of the stack and what lies beside it.
  std::size_t copied_pages() const {
    PageRuns runs;
    EXPECT_TRUE(PageScan::create().value()->scan({stack_, kStackPages * page_bytes()}, PageScan::Kind::Private, 0, runs));
    return page_count(runs);
  }
  std::size_t size() const { return kStackPages + pages_; }
  std::size_t not_zero() const {
    return static_cast<std::size_t>(std::ranges::count_if(expected_, [](const auto& entry) { return entry.second != 0; }));
  }
  std::size_t resident_pages() const {
    const auto scan = PageScan::create().value();
    PageRuns runs;
    EXPECT_TRUE(scan->scan({stack_, kStackPages * page_bytes()}, PageScan::Kind::Present, 0, runs));
    EXPECT_TRUE(scan->scan({memory_, pages_ * page_bytes()}, PageScan::Kind::Present, kStackPages, runs));
    return page_count(runs);
  }
  // How many mappings its two ranges are in.
  int mappings() const {
    std::ifstream maps("/proc/self/maps");
    int found = 0;
    for (std::string line; std::getline(maps, line);) {
      const auto begin = std::stoull(line, nullptr, 16);
      found += (begin >= address(stack_) && begin < address(stack_) + kStackPages * page_bytes()) || (begin >= address(memory_) && begin < address(memory_) + kMemoryPagesMax * page_bytes());
    }
    return found;
  }

  std::unique_ptr<PagedMemory> paged;

 private:
  static std::byte* map(std::size_t pages, int protection) {
    void* at = ::mmap(nullptr, pages * page_bytes(), protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    EXPECT_NE(at, MAP_FAILED);
    return static_cast<std::byte*>(at);
  }
  static std::uint64_t address(const std::byte* at) { return reinterpret_cast<std::uint64_t>(at); }
  std::byte* at(std::size_t page) { return page < kStackPages ? stack_ + page * page_bytes() : memory_ + (page - kStackPages) * page_bytes(); }

  std::byte *stack_, *memory_;
  std::size_t pages_;
  const std::size_t image_pages_;
  std::map<std::size_t, std::uint64_t> expected_;
};

struct Variant {
  const char* name;
  bool encrypted, drop_page_cache, use_pagemap_scan;
};

class PagedMemoryTest : public ::testing::TestWithParam<Variant> {
 protected:
  std::unique_ptr<PageStore> make_store(std::uint64_t budget_bytes = std::uint64_t{64} << 20) {
    return PageStore::create({.directory = folder_.path,
                              .budget_bytes = budget_bytes,
                              .encrypted = GetParam().encrypted,
                              .drop_page_cache = GetParam().drop_page_cache,
                              .allow_ram_file_system = true,
                              .use_pagemap_scan = GetParam().use_pagemap_scan},
                             disk_, log_)
        .value();
  }
  SystemClock clock_;
  Log log_{{.level = Log::Level::Error}, clock_};
  testing::Scratch folder_;
  FaultyDisk disk_;
};

INSTANTIATE_TEST_SUITE_P(Kinds, PagedMemoryTest,
                         ::testing::Values(Variant{"plain", false, false, true}, Variant{"cold", false, true, true}, Variant{"encrypted", true, false, true},
                                           Variant{"older_kernel", false, false, false}),
                         [](const auto& variant) { return variant.param.name; });

TEST_P(PagedMemoryTest, KeepsImageStackAndWhatWasWrittenAndLeavesRam) {
  const auto store = make_store();
  Guest guest(*store, 100, 40);
  for (const std::size_t page : {0UL, 7UL, 8UL + 3, 8UL + 39, 8UL + 60}) guest.write(page, 77 + page);
  const auto freed = guest.page_out();
  ASSERT_TRUE(freed) << freed.error().message;
  EXPECT_EQ(guest.paged->state(), PagedMemory::State::PagedOut);
  EXPECT_EQ(guest.resident_pages(), 0U);
  EXPECT_EQ(guest.mappings(), 3);  // Stack, memory, and what it may grow into.
  EXPECT_EQ(guest.paged->stored_bytes(), guest.not_zero() * page_bytes());
  ASSERT_TRUE(guest.paged->wake());
  EXPECT_EQ(guest.wrong(), -1);
}

TEST_P(PagedMemoryTest, WritesOnlyWhatChangedTheSecondTime) {
  const auto store = make_store();
  Guest guest(*store, 100, 40);
  for (std::size_t page = 0; page < guest.size(); ++page) guest.write(page, page + 1);
  ASSERT_TRUE(guest.page_out());
  ASSERT_TRUE(guest.paged->wake());
  guest.write(20, 1234);
  guest.write(21, 1235);
  const auto freed = guest.page_out();
  ASSERT_TRUE(freed);
  EXPECT_EQ(freed->written_bytes, (GetParam().encrypted ? guest.size() : 2) * page_bytes());
  ASSERT_TRUE(guest.paged->wake());
  EXPECT_EQ(guest.wrong(), -1);
}

TEST_P(PagedMemoryTest, PagesThatBecameZerosGiveTheirPlaceBack) {
  const auto store = make_store();
  Guest guest(*store, 100, 0);
  for (std::size_t page = 8; page < 58; ++page) guest.write(page, 5);
  ASSERT_TRUE(guest.page_out());
  EXPECT_EQ(store->counters().stored_bytes, 50 * page_bytes());
  ASSERT_TRUE(guest.paged->wake());
  for (std::size_t page = 8; page < 38; ++page) guest.write(page, 0);
  ASSERT_TRUE(guest.page_out());
  EXPECT_EQ(store->counters().stored_bytes, 20 * page_bytes());
  ASSERT_TRUE(guest.paged->wake());
  EXPECT_EQ(guest.wrong(), -1);
}

TEST_P(PagedMemoryTest, WritesZerosWhereAFileCannotHaveHoles) {
  const auto store = make_store();
  Guest guest(*store, 20, 0);
  guest.write(9, 5);
  ASSERT_TRUE(guest.page_out());
  ASSERT_TRUE(guest.paged->wake());
  guest.write(9, 0);
  disk_.fail_next(Operation::Punch, EOPNOTSUPP);
  ASSERT_TRUE(guest.page_out());
  EXPECT_EQ(store->counters().stored_bytes, page_bytes());
  ASSERT_TRUE(guest.paged->wake());
  EXPECT_EQ(guest.wrong(), -1);
}

TEST_P(PagedMemoryTest, MemoryThatHasGrownGoesWithTheRest) {
  const auto store = make_store();
  Guest guest(*store, 50, 10);
  ASSERT_TRUE(guest.page_out());
  ASSERT_TRUE(guest.paged->wake());
  guest.grow(30);
  guest.write(8 + 50, 9);
  guest.write(8 + 79, 10);
  EXPECT_EQ(guest.wrong(), -1);
  ASSERT_TRUE(guest.page_out());
  EXPECT_EQ(guest.mappings(), 3);
  EXPECT_EQ(guest.resident_pages(), 0U);
  ASSERT_TRUE(guest.paged->wake());
  EXPECT_EQ(guest.wrong(), -1);
}

TEST_P(PagedMemoryTest, AGuestThatDoesNotFitTheBudgetStaysAndIsUnharmed) {
  const auto store = make_store(30 * page_bytes());
  Guest first(*store, 50, 0), second(*store, 50, 0);
  for (std::size_t page = 8; page < 28; ++page) {
    first.write(page, page);
    second.write(page, page);
  }
  ASSERT_TRUE(first.page_out());
  const auto refused = second.page_out();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::ResourceExhausted);
  EXPECT_THAT(refused.error().message, HasSubstr("--page-budget"));
  EXPECT_EQ(second.paged->state(), PagedMemory::State::Resident);
  EXPECT_EQ(second.wrong(), -1);
  EXPECT_EQ(store->counters().page_outs_refused, 1U);
  EXPECT_EQ(store->counters().stored_bytes, 20 * page_bytes());
  first.paged.reset();
  EXPECT_TRUE(second.page_out());
}

TEST_P(PagedMemoryTest, EachFailureLeavesTheGuestInRamAndTheNextTrySucceeds) {
  const auto store = make_store();
  for (const bool first_time : {true, false}) {
    for (const auto operation : {Operation::Create, Operation::Write, Operation::Resize, Operation::Sync, Operation::Map}) {
      if (operation == Operation::Sync && !GetParam().drop_page_cache) continue;
      if (operation == Operation::Create && !first_time) continue;
      for (const unsigned skip : {0U, 1U}) {
        if (skip > 0 && operation != Operation::Write && operation != Operation::Map) continue;
        SCOPED_TRACE(fmt::format("operation {} after {}, {} time", int(operation), skip, first_time ? "first" : "second"));
        Guest guest(*store, 60, 20);
        for (const std::size_t page : {1UL, 3UL, 10UL, 40UL, 50UL}) guest.write(page, page + 7);
        if (!first_time) {
          ASSERT_TRUE(guest.page_out());
          ASSERT_TRUE(guest.paged->wake());
          guest.grow(5);
          for (const std::size_t page : {3UL, 12UL, 50UL, 70UL}) guest.write(page, page + 9);
          guest.write(40, 0);
        }
        disk_.fail_next(operation, ENOSPC, 1, skip);
        ASSERT_FALSE(guest.page_out());
        EXPECT_EQ(guest.paged->state(), PagedMemory::State::Resident);
        EXPECT_FALSE(guest.paged->lost());
        EXPECT_EQ(guest.wrong(), -1);
        guest.write(10, 0);
        guest.write(12, 4711);
        const auto freed = guest.page_out();
        ASSERT_TRUE(freed) << freed.error().message;
        EXPECT_EQ(guest.paged->stored_bytes(), guest.not_zero() * page_bytes());
        ASSERT_TRUE(guest.paged->wake());
        EXPECT_EQ(guest.wrong(), -1);
      }
    }
  }
  EXPECT_EQ(store->counters().stored_bytes, 0U);
  EXPECT_EQ(store->counters().files, 0U);
  EXPECT_GT(store->counters().page_outs_failed, 5U);
}

TEST_P(PagedMemoryTest, WithoutRoomForAMappingAroundItOnlyThePageTablesStay) {
  const auto store = make_store();
  Guest guest(*store, 60, 20);
  guest.write(12, 4711);
  disk_.fail_next(Operation::Reserve, ENOMEM);
  ASSERT_TRUE(guest.page_out());
  EXPECT_EQ(disk_.faults(), 1U);
  EXPECT_EQ(guest.resident_pages(), 0U);
  ASSERT_TRUE(guest.paged->wake());
  EXPECT_EQ(guest.wrong(), -1);
}

TEST_P(PagedMemoryTest, AGuestThatCanBeNeitherMappedNorReadBackIsLostAndNothingElse) {
  const auto store = make_store();
  Guest guest(*store, 60, 20);
  guest.write(12, 4711);
  disk_.fail_next(Operation::Map, ENOMEM);
  disk_.unreadable = true;
  EXPECT_FALSE(guest.page_out());
  EXPECT_TRUE(guest.paged->lost());
}

TEST_P(PagedMemoryTest, PageTablesGoToo) {
  if (kThreadSanitizer) GTEST_SKIP() << "its shadow memory takes page tables for whatever is written or read";
  const auto store = make_store();
  const auto tables_kib = [] {
    std::ifstream status("/proc/self/status");
    for (std::string word; status >> word;) {
      if (word == "VmPTE:" && status >> word) return std::stol(word);
    }
    return 0L;
  };
  constexpr long kGuests = 16;
  std::vector<std::unique_ptr<Guest>> guests;
  for (long i = 0; i < kGuests; ++i) {
    guests.push_back(std::make_unique<Guest>(*store, 60, 20));
    guests.back()->write(20, 1);
  }
  const long before = tables_kib();
  for (const auto& guest : guests) ASSERT_TRUE(guest->page_out());
  // Two pages each, of neighbours too.
  EXPECT_GE(before - tables_kib(), kGuests * 8 - 16);
}

TEST_P(PagedMemoryTest, ShortWritesAreGoneOnWith) {
  const auto store = make_store();
  disk_.shorten_writes(1000);
  Guest guest(*store, 60, 20);
  for (std::size_t page = 0; page < 68; page += 3) guest.write(page, page + 1);
  ASSERT_TRUE(guest.page_out());
  ASSERT_TRUE(guest.paged->wake());
  EXPECT_EQ(guest.wrong(), -1);
}

TEST_P(PagedMemoryTest, NothingIsForgottenInManyCyclesWhateverTheDiskDoes) {
  const char* wanted = std::getenv("DORMOUSE_PAGE_OUT_CYCLES");
  const std::uint64_t cycles = wanted != nullptr ? std::strtoull(wanted, nullptr, 10) : GetParam().drop_page_cache ? 300 : 3000;  // The disk is slow.
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937_64 random(seed);
  disk_.reads_fail = false;
  const auto store = make_store(40 * page_bytes());
  disk_.fail_sometimes(0.03, seed);
  std::uint64_t done = 0, failed = 0;
  for (std::uint64_t cycle = 0; cycle < cycles;) {
    Guest guest(*store, 1 + random() % 30, 0);
    for (std::uint64_t i = random() % 300; i > 0; --i, ++cycle) {
      for (std::uint64_t writes = random() % 6; writes > 0; --writes) guest.write(random() % guest.size(), random() % 3 == 0 ? 0 : random());
      if (random() % 20 == 0 && guest.size() < 100) guest.grow(1 + random() % 10);
      if (guest.page_out()) {
        ++done;
        ASSERT_TRUE(guest.paged->wake());
        if (random() % 4 == 0) continue;  // Out again with nothing touched but what is written.
      } else {
        ++failed;
      }
      ASSERT_EQ(guest.wrong(), -1) << "cycle " << cycle;
      ASSERT_LE(store->counters().stored_bytes, store->options().budget_bytes);
    }
  }
  EXPECT_GT(done, cycles / 4);
  EXPECT_GT(failed, cycles / 100);
  EXPECT_EQ(store->counters().stored_bytes, 0U);
}

TEST_P(PagedMemoryTest, WhatNobodyUsesOfTheStackIsNotKept) {
  const auto store = make_store();
  Guest guest(*store, 4, 0);
  for (std::size_t page = 0; page < kStackPages; ++page) guest.write(page, page + 1);
  ASSERT_TRUE(guest.page_out(3));
  EXPECT_EQ(guest.paged->stored_bytes(), (kStackPages - 3) * page_bytes());
  ASSERT_TRUE(guest.paged->wake());
  for (std::size_t page = 0; page < 3; ++page) guest.write(page, page + 10);
  EXPECT_EQ(guest.wrong(), -1);
  // Used again, then no more.
  ASSERT_TRUE(guest.page_out(1));
  EXPECT_EQ(guest.paged->stored_bytes(), (kStackPages - 1) * page_bytes());
  ASSERT_TRUE(guest.paged->wake());
  guest.write(0, 20);
  EXPECT_EQ(guest.wrong(), -1);
  ASSERT_TRUE(guest.page_out(4));
  EXPECT_EQ(guest.paged->stored_bytes(), (kStackPages - 4) * page_bytes());
  ASSERT_TRUE(guest.paged->wake());
  for (std::size_t page = 0; page < 4; ++page) guest.write(page, page + 30);
  EXPECT_EQ(guest.wrong(), -1);
}

TEST_P(PagedMemoryTest, WhatWasCopiedForNothingIsNeitherWrittenNorCopiedAgain) {
  if (GetParam().encrypted) GTEST_SKIP() << "comes back as a whole";
  const auto store = make_store();
  Guest guest(*store, 20, 0);
  const auto round = [&](std::vector<std::size_t> pages, std::uint64_t value, std::size_t unused_pages) {
    for (const std::size_t page : pages) guest.write(page, value);
    const auto freed = guest.page_out(unused_pages);
    EXPECT_TRUE(freed);
    EXPECT_TRUE(guest.paged->wake());
    return freed->written_bytes / page_bytes();
  };
  round({1, 2, 4, 6}, 1, 0);
  EXPECT_EQ(round({1, 2, 4, 6}, 2, 2), 3U);
  // Those that were changed last are there, but not what is below the stack pointer.
  EXPECT_EQ(guest.copied_pages(), 3U);
  EXPECT_EQ(round({4}, 3, 2), 1U);
  EXPECT_EQ(guest.copied_pages(), 1U);
  EXPECT_EQ(round({}, 0, 2), 0U);
  EXPECT_EQ(guest.copied_pages(), 0U);
  for (const std::size_t page : {0UL, 1UL}) guest.write(page, 0);  // Of no matter to it any more.
  EXPECT_EQ(guest.wrong(), -1);
}

TEST_P(PagedMemoryTest, OfASmallColdFileEverythingIsReadAhead) {
  const auto store = make_store();
  Guest guest(*store, 100, 40);
  guest.write(7, 5);
  ASSERT_TRUE(guest.page_out());
  disk_.be_cold();
  int told = 0;
  ASSERT_TRUE(guest.paged->wake([&] { ++told; }));
  EXPECT_EQ(told, 1);
  EXPECT_EQ(store->counters().cold_wakes, 1U);
  EXPECT_EQ(disk_.read_ahead_bytes(), guest.not_zero() * page_bytes());
  EXPECT_EQ(guest.wrong(), -1);
}

TEST_P(PagedMemoryTest, OfALargeColdFileOnlyWhatTheLastWakeTouchedIs) {
  if (GetParam().encrypted) GTEST_SKIP() << "comes back as a whole";
  const auto store = make_store();
  Guest guest(*store, 2000, 0);
  for (std::size_t page = 0; page < guest.size(); ++page) guest.write(page, page + 1);
  ASSERT_TRUE(guest.page_out());
  ASSERT_TRUE(guest.paged->wake());
  for (const std::size_t page : {7UL, 100UL, 101UL, 1500UL}) guest.write(page, page + 3);
  ASSERT_TRUE(guest.page_out());
  disk_.be_cold();
  const std::uint64_t before = disk_.read_ahead_bytes();
  ASSERT_TRUE(guest.paged->wake());
  EXPECT_GE(disk_.read_ahead_bytes() - before, 4 * page_bytes());
  // The kernel maps the neighbours of a page that was touched, too: 64 KiB each time.
  EXPECT_LE(disk_.read_ahead_bytes() - before, 6 * 17 * page_bytes());
  EXPECT_EQ(guest.wrong(), -1);
}

TEST_P(PagedMemoryTest, WhoKnowsWhatWillBeTouchedReadsNothingAroundIt) {
  if (GetParam().encrypted) GTEST_SKIP() << "comes back as a whole";
  const auto store = make_store();
  Guest guest(*store, 100, 0);
  guest.write(20, 1);
  ASSERT_TRUE(guest.page_out());
  EXPECT_FALSE(guest.memory_is_read_by_the_page());
  ASSERT_TRUE(guest.paged->wake());
  guest.write(30, 1);
  ASSERT_TRUE(guest.page_out());
  EXPECT_TRUE(guest.memory_is_read_by_the_page());
}

TEST_P(PagedMemoryTest, AWakeUpThatDidNothingSaysNothingAboutTheNext) {
  if (GetParam().encrypted) GTEST_SKIP() << "comes back as a whole";
  const auto store = make_store();
  Guest guest(*store, 1000, 0);
  for (std::size_t page = 0; page < guest.size(); ++page) guest.write(page, page + 1);
  ASSERT_TRUE(guest.page_out());
  ASSERT_TRUE(guest.paged->wake());
  for (const std::size_t page : {2UL, 100UL, 700UL}) guest.write(page, page + 3);
  ASSERT_TRUE(guest.page_out());
  ASSERT_TRUE(guest.paged->wake());
  for (std::size_t page = kStackPages; page < guest.size(); ++page) guest.write(page, page + 5);
  ASSERT_TRUE(guest.page_out(0, true));
  disk_.be_cold();
  const std::uint64_t before = disk_.read_ahead_bytes();
  ASSERT_TRUE(guest.paged->wake());
  EXPECT_LE(disk_.read_ahead_bytes() - before, (kStackPages + 3 * 17) * page_bytes());
  EXPECT_EQ(guest.copied_pages(), 1U);
  EXPECT_EQ(guest.wrong(), -1);
}

TEST(PageStore, EncryptedFilesHoldNothingThatCouldBeRead) {
  // A disk that shows what was written.
  class Spy final : public SystemDisk {
   public:
    Count write(int fd, std::span<const std::byte> bytes, std::uint64_t offset) override {
      written.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      return SystemDisk::write(fd, bytes, offset);
    }
    std::string written;
  };
  SystemClock clock;
  Log log({.level = Log::Level::Error}, clock);
  testing::Scratch folder;
  const std::uint64_t secret = 0x7465'7263'6573'2121;
  const std::string_view text(reinterpret_cast<const char*>(&secret), sizeof secret);
  for (const bool encrypted : {false, true}) {
    Spy disk;
    const auto store = PageStore::create({.directory = folder.path, .budget_bytes = 1 << 20, .encrypted = encrypted, .allow_ram_file_system = true}, disk, log).value();
    Guest guest(*store, 20, 0);
    guest.write(3, secret);
    guest.write(12, secret);
    ASSERT_TRUE(guest.page_out());
    EXPECT_EQ(disk.written.find(text) != std::string::npos, !encrypted);
    // The same content in two pages is two different ciphertexts.
    EXPECT_EQ(disk.written.substr(0, page_bytes()) == disk.written.substr(page_bytes()), !encrypted);
  }
}

TEST(PageStore, AnEncryptedGuestThatCannotBeReadSaysSo) {
  SystemClock clock;
  Log log({.level = Log::Level::Error}, clock);
  testing::Scratch folder;
  FaultyDisk disk;
  const auto store = PageStore::create({.directory = folder.path, .budget_bytes = 1 << 20, .encrypted = true, .allow_ram_file_system = true}, disk, log).value();
  Guest guest(*store, 20, 0);
  guest.write(3, 1);
  ASSERT_TRUE(guest.page_out());
  disk.fail_next(Operation::Read, EIO);
  const auto back = guest.paged->wake();
  ASSERT_FALSE(back);
  EXPECT_THAT(back.error().message, HasSubstr("read a guest's page file"));
}

TEST(PageStore, RefusesADirectoryInRamAndOneThatIsNotThere) {
  SystemClock clock;
  Log log({.level = Log::Level::Error}, clock);
  SystemDisk disk;
  const auto in_ram = PageStore::create({.directory = "/dev/shm", .budget_bytes = 1}, disk, log);
  ASSERT_FALSE(in_ram);
  EXPECT_THAT(in_ram.error().message, HasSubstr("--page-directory"));
  const auto nowhere = PageStore::create({.directory = "/nonexistent", .budget_bytes = 1}, disk, log);
  ASSERT_FALSE(nowhere);
  EXPECT_EQ(nowhere.error().code, ErrorCode::NotFound);
}

TEST(PageStore, LeavesNoNameInItsDirectory) {
  SystemClock clock;
  Log log({.level = Log::Level::Error}, clock);
  testing::Scratch folder;
  SystemDisk disk;
  const auto store = PageStore::create({.directory = folder.path, .budget_bytes = 1 << 20, .allow_ram_file_system = true}, disk, log).value();
  Guest guest(*store, 20, 0);
  guest.write(3, 1);
  ASSERT_TRUE(guest.page_out());
  struct stat status{};
  ASSERT_EQ(::stat(folder.path.c_str(), &status), 0);
  EXPECT_EQ(::rmdir(folder.path.c_str()), 0);  // Empty though the file is in use.
  EXPECT_EQ(::mkdir(folder.path.c_str(), 0700), 0);
}

}  // namespace
}  // namespace dormouse::paging
