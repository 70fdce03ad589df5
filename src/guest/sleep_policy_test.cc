// SPDX-License-Identifier: Apache-2.0
#include "guest/sleep_policy.h"

#include <gtest/gtest.h>

#include <random>

namespace dormouse::guest {
namespace {

using pods::SleepMode;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr SleepMode kModes[] = {{SleepMode::Kind::Never, {}}, {SleepMode::Kind::Immediately, {}}, {SleepMode::Kind::Idle, seconds(30)}, {SleepMode::Kind::Idle, {}}, {SleepMode::Kind::Pressure, {}}, {SleepMode::Kind::Predictive, {}}};

TEST(SleepPolicy, NeverAndPressureNameNoTime) {
  for (const auto kind : {SleepMode::Kind::Never, SleepMode::Kind::Pressure}) {
    const auto policy = make_sleep_policy({kind, {}});
    EXPECT_FALSE(policy->on_park({.now = seconds(1)}));
    EXPECT_FALSE(policy->on_park({.now = seconds(1), .deadline = hours(10)}));
    EXPECT_EQ(policy->may_page_out(), kind == SleepMode::Kind::Pressure);
  }
}

TEST(SleepPolicy, IdleLeavesAfterItsTimeUnlessTheTimerIsSooner) {
  const auto policy = make_sleep_policy({SleepMode::Kind::Idle, seconds(30)});
  EXPECT_EQ(policy->on_park({.now = seconds(100)}), seconds(130));
  EXPECT_EQ(policy->on_park({.now = seconds(100), .deadline = seconds(131)}), seconds(130));
  EXPECT_EQ(policy->on_park({.now = seconds(100), .deadline = seconds(130)}), std::nullopt);
}

TEST(SleepPolicy, IdleOfNothingLeavesAtEachPark) {
  const auto policy = make_sleep_policy({SleepMode::Kind::Idle, {}});
  EXPECT_EQ(policy->on_park({.now = seconds(100), .deadline = seconds(101)}), seconds(100));
}

TEST(SleepPolicy, ImmediatelyWaitsForAnAnswerOnly) {
  const auto policy = make_sleep_policy({SleepMode::Kind::Immediately, {}});
  EXPECT_EQ(policy->on_park({.now = seconds(100)}), seconds(100) + kSettleTime);
  EXPECT_EQ(policy->on_park({.now = seconds(100), .deadline = seconds(100) + milliseconds(5)}), std::nullopt);
}

// A Go guest's tick has asked nothing, and 4 MB of it are mapped.
TEST(SleepPolicy, ImmediatelyIsAtOnceForWhoHasIdled) {
  const auto policy = make_sleep_policy({SleepMode::Kind::Immediately, {}});
  EXPECT_EQ(policy->on_park({.now = seconds(100), .deadline = seconds(101), .idled = true}), seconds(100));
  EXPECT_EQ(policy->on_park({.now = seconds(100), .deadline = seconds(101), .idled = false}), seconds(100) + kSettleTime);
  EXPECT_EQ(policy->on_park({.now = seconds(100), .deadline = seconds(100) + milliseconds(5), .idled = true}), std::nullopt) << "not for a moment";
  const auto idle = make_sleep_policy({SleepMode::Kind::Idle, seconds(1)});
  EXPECT_EQ(idle->on_park({.now = seconds(100), .idled = true}), seconds(101));
}

// Events every ten minutes, whatever number of timer wake-ups lies between: the same lesson.
TEST(SleepPolicy, WakeUpsByItsOwnTimerTeachNothingAboutEvents) {
  const auto with_timers = make_sleep_policy({SleepMode::Kind::Predictive, {}}), without = make_sleep_policy({SleepMode::Kind::Predictive, {}});
  Nanoseconds now{};
  for (int event = 0; event < 50; ++event) {
    without->on_park({.now = now});
    for (int second = 0; second < 600; ++second) {
      with_timers->on_park({.now = now, .deadline = now + seconds(1)});
      now += seconds(1);
      with_timers->on_wake({.now = now, .cause = second == 599 ? WakeCause::Stream : WakeCause::Deadline});
    }
    without->on_wake({.now = now, .cause = WakeCause::Stream});
  }
  EXPECT_EQ(with_timers->on_park({.now = now, .deadline = now + hours(1)}), without->on_park({.now = now, .deadline = now + hours(1)}));
  EXPECT_EQ(with_timers->expected_wake(), without->expected_wake());
  EXPECT_GT(with_timers->expected_wake(), now + minutes(5));
}

TEST(SleepPolicy, ExpectsTheTimerIfThatIsSooner) {
  for (const SleepMode& mode : kModes) {
    const auto policy = make_sleep_policy(mode);
    policy->on_park({.now = seconds(100), .deadline = seconds(100) + milliseconds(1)});
    EXPECT_LE(policy->expected_wake(), seconds(100) + milliseconds(1)) << to_string(mode);
  }
}

TEST(SleepPolicy, NeverNamesATimeBeforeTheParkOrNotBeforeTheTimer) {
  std::mt19937_64 random(20261124);
  for (const SleepMode& mode : kModes) {
    const auto policy = make_sleep_policy(mode);
    Nanoseconds now = hours(1);
    for (int i = 0; i < 20'000; ++i) {
      const auto some_time = [&] { return Nanoseconds(static_cast<std::int64_t>((random() >> 20) >> (random() % 44))); };  // Up to 5 h.
      ParkInfo park{.now = now, .deadline = {}, .resident_bytes = random() % (1 << 26)};
      if (random() % 3 != 0) park.deadline = now - seconds(random() % 2) + some_time();  // It may have passed already.
      const auto at = policy->on_park(park);
      if (at) {
        ASSERT_GE(*at, now) << to_string(mode) << ", park " << i;
        if (park.deadline) {
          ASSERT_LT(*at, *park.deadline) << to_string(mode) << ", park " << i;
        }
      }
      ASSERT_GE(policy->expected_wake().count(), 0);
      now += some_time();
      policy->on_wake({.now = now, .cause = static_cast<WakeCause>(random() % 4), .was_paged_out = random() % 2 == 0});
    }
  }
}

}  // namespace
}  // namespace dormouse::guest
