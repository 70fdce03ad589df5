// SPDX-License-Identifier: Apache-2.0
// Whole runs of real guests (tests/guests/c) on a pool: how they end, what they may use, and that they do not harm each other.
#include "guest/run.h"

#include <thread>
#include <utility>

#include "guest/run_test_support.h"

namespace dormouse::guest {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using dormouse::testing::mappings;
using dormouse::testing::open_files;
using testing::RunTest;
using testing::Started;

TEST_F(RunTest, PassesTheExitCodeOn) {
  Started run = start("exit_code", {"42"});
  const wasm::Exit exit = run.exit();
  EXPECT_EQ(exit.kind, wasm::Exit::Kind::Exited);
  EXPECT_EQ(exit.code, 42U);
}

TEST_F(RunTest, ATrapEndsOnlyThatGuestAndSaysWhere) {
  Started other = start("idle");
  Started run = start("trap", {"divide-by-zero"});
  const wasm::Exit exit = run.exit();
  EXPECT_EQ(exit.kind, wasm::Exit::Kind::Trapped);
  EXPECT_THAT(exit.message, HasSubstr("divide by zero"));
  EXPECT_THAT(exit.backtrace, ::testing::Contains(HasSubstr("divide")));
  other.output->saw("idle").wait();
  other.run->kill();
  EXPECT_EQ(other.exit().kind, wasm::Exit::Kind::Stopped);
}

TEST_F(RunTest, AnEndlessLoopStarvesNobodyAndCanBeEnded) {
  // One worker for both: the second runs only because the first is pre-empted.
  Started spinning = start("spin");
  spinning.output->saw("spinning").wait();
  Started run = start("exit_code", {"0"});
  EXPECT_EQ(run.exit().code, 0U);
  EXPECT_GT(spinning.run->usage().preemptions, 0U);
  spinning.run->kill();
  EXPECT_EQ(spinning.exit().kind, wasm::Exit::Kind::Stopped);
}

TEST_F(RunTest, ACpuLimitHoldsABusyGuestBack) {
  // So little that even a starved machine lets it reach its quota.
  Started spinning = start("spin", {}, 64 << 20, 10);
  spinning.output->saw("spinning").wait();
  const Nanoseconds begin = clock_.monotonic();
  // Waits by doing: as many other guests as it takes for two seconds to pass.
  while (clock_.monotonic() - begin < 2s) EXPECT_EQ(start("exit_code", {"0"}).exit().code, 0U);
  const Nanoseconds elapsed = clock_.monotonic() - begin;
  const Nanoseconds used = spinning.run->usage().cpu;
  EXPECT_GT(spinning.run->usage().throttles, 0U);
  // 1 % of a core, and a slice or two of overdraft.
  EXPECT_LT(used, elapsed / 100 + 100ms);
  spinning.run->kill();
  spinning.exit();
}

TEST_F(RunTest, MemoryPastTheLimitIsRefusedAndNoted) {
  Started run = start("grow", {}, 8 << 20);
  const wasm::Exit exit = run.exit();
  EXPECT_EQ(exit.code, 7U);
  EXPECT_TRUE(run.memory_refused);
  EXPECT_LE(run.run->usage().memory_peak_bytes, 8U << 20);
}

TEST_F(RunTest, FilesInTmpCountAgainstTheLimit) {
  Started run = start("fill_tmp", {}, 4 << 20);
  const wasm::Exit exit = run.exit();
  EXPECT_EQ(exit.code, 0U) << run.output->text();
  EXPECT_TRUE(run.memory_refused);
}

TEST_F(RunTest, ASignalReachesWhoListensAndNobodyElse) {
  Started listening = start("signals");
  listening.output->saw("ready").wait();
  EXPECT_TRUE(listening.run->deliver_signal(15));
  EXPECT_EQ(listening.exit().code, 0U);
  EXPECT_THAT(listening.output->text(), HasSubstr("signal 15"));
  Started deaf = start("idle");
  deaf.output->saw("idle").wait();
  EXPECT_FALSE(deaf.run->deliver_signal(15));
  deaf.run->kill();
  deaf.exit();
}

TEST_F(RunTest, TwentyIdleGuestsWakeNobody) {
  std::vector<Started> idle;
  for (int i = 0; i < 20; ++i) idle.push_back(start("idle"));
  for (Started& run : idle) run.output->saw("idle").wait();
  // One that comes and goes proves that the pool has nothing left to do before and after.
  start("exit_code", {"0"}).exit();
  const auto before = pool_->counters();
  const std::uint64_t ticks_before = engine_->ticks();
  start("exit_code", {"0"}).exit();
  const auto after = pool_->counters();
  EXPECT_EQ(after.timer_wakeups, before.timer_wakeups);
  EXPECT_LE(engine_->ticks() - ticks_before, 3U);
  for (Started& run : idle) EXPECT_EQ(run.run->usage().wakeups, 0U);
  for (Started& run : idle) run.run->kill();
  for (Started& run : idle) run.exit();
}

TEST_F(RunTest, AWakeForNothingLosesNoLaterOne) {
  Started run = start("signals");
  run.output->saw("ready").wait();
  for (int i = 0; i < 1000; ++i) pool_->wake(*run.run);
  EXPECT_TRUE(run.run->deliver_signal(15));
  EXPECT_EQ(run.exit().code, 0U);
}

TEST_F(RunTest, EachWakeHasItsCause) {
  Started run = start("signals");
  run.output->saw("ready").wait();
  EXPECT_FALSE(run.wakes->last());
  await(run, Run::Rest::State::Parked);  // What comes before it sleeps wakes nobody.
  for (int i = 0; i < 100; ++i) pool_->wake(*run.run);
  EXPECT_TRUE(run.run->deliver_signal(15));
  EXPECT_EQ(run.exit().code, 0U);
  // What it was woken for nothing is no wake-up.
  ASSERT_EQ(run.wakes->recent().size(), 1U);
  const auto wake = *run.wakes->last();
  EXPECT_EQ(wake.cause.kind, wasi::WakeCause::Kind::Signal);
  EXPECT_TRUE(wake.over);
  EXPECT_TRUE(wake.active);
  EXPECT_FALSE(wake.was_paged_out);
}

TEST_F(RunTest, ATimerThatDoesNothingIsLateMoreAndMoreUnlessItMayNot) {
  // Both tick each millisecond. The one with slack sleeps through ever more of the other's ticks.
  Started exact = start("tick", {"1"});
  Started slack = start("tick", {"1"}, 64 << 20, {}, std::chrono::seconds(1));
  // 1,500 ticks are 1.5 s at least, and after 400 ms of quiet the slack is 50 ms and more.
  while (exact.wakes->totals().by_cause[0] < 1500) start("exit_code", {"0"}).exit();
  EXPECT_LT(slack.wakes->totals().by_cause[0], exact.wakes->totals().by_cause[0] / 2);
  for (Started* run : {&exact, &slack}) run->run->kill();
  for (Started* run : {&exact, &slack}) run->exit();
}

TEST_F(RunTest, ATimerThatDoesSomethingEarnsNoSlack) {
  Started run = start("tick", {"1", "8"}, 64 << 20, {}, std::chrono::hours(1));
  while (run.wakes->totals().by_cause[0] < 1000) start("exit_code", {"0"}).exit();
  // Seven idle wakes between two lines are one too few.
  for (const WakeLog::Wake& wake : run.wakes->recent()) EXPECT_EQ(wake.cause.kind, wasi::WakeCause::Kind::Timer);
  EXPECT_NEAR(static_cast<double>(run.wakes->totals().idle), 1000.0 * 7 / 8, 100);
  run.run->kill();
  run.exit();
}

TEST_F(RunTest, NothingIsLeftOfGuestsThatHaveEnded) {
  const auto round = [&] {
    std::vector<std::shared_ptr<MemoryAccount>> accounts;
    for (int i = 0; i < 20; ++i) {
      Started run = start(i % 3 == 0 ? "trap" : i % 3 == 1 ? "grow" : "exit_code", {i % 3 == 0 ? "unreachable" : "0"}, 4 << 20);
      run.ended.wait();
      // The pool drops its share of a run a moment after its end, on another thread; the account is the last that a run lets go of.
      run.run.reset();
      while (run.account.use_count() > 1) std::this_thread::yield();
      accounts.push_back(run.account);
    }
    for (const auto& account : accounts) EXPECT_EQ(account->used_bytes(), 0U);
  };
  round();
  const auto fds = open_files();
  const auto maps = mappings();
  for (int i = 0; i < 5; ++i) round();
  EXPECT_LE(mappings(), maps + 8);
  pool_.reset();  // A worker may hold the last share of a module for a moment longer.
  EXPECT_LE(open_files(), fds);
}

}  // namespace
}  // namespace dormouse::guest
