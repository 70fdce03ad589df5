// SPDX-License-Identifier: Apache-2.0
#include "host/trace_recorder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <thread>
#include <vector>

#include "guest/sleep_observer.h"
#include "host/test_support.h"

namespace dormouse::host {
namespace {

using guest::WakeCause;
using std::chrono::seconds;
using testing::ReadableLog;
using testing::Scratch;
using ::testing::HasSubstr;

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(TraceRecorder, WhatItWritesTheSimulatorReads) {
  Scratch scratch;
  ReadableLog log;
  ManualClock clock;
  clock.advance(seconds(100));
  const std::string path = scratch.path / "a.trace";
  {
    auto recorder = TraceRecorder::create(path, clock, *log);
    ASSERT_TRUE(recorder) << recorder.error().message;
    auto observer = std::make_shared<guest::SleepObserver>();
    observer->waited = [&](std::string_view guest, const guest::TraceWait& wait) { (*recorder)->record(guest, wait); };
    const auto policy = guest::observed(guest::make_sleep_policy({pods::SleepMode::Kind::Idle, seconds(1)}), observer, "ns/a");
    clock.advance(seconds(1));
    EXPECT_EQ(policy->on_park({.now = clock.monotonic(), .deadline = clock.monotonic() + seconds(9), .resident_bytes = 42}), clock.monotonic() + seconds(1));
    clock.advance(seconds(3));
    policy->on_wake({.now = clock.monotonic(), .cause = WakeCause::Inbound});
    policy->on_wake({.now = clock.monotonic(), .cause = WakeCause::Inbound});  // Without a park: no wait.
  }
  EXPECT_EQ(contents(path), "dormouse-trace 1\n1000000 4000000 ns/a inbound 10000000 42\n");
}

TEST(TraceRecorder, WhatManyThreadsRecordIsInOrderAndWhole) {
  Scratch scratch;
  ReadableLog log;
  SystemClock clock;
  const std::string path = scratch.path / "a.trace";
  {
    auto recorder = TraceRecorder::create(path, clock, *log);
    ASSERT_TRUE(recorder);
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        const std::string name = fmt::format("guest-{}", t);
        for (int i = 0; i < 2000; ++i) {
          const Nanoseconds parked = clock.monotonic();
          // Whatever a run says, even of deadlines that cannot be.
          (*recorder)->record(name, {.cause = static_cast<WakeCause>(i % 4), .parked = parked, .woken = clock.monotonic(), .deadline = i % 3 == 0 ? std::nullopt : std::optional(parked - seconds(i % 5) + seconds(2)), .bytes = 7});
        }
      });
    }
  }
  const auto trace = guest::parse_trace(contents(path), "a.trace");
  ASSERT_TRUE(trace) << trace.error().message;
  EXPECT_EQ(trace->waits.size(), 8000U);
  EXPECT_EQ(trace->guests.size(), 4U);
}

TEST(TraceRecorder, AFullDiskEndsTheTraceAndNothingElse) {
  ReadableLog log;
  SystemClock clock;
  auto recorder = TraceRecorder::create("/dev/full", clock, *log);
  if (!recorder) GTEST_SKIP() << recorder.error().message;
  for (int i = 0; i < 5000; ++i) (*recorder)->record("a", {.cause = WakeCause::Stream, .parked = clock.monotonic(), .woken = clock.monotonic()});
  EXPECT_THAT(log.text(), HasSubstr("the trace is not recorded any further"));
}

TEST(TraceRecorder, AFileThatCannotBeMadeIsAnErrorThatNamesIt) {
  ReadableLog log;
  SystemClock clock;
  EXPECT_THAT(TraceRecorder::create("/nonexistent/a.trace", clock, *log).error().message, HasSubstr("/nonexistent/a.trace"));
}

TEST(SleepObserver, ThePolicySeenIsThePolicy) {
  int parks = 0;
  auto observer = std::make_shared<guest::SleepObserver>();
  observer->parked = [&] { ++parks; };
  for (const auto kind : {pods::SleepMode::Kind::Never, pods::SleepMode::Kind::Immediately, pods::SleepMode::Kind::Pressure}) {
    const auto plain = guest::make_sleep_policy({kind, {}}), seen = guest::observed(guest::make_sleep_policy({kind, {}}), observer, "a");
    const guest::ParkInfo park{.now = seconds(5), .deadline = seconds(50)};
    EXPECT_EQ(seen->on_park(park), plain->on_park(park));
    EXPECT_EQ(seen->may_page_out(), plain->may_page_out());
    EXPECT_EQ(seen->expected_wake(), plain->expected_wake());
  }
  EXPECT_EQ(parks, 3);
}

}  // namespace
}  // namespace dormouse::host
