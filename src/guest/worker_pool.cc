// SPDX-License-Identifier: Apache-2.0
#include "guest/worker_pool.h"

#include <pthread.h>

#include <algorithm>

#include "base/check.h"

namespace dormouse::guest {
namespace {

void pause_processor() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb");
#endif
}

}  // namespace

WorkerPool::WorkerPool(Options options, const Clock& clock) : options_(std::move(options)), clock_(clock) {
  CHECK(options_.workers > 0);
  for (unsigned i = 0; i < options_.workers; ++i) workers_.push_back(std::make_unique<Worker>());
  for (unsigned i = 0; i < options_.workers; ++i) {
    Worker& worker = *workers_[i];
    worker.thread = std::thread([this, &worker] { work(worker); });
    ::pthread_setname_np(worker.thread.native_handle(), "guests");
  }
}

WorkerPool::~WorkerPool() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    for (const auto& worker : workers_) worker->ready.notify_one();
  }
  for (const auto& worker : workers_) worker->thread.join();
}

void WorkerPool::start(std::shared_ptr<Task> task) {
  const std::lock_guard lock(mutex_);
  CHECK(task->state_ == Task::State::New);
  Task& started = *task;
  tasks_.insert(std::move(task));
  enqueue(started);
}

void WorkerPool::wake(Task& task) {
  const std::lock_guard lock(mutex_);
  switch (task.state_) {
    case Task::State::Idle: enqueue(task); break;
    case Task::State::Running: task.state_ = Task::State::RunningWoken; break;
    case Task::State::New:
    case Task::State::Queued:
    case Task::State::RunningWoken:
    case Task::State::Throttled:  // Looks for itself when its time comes.
    case Task::State::Finished: break;
  }
}

WorkerPool::Counters WorkerPool::counters() const {
  const std::lock_guard lock(mutex_);
  return counters_;
}

void WorkerPool::enqueue(Task& task) {
  if (task.deadline_) {
    timers_.erase({*task.deadline_, &task});
    task.deadline_.reset();
  }
  task.state_ = Task::State::Queued;
  queue_.push_back(&task);
  rouse_one();
}

// Prefers the timekeeper: it looks at the timers again when it is done, and nobody else need wake.
WorkerPool::Worker* WorkerPool::idle_worker() const {
  if (timekeeper_ != nullptr && !timekeeper_->signalled) return timekeeper_;
  const auto found = std::ranges::find_if(workers_, [](const auto& worker) { return worker->idle && !worker->signalled; });
  return found == workers_.end() ? nullptr : found->get();
}

void WorkerPool::rouse(Worker& worker) {
  worker.signalled = true;
  worker.ready.notify_one();
}

void WorkerPool::rouse_one() {
  if (std::exchange(lookout_, nullptr) != nullptr) {
    look_out_.store(false, std::memory_order_release);
  } else if (Worker* worker = idle_worker()) {
    rouse(*worker);
  }
}

void WorkerPool::expect() {
  if (!options_.look_out) return;
  const std::lock_guard lock(mutex_);
  if (!queue_.empty()) return;
  if (lookout_ == nullptr) {
    lookout_ = idle_worker();
    if (lookout_ == nullptr) return;
    rouse(*lookout_);
  }
  expected_on_.store(options_.processor(), std::memory_order_relaxed);
  look_out_.store(true, std::memory_order_release);
}

void WorkerPool::expect_no_more() { look_out_.store(false, std::memory_order_release); }

void WorkerPool::look_out(std::unique_lock<std::mutex>& lock, Worker& self) {
  lock.unlock();
  const Nanoseconds until = clock_.monotonic() + kLookOutMax;
  // On the processor of whoever expects it, looking out would keep him from what is expected: so in one of four (2 cores, Linux 6.18).
  while (look_out_.load(std::memory_order_acquire) && options_.processor() != expected_on_.load(std::memory_order_relaxed) && clock_.monotonic() < until) pause_processor();
  lock.lock();
  if (lookout_ == &self) lookout_ = nullptr;
}

void WorkerPool::wait(std::unique_lock<std::mutex>& lock, Worker& self) {
  self.idle = true;
  self.signalled = false;
  ++counters_.rests;
  if (!timers_.empty() && timekeeper_ == nullptr) {
    timekeeper_ = &self;
    timekeeper_until_ = timers_.begin()->first;
    // The deadline is in the clock's time; what matters to the kernel is how far away it is.
    const Nanoseconds left = timekeeper_until_ - clock_.monotonic();
    if (left > Nanoseconds(0)) self.ready.wait_for(lock, left);
    timekeeper_ = nullptr;
  } else {
    self.ready.wait(lock);
  }
  self.idle = false;
  ++counters_.worker_wakeups;
}

void WorkerPool::queue_due_tasks() {
  if (timers_.empty()) return;
  const Nanoseconds now = clock_.monotonic();
  while (!timers_.empty() && timers_.begin()->first <= now) {
    Task& task = *timers_.begin()->second;
    timers_.erase(timers_.begin());
    task.deadline_.reset();
    task.state_ = Task::State::Queued;
    queue_.push_back(&task);
    ++counters_.timer_wakeups;
  }
}

void WorkerPool::settle(Task& task, Task::Slice slice) {
  const bool woken = task.state_ == Task::State::RunningWoken;
  switch (slice.outcome) {
    case Task::Outcome::Again:
      task.state_ = Task::State::Queued;
      queue_.push_back(&task);
      return;
    case Task::Outcome::Finished:
      task.state_ = Task::State::Finished;
      return;
    case Task::Outcome::Parked:
      if (woken) {
        task.state_ = Task::State::Queued;
        queue_.push_back(&task);
        return;
      }
      task.state_ = Task::State::Idle;
      break;
    case Task::Outcome::Throttled:
      CHECK(slice.resume_at.has_value());
      task.state_ = Task::State::Throttled;
      break;
  }
  if (!slice.resume_at) return;
  task.deadline_ = slice.resume_at;
  timers_.insert({*slice.resume_at, &task});
  // The timekeeper sleeps past this one: let it look again.
  if (timekeeper_ != nullptr && *slice.resume_at < timekeeper_until_ && !timekeeper_->signalled) rouse(*timekeeper_);
}

void WorkerPool::work(Worker& self) {
  const std::shared_ptr<void> thread_context = options_.on_thread_start ? options_.on_thread_start() : nullptr;
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    queue_due_tasks();
    if (queue_.empty()) {
      if (lookout_ == &self) look_out(lock, self);
      else wait(lock, self);
      continue;
    }
    if (lookout_ == &self) lookout_ = nullptr;
    Task& task = *queue_.front();
    queue_.pop_front();
    task.state_ = Task::State::Running;
    ++counters_.slices;
    if (!queue_.empty()) rouse_one();
    lock.unlock();
    const Task::Slice slice = task.run_slice();
    std::shared_ptr<Task> finished;
    lock.lock();
    settle(task, slice);
    if (slice.outcome == Task::Outcome::Finished) {
      const auto owned = tasks_.find(task.shared_from_this());
      CHECK(owned != tasks_.end());
      finished = *owned;
      tasks_.erase(owned);
    }
    if (finished) {
      // Its destructor may be long, and may wake others.
      lock.unlock();
      finished.reset();
      lock.lock();
    }
  }
}

}  // namespace dormouse::guest
