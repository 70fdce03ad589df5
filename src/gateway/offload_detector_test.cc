// SPDX-License-Identifier: Apache-2.0
// When a guest may be left asleep, by examples; that it makes no difference is offload_twins_test.cc's to show.

#include "gateway/offload_detector.h"

#include <gtest/gtest.h>

namespace dormouse::gateway {
namespace {

using namespace std::chrono_literals;
using Release = OffloadDetector::Release;

kube::Request get(std::string target) { return {.method = "GET", .target = std::move(target), .headers = {{"accept", "application/json"}}, .bearer = "secret"}; }
OffloadDetector::Answer answer(std::uint8_t content, int status = 200) { return {.status = status, .digest = {content}}; }

struct Poller {
  OffloadDetector detector{5min};
  Nanoseconds now = 100s;

  void look(const std::string& target = "/a", OffloadDetector::Answer got = answer(1)) { detector.answered(detector.request(get(target), true), got); }
  // Its timer wakes it, it looks, and parks again. False: it was left asleep.
  bool cycle(const std::function<void()>& looks, Nanoseconds period = 5s) {
    now += period;
    if (detector.deadline(now)) return false;
    detector.woke(true, true, now);
    looks();
    detector.woke(false, true, now);
    detector.parked(true, false);
    return true;
  }
  bool cycle() {
    return cycle([this] { look(); });
  }
  // As many cycles as it takes; how many the guest made itself.
  int until_offloading(const std::function<void()>& looks, int cycles_max = 50) {
    for (int i = 0; i < cycles_max; ++i) {
      if (!cycle(looks)) return i;
    }
    return cycles_max;
  }
  int until_offloading() {
    return until_offloading([this] { look(); });
  }
};

TEST(OffloadDetector, ThreeEqualCyclesAndTheHostLooks) {
  Poller guest;
  // The first has nothing before it to be equal to, and the sleep must be worth it.
  EXPECT_EQ(guest.until_offloading(), 3);
  EXPECT_TRUE(guest.detector.offloading());
  ASSERT_EQ(guest.detector.looks().size(), 1u);
  EXPECT_EQ(guest.detector.looks()[0].request.target, "/a");
  EXPECT_FALSE(guest.detector.looks()[0].request.bearer);
  EXPECT_EQ(guest.detector.plan()->next_look, guest.now);
}

TEST(OffloadDetector, AnotherAnswerAnotherRequestOrAnotherStatusIsNotEqual) {
  for (int kind = 0; kind < 4; ++kind) {
    Poller guest;
    std::uint8_t i = 0;
    EXPECT_EQ(guest.until_offloading([&] {
                ++i;
                if (kind == 0) guest.look("/a", answer(i));
                if (kind == 1) guest.look("/a" + std::to_string(i));
                if (kind == 2) guest.look("/a", answer(1, i % 2 == 0 ? 200 : 404));
                if (kind == 3) {
                  for (int n = 0; n < 1 + i % 2; ++n) guest.look();
                }
              }),
              50)
        << kind;
  }
}

TEST(OffloadDetector, OtherHeadersAreAnotherRequest) {
  Poller guest;
  int i = 0;
  EXPECT_EQ(guest.until_offloading([&] {
              kube::Request request = get("/a");
              request.headers.emplace_back("x-attempt", std::to_string(++i));
              guest.detector.answered(guest.detector.request(request, true), answer(1));
            }),
            50);
}

TEST(OffloadDetector, LooksMadeSideBySideMayComeInAnyOrder) {
  Poller guest;
  bool turn = false;
  EXPECT_EQ(guest.until_offloading([&] {
              turn = !turn;
              const auto first = guest.detector.request(get(turn ? "/a" : "/b"), true);
              const auto second = guest.detector.request(get(turn ? "/b" : "/a"), true);
              guest.detector.answered(second, answer(turn ? 2 : 1));
              guest.detector.answered(first, answer(turn ? 1 : 2));
            }),
            3);
}

TEST(OffloadDetector, AWriteOrAnyOtherActivityStartsAgainFromNothing) {
  for (int kind = 0; kind < 4; ++kind) {
    Poller guest;
    guest.cycle();
    guest.cycle();
    ASSERT_TRUE(guest.cycle([&] {
      guest.look();
      if (kind == 0) guest.detector.answered(guest.detector.request(kube::Request{.method = "PUT", .target = "/a"}, false), answer(1));
      if (kind == 1) guest.detector.parked(true, true);
      if (kind == 2) guest.detector.woke(false, false, guest.now);
      if (kind == 3) guest.detector.spoiled(guest.detector.request(get("/c"), true));
    }));
    EXPECT_EQ(guest.until_offloading(), 3) << kind;
  }
}

TEST(OffloadDetector, AnAnswerThatAsksToTryAgainIsTheGuestsAffair) {
  for (const int status : {401, 410, 429, 500, 503, 504}) {
    Poller guest;
    EXPECT_EQ(guest.until_offloading([&] { guest.look("/a", answer(1, status)); }), 50) << status;
  }
  for (const int status : {200, 403, 404}) {
    Poller guest;
    EXPECT_EQ(guest.until_offloading([&] { guest.look("/a", answer(1, status)); }), 3) << status;
  }
}

TEST(OffloadDetector, AGuestThatAwaitsAnAnswerIsWokenByItsTimer) {
  Poller guest;
  guest.until_offloading();
  guest.detector.woke(false, false, guest.now);
  OffloadDetector::RequestId open = 0;
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(guest.cycle([&] { open = open == 0 ? guest.detector.request(get("/slow"), true) : open; })) << i;
  }
  guest.detector.answered(open, answer(1));
}

TEST(OffloadDetector, WakesThatDoNothingCountForNothingAndAreSleptThrough) {
  Poller guest;
  int cycles = 0;
  // A tick each 500 ms, a look each 5 s.
  while (!guest.detector.offloading() && cycles < 50) {
    for (int tick = 0; tick < 9 && !guest.detector.offloading(); ++tick) {
      guest.now += 500ms;
      if (guest.detector.deadline(guest.now)) break;
      guest.detector.woke(true, true, guest.now);
      guest.detector.parked(false, false);
    }
    if (guest.detector.offloading()) break;
    guest.cycle([&] { guest.look(); }, 500ms);
    ++cycles;
  }
  ASSERT_TRUE(guest.detector.offloading());
  EXPECT_EQ(cycles, 3);
  // The next look is due when the guest's own would be, not at the tick that was the last straw.
  EXPECT_EQ(guest.detector.plan()->next_look, guest.now + 4500ms);
}

TEST(OffloadDetector, ADifferenceLetsTheGuestGoUntilItHasWoken) {
  Poller guest;
  guest.until_offloading();
  EXPECT_TRUE(guest.detector.same(0, answer(1)));
  EXPECT_EQ(guest.detector.round_over(guest.now).next_look, guest.now + 5s);
  EXPECT_FALSE(guest.detector.same(0, answer(2)));
  EXPECT_FALSE(guest.detector.offloading());
  EXPECT_EQ(guest.detector.last_release(), Release::Changed);
  // However often its run asks.
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(guest.detector.deadline(guest.now));
  EXPECT_EQ(guest.until_offloading([&] { guest.look("/a", answer(2)); }), 3);
}

TEST(OffloadDetector, ChangedRightsAreADifference) {
  Poller guest;
  guest.until_offloading();
  EXPECT_FALSE(guest.detector.same(0, answer(1, 403)));
}

TEST(OffloadDetector, AFailureOrAnEventEndsIt) {
  Poller guest;
  guest.until_offloading();
  guest.detector.failed();
  EXPECT_FALSE(guest.detector.deadline(guest.now));
  EXPECT_EQ(guest.until_offloading(), 3);
  guest.detector.woke(false, false, guest.now);
  EXPECT_FALSE(guest.detector.offloading());
  EXPECT_EQ(guest.detector.last_release(), Release::Event);
  EXPECT_GE(guest.until_offloading(), 3);
}

TEST(OffloadDetector, TheGuestSleepsNoLongerThanItMayAndGoesOnIfNothingChanged) {
  Poller guest;
  guest.until_offloading();
  Nanoseconds slept{};
  for (int i = 0; i < 1000; ++i) {
    const auto plan = guest.detector.plan();
    if (plan) {
      EXPECT_LE(plan->until - guest.now, 5min);
      slept = std::max(slept, plan->until - guest.now);
      guest.now = plan->until;
      ASSERT_FALSE(guest.detector.deadline(guest.now));
      EXPECT_EQ(guest.detector.last_release(), Release::SleptLongest);
    } else {
      guest.now += 5s;
      if (guest.detector.deadline(guest.now)) continue;
    }
    guest.detector.woke(true, true, guest.now);
    guest.look();
    guest.detector.parked(true, false);
    guest.now += 5s;
    ASSERT_TRUE(guest.detector.deadline(guest.now));
  }
  EXPECT_EQ(slept, 5min);
}

TEST(OffloadDetector, ATimerBehindTheLooksIsLateByHalfItsPeriodAtMost) {
  for (const Nanoseconds renew : {10s, 20s, 60s, 600s}) {
    for (const Nanoseconds period : std::initializer_list<Nanoseconds>{500ms, 1s, 2s, 3s, 5s}) {
      Poller guest;
      guest.now = 0s;
      Nanoseconds look_at = period, renew_at = renew, worst{};
      for (int i = 0; i < 20'000; ++i) {
        guest.now = std::max(guest.now, std::min(look_at, renew_at));
        if (const auto plan = guest.detector.deadline(guest.now)) {
          guest.now = plan->until;
          ASSERT_FALSE(guest.detector.deadline(guest.now));
        }
        guest.detector.woke(true, true, guest.now);
        if (guest.now >= look_at) {
          guest.look();
          look_at = guest.now + period;
        }
        if (guest.now >= renew_at) {
          worst = std::max(worst, guest.now - renew_at);
          guest.detector.answered(guest.detector.request(kube::Request{.method = "PUT", .target = "/lease"}, false), answer(9));
          renew_at = guest.now + renew;
        }
        guest.detector.parked(true, false);
      }
      EXPECT_LE(worst, renew / 2) << renew << " " << period;
    }
  }
}

TEST(OffloadDetector, WhatItKeepsIsBounded) {
  Poller guest;
  EXPECT_EQ(guest.until_offloading([&] {
              for (std::size_t i = 0; i <= OffloadDetector::kLooksMax; ++i) guest.look("/" + std::to_string(i));
            }),
            50);
  EXPECT_EQ(guest.until_offloading([&] { guest.look("/" + std::string(OffloadDetector::kHeadBytesMax, 'a')); }), 50);
}

}  // namespace
}  // namespace dormouse::gateway
