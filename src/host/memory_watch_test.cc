// SPDX-License-Identifier: Apache-2.0
#include "host/memory_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "host/test_support.h"

namespace dormouse::host {
namespace {

using testing::ReadableLog;
using ::testing::HasSubstr;

constexpr std::uint64_t kMb = 1'000'000;

// Twenty guests of 10 MB; those in `stay` do not go when asked.
class Fixture {
 public:
  explicit Fixture(std::uint64_t budget_bytes)
      : watch(loop, clock, *log,
              {.budget_bytes = budget_bytes,
               .used_bytes = [this] { return used_bytes(); },
               .sleepers = [this] { return sleepers(); },
               .compress_cache = [this](std::uint64_t bytes) {
                 const std::uint64_t freed = std::min(bytes, cache_bytes);
                 cache_bytes -= freed;
                 return freed;
               }}) {}

  Result<std::uint64_t> used_bytes() const {
    if (unreadable) return fail(ErrorCode::Unavailable, "memory.current: gone");
    return (20 - out.size()) * 10 * kMb + cache_bytes;
  }
  std::vector<MemoryWatch::Sleeper> sleepers() {
    ++lists;
    std::vector<MemoryWatch::Sleeper> all;
    for (std::uint64_t id = 0; id < 20; ++id) {
      all.push_back({.guest = {.id = id, .parked = !out.contains(id), .resident_bytes = 10 * kMb, .parked_since = Nanoseconds(1), .expected_wake = clock.monotonic() + std::chrono::seconds(id)},
                     .page_out = [this, id] {
                       if (!stay.contains(id)) out.insert(id);
                     }});
    }
    return all;
  }

  boost::asio::io_context loop;
  ManualClock clock;
  ReadableLog log;
  std::set<std::uint64_t> out, stay;
  std::uint64_t cache_bytes = 0;  // That compressing can free.
  bool unreadable = false;
  int lists = 0;
  MemoryWatch watch;
};

TEST(MemoryWatch, WithinTheBudgetItDoesNotEvenListTheGuests) {
  Fixture host(300 * kMb);
  host.watch.look();
  EXPECT_EQ(host.lists, 0);
  EXPECT_EQ(host.watch.counters().used_bytes, 200 * kMb);
}

TEST(MemoryWatch, BringsTheHostUnderItsBudgetAndThenWaitsForNothing) {
  Fixture host(100 * kMb);
  host.watch.note_park();
  host.loop.run();  // Ends by itself: no timer is left when memory is no longer short.
  EXPECT_LE(*host.used_bytes(), 90 * kMb);
  EXPECT_GE(*host.used_bytes(), 80 * kMb);
  EXPECT_EQ(host.watch.counters().asked, host.out.size());
  EXPECT_TRUE(host.out.contains(19) && !host.out.contains(0));  // Who will be woken last went first.
}

TEST(MemoryWatch, CachedObjectsAreCompressedAlsoWhenNobodyCanLeave) {
  Fixture host(300 * kMb);
  host.cache_bytes = 150 * kMb;
  for (std::uint64_t id = 0; id < 20; ++id) host.stay.insert(id);
  for (int i = 0; i < 1000 && *host.used_bytes() > 300 * kMb; ++i) {
    host.clock.advance(MemoryWatch::kNear);
    host.watch.look();
  }
  EXPECT_LE(*host.used_bytes(), 300 * kMb);
  const std::uint64_t left = host.cache_bytes;
  EXPECT_GT(left, 0U);
  host.watch.look();
  EXPECT_EQ(host.cache_bytes, left);  // Not more than it takes.
  EXPECT_EQ(host.watch.counters().compressed_bytes, 150 * kMb - host.cache_bytes);
  EXPECT_FALSE(host.log.text().contains("no guest can leave RAM"));
}

TEST(MemoryWatch, WhoWantsToStartIsToldToWaitAndOthersAreAskedToLeave) {
  Fixture host(100 * kMb);
  EXPECT_TRUE(host.watch.short_of_memory());
  EXPECT_FALSE(host.out.empty());
  EXPECT_FALSE(host.watch.short_of_memory());
  EXPECT_FALSE(Fixture(300 * kMb).watch.short_of_memory());
}

TEST(MemoryWatch, OneLookIsDueHoweverManyPark) {
  Fixture host(300 * kMb);
  for (int i = 0; i < 1000; ++i) host.watch.note_park();
  EXPECT_LE(host.loop.run(), 4U);
}

TEST(MemoryWatch, TellsOnceThatNobodyCanGo) {
  Fixture host(100 * kMb);
  for (std::uint64_t id = 0; id < 20; ++id) host.stay.insert(id);
  for (int i = 0; i < 20; ++i) {
    host.clock.advance(std::chrono::seconds(1));
    host.watch.look();
  }
  const std::string text = host.log.text();
  const auto first = text.find("no guest can leave RAM");
  ASSERT_NE(first, std::string::npos) << text;
  EXPECT_EQ(text.find("no guest can leave RAM", first + 1), std::string::npos) << text;
}

TEST(MemoryWatch, TellsOnceThatItCannotReadAndGoesOnWhenItCan) {
  Fixture host(100 * kMb);
  host.unreadable = true;
  host.watch.look();
  host.watch.look();
  EXPECT_THAT(host.log.text(), HasSubstr("the budget is not kept"));
  host.unreadable = false;
  host.watch.look();
  EXPECT_GT(host.out.size(), 5U);
}

TEST(MemoryBudget, IsAQuantityOrNoneOrWhatFits) {
  const HostMemory memory = HostMemory::look({.proc = "/nonexistent", .cgroup = "/nonexistent"});
  EXPECT_EQ(memory_budget("512Mi", memory), 512U << 20);
  EXPECT_EQ(memory_budget("none", memory), 0U);
  EXPECT_EQ(memory_budget("", memory), 0U);  // A machine that tells nothing.
  for (const char* text : {"much", "-1", "1Mi", "0"}) EXPECT_FALSE(memory_budget(text, memory)) << text;
  EXPECT_THAT(memory_budget("much", memory).error().message, HasSubstr("\"none\""));
  const HostMemory real = HostMemory::look();
  EXPECT_GT(*memory_budget("", real), 0U);
  EXPECT_THAT(memory_budget("100Ti", real).error().message, HasSubstr("more than there is"));
}

}  // namespace
}  // namespace dormouse::host
