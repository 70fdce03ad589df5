// SPDX-License-Identifier: Apache-2.0
// Real guests whose timers are put off: by slack, and by a stand-in.
#include <thread>

#include "base/log.h"
#include "guest/run_test_support.h"
#include "paging/page_store.h"
#include "paging/test_support.h"

namespace dormouse::guest {
namespace {

using namespace std::chrono_literals;
using testing::RunTest;
using testing::Started;
using Kind = wasi::WakeCause::Kind;

// Lets the guest sleep, from its deadline on, until it is told otherwise.
class Patient final : public wasi::StandIn {
 public:
  void on_wake(wasi::WakeCause::Kind cause, Nanoseconds) override {
    if (cause == Kind::Timer) ++timer_wakes;
  }
  void on_park(Nanoseconds, Activity activity) override { other_calls += activity.other; }
  std::optional<Nanoseconds> on_deadline(Nanoseconds now) override {
    ++asked;
    if (lets_go) return std::nullopt;
    return now + 1h;
  }
  void set_wake(std::function<void()> wake) override {
    const std::lock_guard lock(mutex_);
    wake_ = std::move(wake);
  }
  Counters counters() const override { return {}; }
  void wake() {
    const std::lock_guard lock(mutex_);
    if (wake_) wake_();
  }
  std::atomic<bool> lets_go{false};
  std::atomic<int> asked{0}, timer_wakes{0};
  std::atomic<std::uint64_t> other_calls{0};

 private:
  std::mutex mutex_;
  std::function<void()> wake_;
};

class StandInTest : public RunTest {
 protected:
  StandInTest() { store_ = paging::PageStore::create({.directory = folder_.path, .budget_bytes = 1 << 30, .allow_ram_file_system = true}, disk_, log_).value(); }
  ~StandInTest() override { pool_.reset(); }
  void adjust(Run::Options& options) override {
    options.pages = store_.get();
    options.stand_in = stand_in_;
  }
  void await_asked(int times) {
    while (stand_in_->asked < times) std::this_thread::yield();
  }

  paging::testing::Scratch folder_;
  paging::testing::FaultyDisk disk_;
  Log log_{{.level = Log::Level::Error}, clock_};
  std::unique_ptr<paging::PageStore> store_;
  std::shared_ptr<Patient> stand_in_ = std::make_shared<Patient>();
};

TEST_F(StandInTest, KeepsTheGuestAsleepPastItsDeadlineUntilItLetsItGo) {
  Started run = start("tick", {"1", "1"});
  await_asked(1);
  for (int i = 0; i < 20; ++i) stand_in_->wake();
  await_asked(2);
  EXPECT_EQ(stand_in_->timer_wakes, 0);
  EXPECT_EQ(run.run->usage().wakeups, 0U);
  auto ticked = run.output->saw("tick\n");
  stand_in_->lets_go = true;
  stand_in_->wake();
  ticked.wait();
  EXPECT_GE(stand_in_->timer_wakes, 1);
  while (stand_in_->other_calls == 0) std::this_thread::yield();
  run.run->kill();
  run.exit();
}

TEST_F(StandInTest, AnEventWakesTheGuestAllTheSame) {
  Started run = start("signals");
  run.output->saw("ready").wait();
  await(run, Run::Rest::State::Parked);  // What comes before it sleeps wakes nobody.
  EXPECT_TRUE(run.run->deliver_signal(15));
  EXPECT_EQ(run.exit().code, 0U);
  EXPECT_EQ(run.wakes->last()->cause.kind, Kind::Signal);
}

TEST_F(StandInTest, AGuestWhoseTimerIsPutOffCanLeaveRamAndEnd) {
  Started run = start("tick", {"1"});
  await_asked(1);
  run.run->request_page_out();
  await(run, Run::Rest::State::PagedOut);
  const auto slices = pool_->counters().slices;
  // It does not go round and round because its own deadline is past.
  for (int i = 0; i < 5; ++i) start("exit_code", {"0"}).exit();
  EXPECT_LE(pool_->counters().slices - slices, 100U);
  run.run->kill();
  EXPECT_EQ(run.exit().kind, wasm::Exit::Kind::Stopped);
  stand_in_->wake();  // Nobody is there any more.
}

}  // namespace
}  // namespace dormouse::guest
