// SPDX-License-Identifier: Apache-2.0
#include "guest/timer_slack.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace dormouse::guest {
namespace {

using namespace std::chrono_literals;

constexpr Nanoseconds kStart = 1000s;

// A guest that ticks every `tick` and does nothing, from `now` until `until`: the moments at which it woke.
struct Ticker {
  TimerSlack slack{8s, kStart};
  Nanoseconds now = kStart;
  Nanoseconds tick = 500ms;

  Nanoseconds sleep() { return now = slack.resume_at(now + tick); }
  int run_until(Nanoseconds until) {
    int wakes = 0;
    while (now < until) {
      sleep();
      slack.woke_idly();
      ++wakes;
    }
    return wakes;
  }
};

TEST(TimerSlack, DeadlinesAreExactUntilSomeIdleWakesInARow) {
  Ticker guest;
  for (std::uint32_t i = 1; i <= TimerSlack::kIdleWakesMin; ++i) {
    EXPECT_EQ(guest.sleep(), kStart + i * 500ms);
    guest.slack.woke_idly();
  }
  EXPECT_GT(guest.sleep(), kStart + (TimerSlack::kIdleWakesMin + 1) * 500ms);
}

TEST(TimerSlack, AnIdleTickOfHalfASecondBecomesOneOfEight) {
  Ticker guest;
  guest.run_until(kStart + 5min);
  const Nanoseconds from = guest.now;
  // 7,200 without slack.
  EXPECT_LE(guest.run_until(from + 1h), 3600 / 7 + 1);
}

TEST(TimerSlack, TellsWhetherTheLastWakeWasIdle) {
  TimerSlack slack{8s, kStart};
  EXPECT_FALSE(slack.idle());
  slack.woke_idly();
  EXPECT_TRUE(slack.idle());
  slack.active(kStart + 1s);
  EXPECT_FALSE(slack.idle());
}

TEST(TimerSlack, OneActivityMakesTimersExactAgain) {
  Ticker guest;
  guest.run_until(kStart + 10min);
  guest.slack.active(guest.now);
  const Nanoseconds from = guest.now;
  for (std::uint32_t i = 1; i <= TimerSlack::kIdleWakesMin; ++i) {
    EXPECT_EQ(guest.sleep(), from + i * 500ms);
    guest.slack.woke_idly();
  }
}

TEST(TimerSlack, ATimerThatDoesSomethingIsNeverLate) {
  TimerSlack slack(8s, kStart);
  Nanoseconds now = kStart;
  for (int i = 0; i < 10'000; ++i) {
    ASSERT_EQ(slack.resume_at(now + 2s), now + 2s);
    now += 2s;
    slack.active(now);
  }
}

TEST(TimerSlack, ALeaseBehindAnIdleTickIsLateByAQuarterAtMost) {
  // As a controller with leader election: the host sees only the earlier of the two deadlines.
  for (const Nanoseconds renew : {2s, 5s, 10s, 60s}) {
    Ticker guest;
    guest.run_until(kStart + 10min);
    Nanoseconds renew_at = guest.now + 1ms;
    for (int i = 0; i < 200; ++i) {
      guest.now = guest.slack.resume_at(std::min(guest.now + guest.tick, std::max(renew_at, guest.now)));
      if (guest.now < renew_at) {
        guest.slack.woke_idly();
        --i;
        continue;
      }
      if (i > 0) {
        ASSERT_LE(guest.now - renew_at, renew / 4 + 1ms) << renew;
      }
      guest.slack.active(guest.now);
      renew_at = guest.now + renew;
    }
  }
}

TEST(TimerSlack, NoBoundIsExceededAndNothingIsEarly) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 2000; ++round) {
    const Nanoseconds bound(static_cast<std::int64_t>(random() % 60'000'000'000));
    TimerSlack slack(bound, kStart);
    Nanoseconds now = kStart;
    for (int i = 0; i < 40; ++i) {
      const Nanoseconds deadline = now + Nanoseconds(static_cast<std::int64_t>(random() % 30'000'000'000));
      const Nanoseconds at = slack.resume_at(deadline);
      ASSERT_GE(at, deadline);
      ASSERT_LE(at, deadline + bound);
      now = at;
      if (random() % 20 == 0) slack.active(now);
      else slack.woke_idly();
    }
  }
}

TEST(TimerSlack, WithoutABoundNothingIsLate) {
  Ticker guest{.slack = TimerSlack(0s, kStart)};
  EXPECT_EQ(guest.run_until(kStart + 1min), 120);
  EXPECT_EQ(guest.now, kStart + 1min);
}

TEST(TimerSlack, TheEndOfTimeStaysThere) {
  Ticker guest;
  guest.run_until(kStart + 10min);
  EXPECT_EQ(guest.slack.resume_at(Nanoseconds::max()), Nanoseconds::max());
  EXPECT_EQ(guest.slack.resume_at(Nanoseconds::max() - 1s), Nanoseconds::max() - 1s);
  EXPECT_EQ(guest.slack.resume_at(Nanoseconds(5)), Nanoseconds(5));
}

TEST(TimerSlack, ManyGuestsWakeAtFewMomentsButNotAllAtOnce) {
  constexpr int kGuests = 1000;
  std::mt19937_64 random(11);
  std::multiset<std::int64_t> moments;
  for (int i = 0; i < kGuests; ++i) {
    Ticker guest;
    guest.now = kStart + Nanoseconds(static_cast<std::int64_t>(random() % 10'000'000'000));
    guest.slack.active(guest.now);
    guest.run_until(kStart + 10min);
    while (guest.now < kStart + 11min) {
      moments.insert(guest.now.count());
      guest.sleep();
    }
  }
  const std::set<std::int64_t> distinct(moments.begin(), moments.end());
  EXPECT_LE(distinct.size(), 62u);
  for (const std::int64_t moment : distinct) EXPECT_LT(moments.count(moment), kGuests / 2u) << moment;
}

}  // namespace
}  // namespace dormouse::guest
