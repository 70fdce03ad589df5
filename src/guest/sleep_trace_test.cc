// SPDX-License-Identifier: Apache-2.0
#include "guest/sleep_trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dormouse::guest {
namespace {

using ::testing::HasSubstr;

std::string error_of(std::string_view lines) {
  const auto trace = parse_trace(fmt::format("dormouse-trace 1\n{}\n", lines), "x.trace");
  return trace ? "(no error)" : trace.error().message;
}

TEST(SleepTrace, ReadsWaits) {
  const auto trace = parse_trace("# recorded\n\ndormouse-trace 1\n0 5000000 ns/a event - 100  # the first\r\n10 6000000 ns/b timer 6000000 200\n5000100\t7000000 ns/a inbound 8000000 150", "x");
  ASSERT_TRUE(trace) << trace.error().message;
  EXPECT_THAT(trace->guests, ::testing::ElementsAre("ns/a", "ns/b"));
  ASSERT_EQ(trace->waits.size(), 3U);
  EXPECT_EQ(trace->waits[0].woken, std::chrono::seconds(5));
  EXPECT_EQ(trace->waits[1].cause, WakeCause::Deadline);
  EXPECT_EQ(trace->waits[1].deadline, std::chrono::seconds(6));
  EXPECT_EQ(trace->waits[2].guest, 0U);
  EXPECT_EQ(trace->waits[2].bytes, 150U);
}

TEST(SleepTrace, WhatIsWrittenIsReadAsTheSame) {
  const std::string lines = "0 5000000 a event - 100\n1 6000000 b timer 6000000 200\n6000001 6000001 b signal 6000001 0\n";
  const auto trace = parse_trace("dormouse-trace 1\n" + lines, "x");
  ASSERT_TRUE(trace);
  std::string again;
  for (const TraceWait& wait : trace->waits) again += trace_line(trace->guests[wait.guest], wait);
  EXPECT_EQ(again, lines);
}

TEST(SleepTrace, RefusesWhatCannotHaveBeenWithItsLine) {
  EXPECT_THAT(error_of("5 4 a event - 1"), HasSubstr("x.trace:2: WOKEN is before PARKED"));
  EXPECT_THAT(error_of("5 6 a event 4 1"), HasSubstr("DEADLINE is before PARKED"));
  EXPECT_THAT(error_of("5 6 a timer - 1"), HasSubstr("woken by its timer"));
  EXPECT_THAT(error_of("5 6 a timer 7 1"), HasSubstr("woken by its timer"));
  EXPECT_THAT(error_of("5 9 a event - 1\n8 10 a event - 1"), HasSubstr("x.trace:3: a parks before it was woken"));
  EXPECT_THAT(error_of("5 9 a event - 1\n5 8 b event - 1"), HasSubstr("in the order of WOKEN"));
}

TEST(SleepTrace, RefusesWhatIsNoTrace) {
  EXPECT_THAT(parse_trace("", "x").error().message, HasSubstr("x: empty"));
  EXPECT_THAT(parse_trace("1 2 a event - 1\n", "x").error().message, HasSubstr("x:1: not a trace"));
  EXPECT_THAT(parse_trace("dormouse-trace 2\n", "x").error().message, HasSubstr("must begin with \"dormouse-trace 1\""));
  EXPECT_THAT(error_of("1 2 a event -"), HasSubstr("expected PARKED WOKEN"));
  EXPECT_THAT(error_of("1 2 a event - 1 1"), HasSubstr("more than six"));
  for (const char* line : {"-1 2 a event - 1", "1.5 2 a event - 1", "1 x a event - 1", "1 2 a watch - 1", "1 2 a event x 1", "1 2 a event - -1", "1 99999999999999999999 a event - 1", "1 40000000000000 a event - 1", "1 2 a event - 8589934593"}) {
    EXPECT_THAT(error_of(line), HasSubstr("x.trace:2: ")) << line;
  }
  EXPECT_THAT(error_of("1 2 " + std::string(513, 'a') + " event - 1"), HasSubstr("longer than 512"));
}

}  // namespace
}  // namespace dormouse::guest
