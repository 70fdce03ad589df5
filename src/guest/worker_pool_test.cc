// SPDX-License-Identifier: Apache-2.0
#include "guest/worker_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <thread>

namespace dormouse::guest {
namespace {

// Tasks may run until the pool has gone, so each test declares what they use before it.
class Script final : public Task {
 public:
  explicit Script(std::function<Slice()> slice) : slice_(std::move(slice)) {}
  Slice run_slice() noexcept override { return slice_(); }

 private:
  std::function<Slice()> slice_;
};

TEST(WorkerPool, RunsATaskUntilItIsFinished) {
  const SystemClock clock;
  std::promise<int> done;
  int slices = 0;
  WorkerPool pool({.workers = 2}, clock);
  pool.start(std::make_shared<Script>([&]() -> Task::Slice {
    if (++slices < 100) return {Task::Outcome::Again, {}};
    done.set_value(slices);
    return {Task::Outcome::Finished, {}};
  }));
  EXPECT_EQ(done.get_future().get(), 100);
}

TEST(WorkerPool, NoWakeIsLostHoweverItRacesWithParking) {
  const SystemClock clock;
  constexpr int kRounds = 20'000;
  std::atomic<int> sent{0}, seen{0};
  std::promise<void> done;
  WorkerPool pool({.workers = 2}, clock);
  const auto task = std::make_shared<Script>([&]() -> Task::Slice {
    seen = sent.load();
    if (seen == kRounds) {
      done.set_value();
      return {Task::Outcome::Finished, {}};
    }
    return {Task::Outcome::Parked, {}};
  });
  pool.start(task);
  for (int i = 1; i <= kRounds; ++i) {
    sent = i;
    pool.wake(*task);
  }
  done.get_future().wait();
  EXPECT_EQ(seen, kRounds);
}

TEST(WorkerPool, ResumesAtTheDeadlineAndNotBefore) {
  const SystemClock clock;
  std::promise<Nanoseconds> late_by;
  std::optional<Nanoseconds> due;
  WorkerPool pool({.workers = 2}, clock);
  pool.start(std::make_shared<Script>([&]() -> Task::Slice {
    if (!due) {
      due = clock.monotonic() + std::chrono::milliseconds(20);
      return {Task::Outcome::Parked, due};
    }
    late_by.set_value(clock.monotonic() - *due);
    return {Task::Outcome::Finished, {}};
  }));
  EXPECT_GE(late_by.get_future().get().count(), 0);
}

TEST(WorkerPool, AnEarlierDeadlineIsNotMissedBehindALaterOne) {
  const SystemClock clock;
  WorkerPool pool({.workers = 2}, clock);
  const auto sleeper = std::make_shared<Script>([&]() -> Task::Slice { return {Task::Outcome::Parked, clock.monotonic() + std::chrono::hours(1)}; });
  pool.start(sleeper);
  std::promise<void> done;
  bool parked = false;
  pool.start(std::make_shared<Script>([&]() -> Task::Slice {
    if (!std::exchange(parked, true)) return {Task::Outcome::Parked, clock.monotonic() + std::chrono::milliseconds(5)};
    done.set_value();
    return {Task::Outcome::Finished, {}};
  }));
  done.get_future().wait();
}

TEST(WorkerPool, AThrottledTaskIsNotWokenEarly) {
  const SystemClock clock;
  std::promise<Nanoseconds> ran_at;
  std::promise<void> throttled;
  std::optional<Nanoseconds> due;
  WorkerPool pool({.workers = 1}, clock);
  const auto task = std::make_shared<Script>([&]() -> Task::Slice {
    if (!due) {
      due = clock.monotonic() + std::chrono::milliseconds(30);
      return {Task::Outcome::Throttled, due};
    }
    ran_at.set_value(clock.monotonic());
    return {Task::Outcome::Finished, {}};
  });
  pool.start(task);
  // A second task on the one worker runs only after the first has been throttled.
  pool.start(std::make_shared<Script>([&]() -> Task::Slice {
    throttled.set_value();
    return {Task::Outcome::Finished, {}};
  }));
  throttled.get_future().wait();
  pool.wake(*task);
  EXPECT_GE(ran_at.get_future().get(), *due);
}

TEST(WorkerPool, ABusyTaskDoesNotKeepOthersFromRunning) {
  const SystemClock clock;
  std::atomic<bool> stop{false};
  WorkerPool pool({.workers = 1}, clock);
  pool.start(std::make_shared<Script>([&]() -> Task::Slice { return {stop ? Task::Outcome::Finished : Task::Outcome::Again, {}}; }));
  std::promise<void> done;
  pool.start(std::make_shared<Script>([&]() -> Task::Slice {
    done.set_value();
    return {Task::Outcome::Finished, {}};
  }));
  done.get_future().wait();
  stop = true;
}

TEST(WorkerPool, SleepingTasksWakeNobodyButAtTheirDeadlines) {
  const SystemClock clock;
  constexpr int kTasks = 20, kNaps = 5;
  std::atomic<int> left{kTasks};
  std::promise<void> done;
  WorkerPool pool({.workers = 2}, clock);
  for (int i = 0; i < kTasks; ++i) {
    auto naps = std::make_shared<int>(0);
    pool.start(std::make_shared<Script>([&, naps]() -> Task::Slice {
      if ((*naps)++ < kNaps) return {Task::Outcome::Parked, clock.monotonic() + std::chrono::milliseconds(10)};
      if (--left == 0) done.set_value();
      return {Task::Outcome::Finished, {}};
    }));
  }
  done.get_future().wait();
  const auto counters = pool.counters();
  EXPECT_EQ(counters.timer_wakeups, kTasks * kNaps);
  EXPECT_EQ(counters.slices, kTasks * (kNaps + 1));
}

// A pool whose workers have all gone to rest.
void await_rest(const WorkerPool& pool, std::uint64_t rests) {
  while (pool.counters().rests < rests) std::this_thread::yield();
}

// The test's thread is on another processor than the workers, whatever the machine.
thread_local bool on_a_worker = true;
int processor_of_its_own() { return on_a_worker ? 0 : 1; }

TEST(WorkerPool, WhoIsExpectedFindsAWorkerThatIsUp) {
  on_a_worker = false;
  const ManualClock clock;  // Nobody gives up.
  std::atomic<int> runs{0};
  WorkerPool pool({.workers = 2, .look_out = true, .processor = processor_of_its_own}, clock);
  const auto task = std::make_shared<Script>([&]() -> Task::Slice { return {++runs < 101 ? Task::Outcome::Parked : Task::Outcome::Finished, {}}; });
  await_rest(pool, 2);
  pool.start(task);
  std::uint64_t rests = 3;
  for (int round = 1; round <= 100; ++round, rests += 1) {
    await_rest(pool, rests);
    ASSERT_EQ(runs, round);
    pool.expect();
    pool.wake(*task);
    pool.expect_no_more();
  }
  await_rest(pool, rests);
  EXPECT_EQ(runs, 101);
  EXPECT_EQ(pool.counters().worker_wakeups, 101U) << "one worker a wake-up, not another for the task";
}

TEST(WorkerPool, NobodyLooksOutOnTheProcessorOfWhoeverExpectsHim) {
  const ManualClock clock;
  std::promise<void> done;
  WorkerPool pool({.workers = 1, .look_out = true, .processor = [] { return 0; }}, clock);
  await_rest(pool, 1);
  pool.expect();
  await_rest(pool, 2);
  pool.start(std::make_shared<Script>([&]() -> Task::Slice {
    done.set_value();
    return {Task::Outcome::Finished, {}};
  }));
  done.get_future().wait();
}

TEST(WorkerPool, AnExpectationThatComesToNothingLeavesNobodyUp) {
  const SystemClock clock;
  std::promise<void> done;
  WorkerPool pool({.workers = 2, .look_out = true}, clock);
  await_rest(pool, 2);
  for (std::uint64_t round = 1; round <= 100; ++round) {
    pool.expect();
    if (round % 2 == 0) pool.expect_no_more();  // Else it is given up after kLookOutMax.
    await_rest(pool, 2 + round);
  }
  EXPECT_EQ(pool.counters().slices, 0U);
  pool.start(std::make_shared<Script>([&]() -> Task::Slice {
    done.set_value();
    return {Task::Outcome::Finished, {}};
  }));
  done.get_future().wait();
}

TEST(WorkerPool, NoWakeIsLostHoweverItRacesWithExpectations) {
  const SystemClock clock;
  constexpr int kRounds = 20'000;
  std::atomic<int> sent{0}, seen{0};
  WorkerPool pool({.workers = 2, .look_out = true}, clock);
  // Each waits for the other's answer, so that one lost wake-up is the end.
  const auto make = [&](int parity) {
    return std::make_shared<Script>([&, parity]() -> Task::Slice {
      if (const int now = sent.load(); now % 2 == parity) seen = now;
      return {Task::Outcome::Parked, {}};
    });
  };
  const std::shared_ptr<Script> tasks[] = {make(0), make(1)};
  for (const auto& task : tasks) pool.start(task);
  for (int i = 1; i <= kRounds; ++i) {
    pool.expect();
    sent = i;
    pool.wake(*tasks[i % 2]);
    if (i % 3 == 0) pool.expect_no_more();
    while (seen.load() != i) std::this_thread::yield();
  }
}

TEST(WorkerPool, WithoutAProcessorToSpareNobodyLooksOut) {
  const SystemClock clock;
  WorkerPool pool({.workers = 1}, clock);
  await_rest(pool, 1);
  pool.expect();
  pool.expect_no_more();
  EXPECT_EQ(pool.counters().worker_wakeups, 0U);
}

}  // namespace
}  // namespace dormouse::guest
