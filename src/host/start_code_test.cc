// SPDX-License-Identifier: Apache-2.0
#include "host/start_code.h"

#include <gtest/gtest.h>

namespace dormouse::host {
namespace {

using Starts = StartCode<const int>;
using std::chrono::milliseconds;

TEST(StartCode, IsDueTwiceAndThenNoMore) {
  Starts starts;
  EXPECT_FALSE(starts.next());
  const auto module = std::make_shared<const int>(1);
  starts.note(module, Nanoseconds(0));
  EXPECT_TRUE(starts.take_due(milliseconds(1)).empty());
  ASSERT_EQ(starts.next(), Starts::kStartTime);
  EXPECT_EQ(starts.take_due(Starts::kStartTime).size(), 1U);
  ASSERT_EQ(starts.next(), Starts::kStartTimeMax);
  EXPECT_EQ(starts.take_due(Starts::kStartTimeMax).size(), 1U);
  EXPECT_FALSE(starts.next());
}

TEST(StartCode, StartsNearOneAnotherShareALook) {
  Starts starts;
  std::vector<std::shared_ptr<const int>> modules;
  for (int i = 0; i < 100; ++i) {
    modules.push_back(std::make_shared<const int>(i));
    starts.note(modules.back(), milliseconds(9 * i));
  }
  int looks = 0;
  while (const auto at = starts.next()) {
    EXPECT_EQ(starts.take_due(*at).size(), 100U);
    ++looks;
  }
  EXPECT_EQ(looks, 2);
}

TEST(StartCode, OneThatStartsAgainAndAgainIsNotPutOff) {
  Starts starts;
  const auto module = std::make_shared<const int>(1);
  for (int i = 0; i < 4; ++i) starts.note(module, std::chrono::seconds(i));
  EXPECT_EQ(starts.next(), Starts::kStartTime);
  EXPECT_EQ(starts.take_due(Starts::kStartTime).size(), 1U);
  EXPECT_EQ(starts.next(), std::chrono::seconds(3) + Starts::kStartTimeMax);
}

TEST(StartCode, WhatIsUnloadedIsForgotten) {
  Starts starts;
  auto module = std::make_shared<const int>(1);
  starts.note(module, Nanoseconds(0));
  module.reset();
  EXPECT_TRUE(starts.take_due(Starts::kStartTime).empty());
  EXPECT_FALSE(starts.next());
}

}  // namespace
}  // namespace dormouse::host
