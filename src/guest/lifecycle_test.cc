// SPDX-License-Identifier: Apache-2.0
#include "guest/lifecycle.h"

#include <gtest/gtest.h>

namespace dormouse::guest {
namespace {

using namespace std::chrono_literals;
using pods::RestartPolicy;
using Action = Lifecycle::Action;
using State = Lifecycle::State;

Termination failed() { return {.reason = "Error", .exit_code = 1}; }
Termination completed() { return {.reason = "Completed"}; }

TEST(Lifecycle, BacksOffTenSecondsDoublingToFiveMinutes) {
  Lifecycle lifecycle(RestartPolicy::Always, 30s);
  Nanoseconds now = 1s;
  for (const Nanoseconds expected : {10s, 20s, 40s, 80s, 160s, 300s, 300s}) {
    lifecycle.begin(now);
    lifecycle.ended(now, failed());
    ASSERT_EQ(lifecycle.state(), State::BackOff);
    EXPECT_EQ(lifecycle.reason(), "CrashLoopBackOff");
    ASSERT_EQ(*lifecycle.deadline() - now, expected);
    EXPECT_EQ(lifecycle.on_timer(now + expected - 1ns), Action::None);
    now += expected;
    ASSERT_EQ(lifecycle.on_timer(now), Action::Start);
  }
  EXPECT_EQ(lifecycle.restarts(), 7U);
}

TEST(Lifecycle, ForgetsTheBackOffAfterTenMinutesOfRunning) {
  Lifecycle lifecycle(RestartPolicy::Always, 30s);
  lifecycle.begin(0s);
  lifecycle.ended(0s, failed());
  ASSERT_EQ(lifecycle.on_timer(10s), Action::Start);
  lifecycle.begin(10s);
  lifecycle.ended(10s + 10min, failed());
  EXPECT_EQ(*lifecycle.deadline() - (10s + 10min), 10s);
}

TEST(Lifecycle, RestartsAsThePolicySays) {
  for (const auto& [policy, termination, restarts] : {
           std::tuple{RestartPolicy::Always, completed(), true}, {RestartPolicy::Always, failed(), true},
           {RestartPolicy::OnFailure, completed(), false}, {RestartPolicy::OnFailure, failed(), true},
           {RestartPolicy::Never, completed(), false}, {RestartPolicy::Never, failed(), false}}) {
    Lifecycle lifecycle(policy, 30s);
    lifecycle.begin(0s);
    lifecycle.ended(1s, termination);
    EXPECT_EQ(lifecycle.state(), restarts ? State::BackOff : State::Ended);
  }
}

TEST(Lifecycle, KillsOnlyWhenTheGraceIsOver) {
  Lifecycle lifecycle(RestartPolicy::Always, 30s);
  lifecycle.begin(0s);
  ASSERT_TRUE(lifecycle.stop(5s));
  EXPECT_EQ(lifecycle.on_timer(34s), Action::None);
  EXPECT_EQ(lifecycle.on_timer(35s), Action::Kill);
  lifecycle.ended(35s, failed());
  EXPECT_EQ(lifecycle.state(), State::Ended);
}

TEST(Lifecycle, StopsAGuestThatIsStillBeingMade) {
  Lifecycle lifecycle(RestartPolicy::Always, 30s);
  ASSERT_TRUE(lifecycle.stop(0s));
  lifecycle.begin(1s);
  EXPECT_EQ(lifecycle.state(), State::Terminating);
  lifecycle.ended(2s, completed());
  EXPECT_EQ(lifecycle.state(), State::Ended);

  Lifecycle unmade(RestartPolicy::Always, 30s);
  ASSERT_TRUE(unmade.stop(0s));
  unmade.could_not_start(1s, failed());
  EXPECT_EQ(unmade.state(), State::Ended);
}

TEST(Lifecycle, AStopDuringBackOffEndsAtOnce) {
  Lifecycle lifecycle(RestartPolicy::Always, 30s);
  lifecycle.could_not_start(0s, failed());
  EXPECT_EQ(lifecycle.reason(), "CreateContainerError");
  EXPECT_FALSE(lifecycle.stop(1s));
  EXPECT_EQ(lifecycle.state(), State::Ended);
  EXPECT_EQ(lifecycle.on_timer(100s), Action::None);
}

TEST(Lifecycle, AnUnhealthyRunIsFollowedByAnotherWhateverItsExitCode) {
  for (const auto& [policy, again] : {std::pair{RestartPolicy::Always, true}, {RestartPolicy::OnFailure, true}, {RestartPolicy::Never, false}}) {
    Lifecycle lifecycle(policy, 30s);
    lifecycle.begin(0s);
    ASSERT_TRUE(lifecycle.restart(5s, 3s));
    EXPECT_FALSE(lifecycle.restart(6s, 3s)) << "once";
    EXPECT_EQ(lifecycle.reason(), "Running");
    EXPECT_EQ(lifecycle.on_timer(7s), Action::None);
    EXPECT_EQ(lifecycle.on_timer(8s), Action::Kill) << "the probe's own grace";
    lifecycle.ended(8s, completed());
    EXPECT_EQ(lifecycle.state(), again ? State::BackOff : State::Ended);
  }
}

TEST(Lifecycle, AStopDuringARestartIsAStop) {
  Lifecycle lifecycle(RestartPolicy::Always, 30s);
  lifecycle.begin(0s);
  ASSERT_TRUE(lifecycle.restart(5s, 10s));
  ASSERT_TRUE(lifecycle.stop(6s));
  EXPECT_EQ(lifecycle.deadline(), 15s) << "what is left of the first grace";
  lifecycle.ended(7s, failed());
  EXPECT_EQ(lifecycle.state(), State::Ended);
}

}  // namespace
}  // namespace dormouse::guest
