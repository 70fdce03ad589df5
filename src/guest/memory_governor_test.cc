// SPDX-License-Identifier: Apache-2.0
#include "guest/memory_governor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace dormouse::guest {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr Nanoseconds kNow = std::chrono::hours(1);
constexpr std::uint64_t kMb = 1'000'000;

MemoryGovernor::Guest waiting(std::uint64_t id, std::uint64_t mb, Nanoseconds expected_in) {
  return {.id = id, .parked = true, .resident_bytes = mb * kMb, .parked_since = seconds(1), .expected_wake = kNow + expected_in};
}

TEST(MemoryGovernor, AsksNobodyWithinTheBudget) {
  MemoryGovernor governor(100 * kMb);
  const auto guests = std::vector{waiting(1, 50, seconds(60))};
  EXPECT_THAT(governor.decide({.now = kNow, .used_bytes = 94 * kMb}, guests).leave, IsEmpty());
  EXPECT_FALSE(governor.concerned({.now = kNow, .used_bytes = 94 * kMb}));
}

TEST(MemoryGovernor, WhoFreesMostForEachWakeUpLeavesFirst) {
  MemoryGovernor governor(100 * kMb);
  const auto guests = std::vector{waiting(1, 10, seconds(5)), waiting(2, 1, seconds(600)), waiting(3, 10, seconds(30)), waiting(4, 20, seconds(1))};
  // 100 - 90 = 10 MB are needed; 2 frees 600 MB s for a wake-up, 3 frees 300.
  EXPECT_THAT(governor.decide({.now = kNow, .used_bytes = 100 * kMb}, guests).leave, ElementsAre(1, 2));
}

TEST(MemoryGovernor, LeavesAloneWhoRunsOrIsOutOrMayNot) {
  MemoryGovernor governor(100 * kMb);
  auto guests = std::vector{waiting(1, 10, seconds(5)), waiting(2, 10, seconds(5)), waiting(3, 0, seconds(5))};
  guests[0].parked = false;
  guests[1].may_page_out = false;
  const auto decision = governor.decide({.now = kNow, .used_bytes = 120 * kMb}, guests);
  EXPECT_THAT(decision.leave, IsEmpty());
  EXPECT_EQ(decision.short_bytes, 20 * kMb);
}

TEST(MemoryGovernor, CountsThoseThatAreOnTheirWay) {
  MemoryGovernor governor(100 * kMb);
  const auto guests = std::vector{waiting(1, 20, seconds(60)), waiting(2, 20, seconds(30))};
  EXPECT_THAT(governor.decide({.now = kNow, .used_bytes = 100 * kMb}, guests).leave, ElementsAre(0));
  EXPECT_THAT(governor.decide({.now = kNow + milliseconds(100), .used_bytes = 100 * kMb}, guests).leave, IsEmpty());
}

TEST(MemoryGovernor, WhoDoesNotGoIsLetAloneForAWhileAndAnotherIsAsked) {
  MemoryGovernor governor(100 * kMb);
  const auto guests = std::vector{waiting(1, 20, seconds(60)), waiting(2, 20, seconds(30))};
  const auto ask = [&](Nanoseconds later) { return governor.decide({.now = kNow + later, .used_bytes = 100 * kMb}, guests).leave; };
  EXPECT_THAT(ask({}), ElementsAre(0));
  EXPECT_THAT(ask(MemoryGovernor::kLeaveTime), ElementsAre(1));
  EXPECT_THAT(ask(2 * MemoryGovernor::kLeaveTime), IsEmpty());
  EXPECT_THAT(ask(MemoryGovernor::kLetAlone), ElementsAre(0));
}

TEST(MemoryGovernor, WhoWokeAndParkedAgainMayBeAskedAgain) {
  MemoryGovernor governor(100 * kMb);
  auto guests = std::vector{waiting(1, 20, seconds(60))};
  EXPECT_THAT(governor.decide({.now = kNow, .used_bytes = 100 * kMb}, guests).leave, ElementsAre(0));
  guests[0].parked_since = kNow + milliseconds(50);
  EXPECT_THAT(governor.decide({.now = kNow + milliseconds(100), .used_bytes = 100 * kMb}, guests).leave, ElementsAre(0));
}

TEST(MemoryGovernor, PressureFreesATenthOfWhatWaitsInRam) {
  MemoryGovernor governor(1000 * kMb);
  std::vector<MemoryGovernor::Guest> guests;
  for (std::uint64_t id = 1; id <= 20; ++id) guests.push_back(waiting(id, 10, seconds(60)));
  EXPECT_EQ(governor.decide({.now = kNow, .used_bytes = 200 * kMb, .pressure = true}, guests).leave.size(), 2U);
  EXPECT_THAT(governor.decide({.now = kNow, .used_bytes = 200 * kMb}, guests).leave, IsEmpty());
}

// A host whose guests do as they are asked: it gets under its budget and stays there, and nobody is asked for nothing.
TEST(MemoryGovernor, KeepsAHostWithinItsBudgetWhateverGuestsDo) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    std::mt19937_64 random(seed);
    constexpr std::uint64_t kBudget = 200 * kMb, kBase = 20 * kMb;
    MemoryGovernor governor(kBudget);
    std::vector<MemoryGovernor::Guest> guests;
    for (std::uint64_t id = 1; id <= 300; ++id) guests.push_back(waiting(id, 1 + random() % 5, seconds(random() % 100)));
    std::vector<std::uint64_t> size;
    for (const auto& guest : guests) size.push_back(guest.resident_bytes);
    Nanoseconds now = kNow;
    for (int step = 0; step < 500; ++step) {
      now += milliseconds(100);
      std::uint64_t used = kBase;
      for (const auto& guest : guests) used += guest.resident_bytes;
      const auto decision = governor.decide({.now = now, .used_bytes = used}, guests);
      ASSERT_LE(decision.leave.size(), MemoryGovernor::kAskedAtOnceMax);
      if (used <= kBudget * 94 / 100) {
        ASSERT_THAT(decision.leave, IsEmpty()) << "seed " << seed << ", step " << step;
      }
      for (const std::size_t i : decision.leave) {
        ASSERT_TRUE(guests[i].parked && guests[i].resident_bytes > 0) << "seed " << seed << ", step " << step;
        guests[i].resident_bytes = 0;
      }
      if (step > 30) {
        ASSERT_LE(used, kBudget + 30 * kMb) << "seed " << seed << ", step " << step;
      }
      for (int wakes = static_cast<int>(random() % 4); wakes > 0; --wakes) {
        auto& guest = guests[random() % guests.size()];
        guest.resident_bytes = size[guest.id - 1];
        guest.parked_since = now;
        guest.expected_wake = now + seconds(random() % 100);
      }
    }
  }
}

}  // namespace
}  // namespace dormouse::guest
