// SPDX-License-Identifier: Apache-2.0
#include "guest/predictor.h"

#include <gtest/gtest.h>

#include <random>

namespace dormouse::guest {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

void learn(Predictor& predictor, Nanoseconds gap, int times) {
  for (int i = 0; i < times; ++i) predictor.on_event(gap);
}

TEST(CostPredictor, LeavesAtOnceWhenEventsAreFarApart) {
  const auto predictor = make_cost_predictor();
  learn(*predictor, minutes(10), 20);
  EXPECT_LT(predictor->plan({}).stay, milliseconds(250));
}

TEST(CostPredictor, StaysBetweenEventsThatComeSoon) {
  const auto predictor = make_cost_predictor();
  learn(*predictor, seconds(1), 20);
  EXPECT_GT(predictor->plan({}).stay, seconds(1));
  EXPECT_LT(predictor->plan({}).stay, seconds(10));  // If nothing comes, it has been wrong.
}

TEST(CostPredictor, StaysForTheAnswersAmidAReconcileAndLeavesAfterThem) {
  const auto predictor = make_cost_predictor();
  for (int i = 0; i < 20; ++i) {
    predictor->on_event(minutes(5));
    predictor->on_event(milliseconds(4));
    predictor->on_event(milliseconds(4));
  }
  const Nanoseconds after_answers = predictor->plan({}).stay;
  predictor->on_event(minutes(5));
  const Nanoseconds after_event = predictor->plan({}).stay;
  EXPECT_GT(after_event, milliseconds(4));
  EXPECT_LT(after_event, seconds(2));
  EXPECT_LE(after_answers, after_event);
}

TEST(CostPredictor, ATimerThatIsNearKeepsItAndOneThatIsFarDoesNot) {
  const auto predictor = make_cost_predictor();
  learn(*predictor, hours(1), 20);
  EXPECT_GE(predictor->plan({.since_event = {}, .until_deadline = milliseconds(500)}).stay, milliseconds(500));
  EXPECT_LT(predictor->plan({.since_event = {}, .until_deadline = seconds(30)}).stay, seconds(1));
}

TEST(CostPredictor, ForgetsWhatIsNoLongerSo) {
  const auto predictor = make_cost_predictor();
  learn(*predictor, minutes(10), 2000);
  learn(*predictor, seconds(1), 1000);
  EXPECT_GT(predictor->plan({}).stay, seconds(1));
  learn(*predictor, minutes(10), 1000);
  EXPECT_LT(predictor->plan({}).stay, milliseconds(250));
}

TEST(CostPredictor, KnowingNothingStaysAWhileButNotForLong) {
  const auto predictor = make_cost_predictor();
  EXPECT_LT(predictor->plan({}).stay, kBreakEven);
  EXPECT_LT(predictor->plan({.since_event = hours(1000), .until_deadline = {}}).stay, kBreakEven);
}

TEST(CostPredictor, ExpectsWhatItHasSeen) {
  const auto predictor = make_cost_predictor();
  learn(*predictor, seconds(60), 200);
  EXPECT_GT(predictor->expected({}), seconds(40));
  EXPECT_LT(predictor->expected({}), minutes(60));
  EXPECT_LT(predictor->expected(seconds(50)), predictor->expected({}));
}

TEST(HybridHistogram, IsBackBeforeARegularEventAndAwayBefore) {
  const auto predictor = make_hybrid_histogram();
  learn(*predictor, minutes(10), 50);
  const Plan plan = predictor->plan({});
  EXPECT_LT(plan.stay, seconds(1));
  EXPECT_GT(plan.back, minutes(6));
  EXPECT_LT(plan.back, minutes(10));
  EXPECT_GT(plan.back + plan.keep, minutes(10));
}

TEST(HybridHistogram, IsAKeepAliveWhileItKnowsLittle) {
  const auto predictor = make_hybrid_histogram();
  EXPECT_EQ(predictor->plan({}).stay, kBreakEven);
  EXPECT_EQ(predictor->plan({}).back, kForever);
}

TEST(Smoothing, HoltFollowsATrendThatTheSimpleOneLagsBehind) {
  const auto simple = make_exponential_smoothing(), holt = make_holt_smoothing();
  for (int i = 1; i <= 30; ++i) {
    simple->on_event(seconds(20 * i));
    holt->on_event(seconds(20 * i));
  }
  EXPECT_GT(holt->expected({}), simple->expected({}));
  EXPECT_LT(simple->expected({}), seconds(600));
}

TEST(Predictors, GiveASoundPlanForAnyHistory) {
  std::mt19937_64 random(20261124);
  std::unique_ptr<Predictor> (*const makers[])() = {make_cost_predictor, make_hybrid_histogram, make_exponential_smoothing, make_holt_smoothing};
  for (const auto make : makers) {
    for (int round = 0; round < 50; ++round) {
      const auto predictor = make();
      for (int i = 0; i < 300; ++i) {
        const auto any_time = [&] { return Nanoseconds(static_cast<std::int64_t>(random() >> (1 + random() % 63))); };
        predictor->on_event(any_time());
        Wait wait{.since_event = any_time(), .until_deadline = {}};
        if (random() % 2 == 0) wait.until_deadline = any_time();
        const Plan plan = predictor->plan(wait);
        ASSERT_GE(plan.stay.count(), 0) << "round " << round << ", event " << i;
        ASSERT_LE(plan.stay, kForever);
        ASSERT_GE(plan.back.count(), 0);
        ASSERT_GE(plan.keep.count(), 0);
        ASSERT_GE(predictor->expected(wait.since_event).count(), 0);
      }
    }
  }
}

}  // namespace
}  // namespace dormouse::guest
