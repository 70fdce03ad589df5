// SPDX-License-Identifier: Apache-2.0
#include "guest/wake_log.h"

#include <gtest/gtest.h>

namespace dormouse::guest {
namespace {

using namespace std::chrono_literals;
using Kind = wasi::WakeCause::Kind;

TEST(WakeLog, KeepsTheLastWakesInOrderAndCountsAll) {
  WakeLog log;
  EXPECT_FALSE(log.last());
  for (int i = 1; i <= 100; ++i) {
    log.begin({.at = std::chrono::seconds(i), .cause = {.kind = i % 2 == 0 ? Kind::Timer : Kind::Watch}});
    log.end(2ms, 1ms, i % 4 != 0);
    const auto recent = log.recent();
    ASSERT_EQ(recent.size(), std::min<std::size_t>(static_cast<std::size_t>(i), WakeLog::kWakesKept));
    for (std::size_t at = 0; at < recent.size(); ++at) ASSERT_EQ(recent[at].at, std::chrono::seconds(i - static_cast<int>(recent.size() - 1 - at)));
    ASSERT_EQ(log.last()->at, std::chrono::seconds(i));
  }
  const auto totals = log.totals();
  EXPECT_EQ(totals.by_cause[static_cast<std::size_t>(Kind::Timer)], 50u);
  EXPECT_EQ(totals.by_cause[static_cast<std::size_t>(Kind::Watch)], 50u);
  EXPECT_EQ(totals.idle, 25u);
  EXPECT_EQ(log.last()->awake, 2000us);
  EXPECT_EQ(log.last()->cpu, 1000us);
}

TEST(WakeLog, AWakeUnderWayIsSeenAndEndsOnce) {
  WakeLog log;
  log.end(1s, 1s, true);
  log.begin({.at = 5s, .cause = {.kind = Kind::Signal}});
  ASSERT_TRUE(log.last());
  EXPECT_FALSE(log.last()->over);
  log.end(1ms, 1ms, false);
  log.end(9s, 9s, true);
  EXPECT_TRUE(log.last()->over);
  EXPECT_EQ(log.last()->awake, 1000us);
  EXPECT_FALSE(log.last()->active);
  EXPECT_EQ(log.totals().idle, 1u);
}

TEST(WakeLog, ATextIsKeptNoLongerThanItsWake) {
  WakeLog log;
  auto text = std::make_shared<const std::string>("watch pods");
  log.begin({.cause = {.kind = Kind::Watch, .what = text}});
  EXPECT_EQ(*log.last()->cause.what, "watch pods");
  EXPECT_EQ(text.use_count(), 2);
  for (std::size_t i = 0; i < WakeLog::kWakesKept; ++i) log.begin({});
  EXPECT_EQ(text.use_count(), 1);
}

TEST(WakeLog, LatenciesAreToldApartByWhereTheGuestWas) {
  WakeLog log;
  log.begin({.latency = 10us});
  log.begin({.latency = 11us});
  log.begin({.latency = 1h, .was_paged_out = true});
  log.begin({.latency = 3us, .was_paged_out = true, .was_cold = true});
  const auto totals = log.totals();
  EXPECT_EQ(totals.from_ram.counts[0], 1u);
  EXPECT_EQ(totals.from_ram.counts[1], 1u);
  EXPECT_EQ(totals.from_ram.sum, 21us);
  EXPECT_EQ(totals.from_page_cache.counts.back(), 1u);
  EXPECT_EQ(totals.from_disk.counts[0], 1u);
}

}  // namespace
}  // namespace dormouse::guest
