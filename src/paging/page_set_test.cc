// SPDX-License-Identifier: Apache-2.0
#include "paging/page_set.h"

#include <gtest/gtest.h>

#include <random>

namespace dormouse::paging {
namespace {

TEST(PageRuns, WithoutLeavesWhatTheOthersDoNotHave) {
  EXPECT_EQ(without({}, {{1, 2}}), PageRuns{});
  EXPECT_EQ(without({{1, 2}, {9, 1}}, {}), (PageRuns{{1, 2}, {9, 1}}));
  EXPECT_EQ(without({{0, 10}}, {{0, 10}}), PageRuns{});
  EXPECT_EQ(without({{0, 10}}, {{3, 2}, {7, 1}}), (PageRuns{{0, 3}, {5, 2}, {8, 2}}));
  EXPECT_EQ(without({{4, 2}, {8, 2}}, {{0, 5}, {9, 100}}), (PageRuns{{5, 1}, {8, 1}}));
}

TEST(PageRuns, WithoutIsTheDifferenceOfTheSets) {
  std::minstd_rand random(7);
  for (int round = 0; round < 2000; ++round) {
    constexpr std::uint32_t kPages = 24;
    std::uint32_t a = random(), b = random();
    PageRuns runs, others, expected;
    for (std::uint32_t page = 0; page < kPages; ++page) {
      const bool in_a = (a >> page & 1) != 0, in_b = (b >> page & 1) != 0;
      if (in_a) append(runs, {page, 1});
      if (in_b) append(others, {page, 1});
      if (in_a && !in_b) append(expected, {page, 1});
    }
    ASSERT_EQ(without(runs, others), expected) << a << " " << b;
  }
}

TEST(PageRuns, WithinIsCutAtBothEnds) {
  EXPECT_EQ(within({}, 0, 100), PageRuns{});
  EXPECT_EQ(within({{0, 10}, {20, 5}, {40, 1}}, 3, 22), (PageRuns{{3, 7}, {20, 2}}));
  EXPECT_EQ(within({{0, 10}}, 10, 20), PageRuns{});
}

TEST(PageRuns, TheSmallestGapsAreClosedFirst) {
  const PageRuns runs = {{0, 1}, {2, 1}, {10, 1}, {30, 2}};
  EXPECT_EQ(joined(runs, 4), runs);
  EXPECT_EQ(joined(runs, 3), (PageRuns{{0, 3}, {10, 1}, {30, 2}}));
  EXPECT_EQ(joined(runs, 2), (PageRuns{{0, 11}, {30, 2}}));
  EXPECT_EQ(joined(runs, 1), (PageRuns{{0, 32}}));
}

}  // namespace
}  // namespace dormouse::paging
