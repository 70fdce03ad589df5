// SPDX-License-Identifier: Apache-2.0
#pragma once
// The event loop: coroutines wait here for descriptors, times and events, and poll() is the one place that blocks.
//
// No tick: with nothing due, poll() gets the next deadline or none at all, so an idle program sleeps until something
// really happens.
//
// Ownership: the loop owns what it spawned, and destroys it (cancelling it) when run() is over.
// Threads: one.

#include <chrono>
#include <coroutine>
#include <cstdint>
#include <list>
#include <optional>
#include <vector>

#include "kubepp/task.h"

namespace kubepp {

using Clock = std::chrono::steady_clock;
using Time = Clock::time_point;
using Duration = Clock::duration;
inline constexpr Time kNever = Time::max();

class Loop;
class Event;

namespace detail {

struct Node {
  Node* previous = this;
  Node* next = this;
  Node() = default;
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;
  ~Node() { unlink(); }
  void unlink() {
    previous->next = next;
    next->previous = previous;
    previous = next = this;
  }
  // To the end of the list; or, given one of its members, before that.
  void append_to(Node& list) {
    unlink();
    previous = list.previous;
    next = &list;
    previous->next = this;
    list.previous = this;
  }
  bool empty() const { return next == this; }
};

// One wait of one coroutine: for a descriptor, an event or a time, whichever comes first. Lives in the coroutine's
// frame, so a cancelled coroutine waits for nothing.
class Wait : Node {
 public:
  Wait(Loop& loop, int fd, short events, Time deadline) : loop_(loop), fd_(fd), events_(events), deadline_(deadline) {}
  Wait(Loop& loop, Event& event, Event* or_event, Time deadline)
      : loop_(loop), event_(&event), or_event_(or_event), deadline_(deadline) {}

  bool told() const;
  bool await_ready() const { return told(); }
  void await_suspend(std::coroutine_handle<> coroutine);
  // False when the deadline came first.
  bool await_resume();

 private:
  friend class kubepp::Loop;
  Loop& loop_;
  int fd_ = -1;
  short events_ = 0;
  Event* event_ = nullptr;
  Event* or_event_ = nullptr;
  Time deadline_;
  bool timed_out_ = false;
  std::coroutine_handle<> coroutine_;
};

}  // namespace detail

// A flag that coroutines can wait for. set() lets all of them go on; it stays set until reset().
class Event {
 public:
  void set() { set_ = true; }
  void reset() { set_ = false; }
  bool is_set() const { return set_; }

 private:
  bool set_ = false;
};

class Loop {
 public:
  Loop() = default;
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // Runs until `main` has finished; then cancels whatever else was spawned. The result of `main` is the program's.
  int run(Task<int> main);
  // Runs `task` beside the others from the next turn on.
  void spawn(Task<> task);

  static Time now() { return Clock::now(); }

  // co_await these; each gives false if the deadline came first.
  detail::Wait readable(int fd, Time deadline = kNever);
  detail::Wait writable(int fd, Time deadline = kNever);
  detail::Wait event(Event& event, Time deadline = kNever) { return {*this, event, nullptr, deadline}; }
  detail::Wait any_event(Event& one, Event& other, Time deadline = kNever) { return {*this, one, &other, deadline}; }
  detail::Wait sleep_until(Time time) { return {*this, -1, 0, time}; }
  detail::Wait sleep(Duration duration) { return sleep_until(now() + duration); }

  // How often poll() has returned: the tests' proof that an idle program sleeps.
  std::uint64_t wakeups() const { return wakeups_; }

 private:
  friend class detail::Wait;
  // Resumes every wait that is over at `now`, and those whose event is set. True if there was one.
  bool resume_due(Time now);
  void poll_once();

  detail::Node waits_;
  std::list<Task<>> tasks_;
  std::uint64_t wakeups_ = 0;
};

}  // namespace kubepp
