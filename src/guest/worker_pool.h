// SPDX-License-Identifier: Apache-2.0
#pragma once
// The few threads that guests run on, and the timers of those that sleep.
//
// A task runs in slices. After a slice it is queued again, parked until it is woken or its deadline
// comes, or finished. Idle workers wait in the kernel; one of them, the timekeeper, waits for the earliest
// deadline, so a pool with nothing due takes no CPU and has no tick. Getting up takes a thread of a machine at rest 35 to 50 us,
// as much as all else on an event's way to its guest: who sees one come says so (expect()), and the two happen side by side.
//
//   Idle --wake()/deadline--> Queued --> Running --> Idle | Queued | Throttled | Finished
//                                           `wake()--> runs once more before it may idle
//
// Ownership: the pool shares each task from start() until it has finished.
// Threads: wake() and start() from any; a task's run_slice() on one worker at a time.

#include <sched.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/types.h"

namespace dormouse::guest {

class WorkerPool;

class Task : public std::enable_shared_from_this<Task> {
 public:
  enum class Outcome : std::uint8_t {
    Again,      // Was pre-empted: to the end of the queue.
    Parked,     // Until woken, or `resume_at`.
    Throttled,  // Until `resume_at`, whoever calls wake().
    Finished,   // Never again.
  };
  struct Slice {
    Outcome outcome = Outcome::Finished;
    std::optional<Nanoseconds> resume_at;  // Monotonic.
  };
  virtual ~Task() = default;
  virtual Slice run_slice() noexcept = 0;

 private:
  friend class WorkerPool;
  enum class State : std::uint8_t { New, Idle, Queued, Running, RunningWoken, Throttled, Finished };
  State state_ = State::New;                 // Guarded by the pool's mutex, as is deadline_.
  std::optional<Nanoseconds> deadline_;
};

class WorkerPool final : Immovable {
 public:
  struct Options {
    unsigned workers = 1;
    bool look_out = false;  // Whether expect() does anything: there is a processor for a worker beside its caller's.
    int (*processor)() = &::sched_getcpu;
    // Run by each worker around its life; gives the pre-emption timer of its thread.
    std::function<std::shared_ptr<void>()> on_thread_start;
  };
  WorkerPool(Options options, const Clock& clock);
  // REQUIRES: every task has finished or nobody needs it to: tasks left are dropped, unrun.
  ~WorkerPool();

  void start(std::shared_ptr<Task> task);
  void wake(Task& task);
  // A task will most likely be woken within microseconds: one idle worker gets up, and looks out for it until nothing is expected any more,
  // at most for kLookOutMax.
  void expect();
  void expect_no_more();

  struct Counters {
    std::uint64_t slices = 0;              // Slices run.
    std::uint64_t rests = 0;               // Times that a worker began to wait in the kernel,
    std::uint64_t worker_wakeups = 0;      // and returned.
    std::uint64_t timer_wakeups = 0;       // Tasks that ran because of their own deadline.
  };
  Counters counters() const;

 private:
  static constexpr Nanoseconds kLookOutMax = std::chrono::microseconds(200);
  struct Worker {
    std::condition_variable ready;
    bool idle = false, signalled = false;
    std::thread thread;
  };
  using Timer = std::pair<Nanoseconds, Task*>;

  void work(Worker& self);
  void enqueue(Task& task);                // With the mutex held.
  void rouse_one();                        // With the mutex held.
  Worker* idle_worker() const;             // With the mutex held.
  void rouse(Worker& worker);              // With the mutex held.
  void look_out(std::unique_lock<std::mutex>& lock, Worker& self);
  void wait(std::unique_lock<std::mutex>& lock, Worker& self);
  void queue_due_tasks();                  // With the mutex held.
  void settle(Task& task, Task::Slice slice);  // With the mutex held.

  const Options options_;
  const Clock& clock_;
  mutable std::mutex mutex_;
  std::deque<Task*> queue_;
  std::set<Timer> timers_;
  std::set<std::shared_ptr<Task>> tasks_;  // All unfinished ones.
  std::vector<std::unique_ptr<Worker>> workers_;
  Worker* timekeeper_ = nullptr;
  Nanoseconds timekeeper_until_{};
  Worker* lookout_ = nullptr;              // Gets up or looks out, and nothing was queued since.
  std::atomic<bool> look_out_{false};      // It may go on: something is expected and nothing was queued.
  std::atomic<int> expected_on_{-1};       // The processor that expect() was called on.
  Counters counters_;
  bool stopping_ = false;
};

}  // namespace dormouse::guest
