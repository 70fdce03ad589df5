// SPDX-License-Identifier: Apache-2.0
#include "host/wakes_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dormouse::host {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using Kind = wasi::WakeCause::Kind;

PodWakes example() {
  guest::WakeLog log;
  log.begin({.at = 1'800'000'000s + 250ms, .cause = {.kind = Kind::Timer}});
  log.end(80us, 60us, false);
  log.begin({.at = 1'800'000'005s, .cause = {.kind = Kind::Watch, .what = std::make_shared<const std::string>("watch greetings in team-a: MODIFIED team-a/\"hello\"")}, .was_paged_out = true});
  log.end(12ms, 3ms, true);
  log.begin({.at = 1'800'000'009s, .cause = {.kind = Kind::Signal}});
  return {.name_space = "team-a", .name = "greeter", .containers = {{.name = "main", .totals = log.totals(), .recent = log.recent(), .timer_slack_max = 8s}}};
}

TEST(WakesView, TheTableTellsTheLatestFirstWithCauseAndCost) {
  const auto table = wakes_table(wakes_json(example(), 1'800'000'010s));
  ASSERT_TRUE(table) << table.error().message;
  EXPECT_EQ(*table,
            "team-a/greeter main: woke 3 times (timer 1, watch 1, signal 1); 1 did nothing; timers that do nothing may be 8.0s late\n"
            "AT                         AGO    AWAKE    CPU     DID       FROM   CAUSE\n"
            "2027-01-15T08:00:09.000Z   1.0s   now      -       -         ram    signal\n"
            "2027-01-15T08:00:05.000Z   5.0s   12.0ms   3.0ms   I/O       disk   watch greetings in team-a: MODIFIED team-a/\"hello\"\n"
            "2027-01-15T08:00:00.250Z   9.8s   80us     60us    nothing   ram    timer\n");
}

TEST(WakesView, AGuestThatNeverWokeHasNoTable) {
  const auto table = wakes_table(wakes_json({.name_space = "a", .name = "b", .containers = {{.name = "c"}}}, 5s));
  ASSERT_TRUE(table) << table.error().message;
  EXPECT_EQ(*table, "a/b c: woke 0 times; 0 did nothing; timers are exact\n");
}

TEST(WakesView, TellsWhatWasDoneInTheGuestsStead) {
  const auto table = wakes_table(wakes_json({.name_space = "a", .name = "b", .containers = {{.name = "c", .offload = {.looks = 40, .absorbed = 20, .changed = 1, .failed = 2, .slept_longest = 3}, .offload_max_sleep = 300s}}}, 5s));
  ASSERT_TRUE(table) << table.error().message;
  EXPECT_THAT(*table, HasSubstr("looks done for it: 40 (20 wake-ups spared); woken for 1 changes, 2 failures, 3 longest sleeps\n"));
}

TEST(WakesView, ForeignBytesAreAnError) {
  EXPECT_THAT(wakes_table("nonsense").error().message, HasSubstr("not JSON"));
  EXPECT_THAT(wakes_table("{}").error().message, HasSubstr("one version"));
  EXPECT_THAT(wakes_table(R"({"now":1,"containers":[{"wakeups":{"timer":"x"}}]})").error().message, HasSubstr("one version"));
}

TEST(WakesView, CausesAreInAUsersWords) {
  const auto what = std::make_shared<const std::string>("list pods");
  EXPECT_EQ(cause_text({.kind = Kind::Answer, .what = what}), "answer to list pods");
  EXPECT_EQ(cause_text({.kind = Kind::Answer}), "connection to the Kubernetes API");
  EXPECT_EQ(cause_text({.kind = Kind::Egress, .room = true}), "egress (room to write)");
  EXPECT_EQ(cause_text({}), "timer");
}

}  // namespace
}  // namespace dormouse::host
