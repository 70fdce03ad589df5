// SPDX-License-Identifier: Apache-2.0
#include "guest/probes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dormouse::guest {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using enum ProbeKind;
using Change = Probes::Change;

const pods::Probe kHttp{.kind = pods::Probe::Kind::HttpGet, .port = 80};
constexpr Nanoseconds kStart = 100s;

pods::Probe every(std::uint32_t period_s, std::uint32_t failures = 3, std::uint32_t successes = 1, std::uint32_t delay_s = 0) {
  pods::Probe probe = kHttp;
  probe.period_s = period_s;
  probe.failure_threshold = failures;
  probe.success_threshold = successes;
  probe.initial_delay_s = delay_s;
  return probe;
}

// Runs a machine whose guest is always busy: `answer(kind, seconds since the start)` is what a call gives.
struct Bench {
  explicit Bench(Probes::Specs specs) : probes(std::move(specs)) { probes.begin(kStart); }
  // What happened up to `until`, as "second kind change".
  std::vector<std::string> run(Nanoseconds until, auto answer) {
    std::vector<std::string> log;
    while (const auto deadline = probes.deadline()) {
      if (*deadline > kStart + until) break;
      for (const ProbeKind kind : probes.due(*deadline, std::nullopt)) {
        const auto second = std::chrono::duration_cast<std::chrono::seconds>(*deadline - kStart).count();
        const Change change = probes.answered(kind, *deadline, answer(kind, second));
        constexpr std::array<std::string_view, 5> kNames{"", " started", " ready", " not ready", " unhealthy"};
        log.push_back(fmt::format("{} {}{}", second, to_string(kind), kNames[static_cast<std::size_t>(change)]));
      }
    }
    return log;
  }
  Probes probes;
};
constexpr auto kWell = [](ProbeKind, long) { return true; };
constexpr auto kBadly = [](ProbeKind, long) { return false; };

TEST(Probes, WithoutAnyAContainerIsReadyWhenItRuns) {
  Probes probes({});
  EXPECT_FALSE(probes.ready());
  probes.begin(kStart);
  EXPECT_TRUE(probes.started() && probes.ready());
  EXPECT_FALSE(probes.deadline()) << "nothing ticks";
}

TEST(Probes, AreCalledAtTheirPeriodAfterTheirDelay) {
  Bench bench({.liveness = every(10, 3, 1, 15), .readiness = every(5)});
  EXPECT_THAT(bench.run(26s, kWell), ElementsAre("1 readiness ready", "6 readiness", "11 readiness", "15 liveness", "16 readiness", "21 readiness", "25 liveness", "26 readiness"));
}

TEST(Probes, ThreeFailuresInARowAreUnhealthyAndTwoAreNot) {
  Bench bench({.liveness = every(10)});
  const auto flapping = [](ProbeKind, long second) { return second == 21; };
  EXPECT_THAT(bench.run(100s, flapping), ElementsAre("1 liveness", "11 liveness", "21 liveness", "31 liveness", "41 liveness", "51 liveness unhealthy"));
  EXPECT_FALSE(bench.probes.deadline()) << "once a run";
  bench.probes.begin(kStart);
  EXPECT_TRUE(bench.probes.deadline()) << "and again in the next";
}

TEST(Probes, ReadinessComesAfterItsSuccessesAndGoesAfterItsFailures) {
  Bench bench({.readiness = every(1, 2, 3)});
  EXPECT_FALSE(bench.probes.ready());
  EXPECT_THAT(bench.run(7s, [](ProbeKind, long second) { return second <= 4; }), ElementsAre("1 readiness", "2 readiness", "3 readiness ready", "4 readiness", "5 readiness", "6 readiness not ready", "7 readiness"));
  EXPECT_FALSE(bench.probes.ready());
}

TEST(Probes, NobodyElseIsAskedBeforeTheStartupProbeSucceeds) {
  Bench bench({.startup = every(2, 30), .liveness = every(10, 3, 1, 8), .readiness = every(10)});
  const auto slow = [](ProbeKind kind, long second) { return kind != Startup || second >= 5; };
  EXPECT_FALSE(bench.probes.started());
  EXPECT_THAT(bench.run(9s, slow), ElementsAre("1 startup", "3 startup", "5 startup started", "5 readiness ready", "8 liveness"));
  EXPECT_TRUE(bench.probes.started());
}

TEST(Probes, AStartThatNeverEndsIsUnhealthy) {
  Bench bench({.startup = every(1, 2), .liveness = every(1)});
  EXPECT_THAT(bench.run(60s, kBadly), ElementsAre("1 startup", "2 startup unhealthy"));
  EXPECT_FALSE(bench.probes.ready());
}

TEST(Probes, AContainerThatIsBeingStoppedIsOnlyAskedWhetherItIsReady) {
  Bench bench({.liveness = every(1, 1), .readiness = every(1, 1)});
  bench.run(2s, kWell);
  bench.probes.stopping();
  EXPECT_THAT(bench.run(4s, kBadly), ElementsAre("3 readiness not ready", "4 readiness"));
}

TEST(Probes, AnAnswerThatComesAfterTheStopChangesNothing) {
  Probes probes({.liveness = every(1, 1)});
  probes.begin(kStart);
  EXPECT_THAT(probes.due(kStart + 1s, std::nullopt), ElementsAre(Liveness));
  probes.stopping();
  EXPECT_EQ(probes.answered(Liveness, kStart + 2s, false), Change::None);
}

TEST(Probes, ASlowAnswerIsNotAskedForTwiceAndMissedCallsAreNotMadeUpFor) {
  Probes probes({.liveness = every(1)});
  probes.begin(kStart);
  EXPECT_THAT(probes.due(kStart + 1s, std::nullopt), ElementsAre(Liveness));
  EXPECT_FALSE(probes.deadline());
  EXPECT_THAT(probes.due(kStart + 5s, std::nullopt), IsEmpty());
  probes.answered(Liveness, kStart + 5500ms, true);
  EXPECT_EQ(probes.deadline(), kStart + 6s);
}

TEST(Probes, DeadlinesAreOnWholeSecondsSoThatManyGuestsAreOneTick) {
  Probes probes({.liveness = every(10)});
  probes.begin(kStart + 300ms);
  EXPECT_EQ(probes.deadline(), kStart + 2s);
}

// --- Sleep ---

class SleepingGuest : public ::testing::Test {
 protected:
  // A probe that has succeeded at kStart + 1 s.
  explicit SleepingGuest(pods::Probe probe = every(10)) : probes({.liveness = probe}) {
    probes.begin(kStart);
    probes.due(kStart + 1s, std::nullopt);
    probes.answered(Liveness, kStart + 1s, true);
  }
  bool called(Nanoseconds at, std::optional<Nanoseconds> parked_since) {
    const bool was = !probes.due(kStart + at, parked_since ? std::optional(kStart + *parked_since) : std::nullopt).empty();
    if (was) probes.answered(Liveness, kStart + at, true);
    return was;
  }
  Probes probes;
};

TEST_F(SleepingGuest, IsNotWokenForAnAnswerThatItHasGiven) {
  EXPECT_FALSE(called(11s, 1200ms));
  EXPECT_FALSE(called(21s, 1200ms));
  EXPECT_EQ(probes.deadline(), kStart + 31s);
  EXPECT_EQ(probes.counters().passed_over, 2U);
  EXPECT_TRUE(called(31s, 25s)) << "it has run since";
  EXPECT_FALSE(called(41s, 31s));
  EXPECT_TRUE(called(51s, std::nullopt)) << "it runs";
}

TEST_F(SleepingGuest, IsAskedEveryFiveMinutesAllTheSame) {
  for (Nanoseconds at = 11s; at < 301s; at += 10s) EXPECT_FALSE(called(at, 1s)) << at.count();
  EXPECT_TRUE(called(301s, 1s));
}

TEST_F(SleepingGuest, ThatFailedIsAskedAgain) {
  EXPECT_EQ(probes.due(kStart + 11s, std::nullopt).size(), 1U);
  probes.answered(Liveness, kStart + 11s, false);
  EXPECT_TRUE(called(21s, 11s)) << "one failure is not a result, but it is not a success either";
}

TEST(Probes, ATcpProbeCostsTheGuestNothingAndIsAlwaysMade) {
  pods::Probe tcp = every(10);
  tcp.kind = pods::Probe::Kind::TcpSocket;
  Probes probes({.liveness = tcp});
  probes.begin(kStart);
  probes.due(kStart + 1s, kStart);
  probes.answered(Liveness, kStart + 1s, true);
  EXPECT_EQ(probes.due(kStart + 11s, kStart + 1s).size(), 1U);
}

}  // namespace
}  // namespace dormouse::guest
