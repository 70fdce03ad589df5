// SPDX-License-Identifier: Apache-2.0
#include "sim.h"

#include <gtest/gtest.h>

namespace dormouse::sim {
namespace {

TEST(Simulator, EveryReaderSeesWhatTheApiServerHadInEachOfManyFaultyRuns) {
  Totals totals;
  for (std::uint64_t seed = 1; seed <= 25; ++seed) {
    SCOPED_TRACE(seed);
    ASSERT_NO_THROW(totals.add(run({.seed = seed, .steps = 3'000}))) << "watchcache_sim --runs 1 --steps 3000 --seed " << seed;
  }
  // It has been through what it is for.
  EXPECT_GT(totals.events, 50'000U);
  EXPECT_GT(totals.expired, 100U);
  EXPECT_GT(totals.bookmarks, 1'000U);
  EXPECT_GT(totals.relists, 50U);
  EXPECT_GT(totals.restores, 3U);
}

TEST(Simulator, DoesTheSameForTheSameSeed) {
  const Totals one = run({.seed = 7, .steps = 2'000}), other = run({.seed = 7, .steps = 2'000});
  EXPECT_EQ(one.events, other.events);
  EXPECT_EQ(one.bookmarks, other.bookmarks);
  EXPECT_EQ(one.reflector_failures, other.reflector_failures);
}

}  // namespace
}  // namespace dormouse::sim
