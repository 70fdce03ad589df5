// SPDX-License-Identifier: Apache-2.0
#include "kubepp/loop.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include <algorithm>

namespace kubepp {
namespace detail {

bool Wait::told() const {
  return (event_ != nullptr && event_->is_set()) || (or_event_ != nullptr && or_event_->is_set());
}

void Wait::await_suspend(std::coroutine_handle<> coroutine) {
  coroutine_ = coroutine;
  append_to(loop_.waits_);
}

bool Wait::await_resume() { return !timed_out_; }

}  // namespace detail

using detail::Node;
using detail::Wait;

detail::Wait Loop::readable(int fd, Time deadline) { return {*this, fd, POLLIN, deadline}; }
detail::Wait Loop::writable(int fd, Time deadline) { return {*this, fd, POLLOUT, deadline}; }

void Loop::spawn(Task<> task) {
  task.start();
  if (!task.done()) tasks_.push_back(std::move(task));
}

int Loop::run(Task<int> main) {
  main.start();
  while (!main.done()) {
    if (resume_due(now())) continue;
    std::erase_if(tasks_, [](const Task<>& task) { return task.done(); });
    poll_once();
  }
  tasks_.clear();
  return main.take();
}

bool Loop::resume_due(Time now) {
  // What is due now goes to a list of its own first: who is resumed may end other waits, and may begin new ones.
  Node due;
  for (Node* node = waits_.next; node != &waits_;) {
    auto* wait = static_cast<Wait*>(node);
    node = node->next;
    const bool told = wait->told();
    if (!told && wait->deadline_ > now) continue;
    wait->timed_out_ = !told;
    // In the order of their deadlines, however late we are; who was told by an event goes first.
    if (told) wait->deadline_ = Time::min();
    Node* after = due.previous;
    while (after != &due && static_cast<Wait*>(after)->deadline_ > wait->deadline_) after = after->previous;
    wait->append_to(*after->next);
  }
  const bool any = !due.empty();
  while (!due.empty()) {
    auto* wait = static_cast<Wait*>(due.next);
    wait->unlink();
    wait->coroutine_.resume();
  }
  return any;
}

void Loop::poll_once() {
  std::vector<pollfd> fds;
  Time deadline = kNever;
  bool any = false;
  for (Node* node = waits_.next; node != &waits_; node = node->next) {
    auto* wait = static_cast<Wait*>(node);
    any = true;
    deadline = std::min(deadline, wait->deadline_);
    if (wait->fd_ >= 0) fds.push_back({wait->fd_, wait->events_, 0});
  }
  if (!any || (fds.empty() && deadline == kNever)) {
    fputs("kubepp: every coroutine waits for another one\n", stderr);
    abort();
  }
  int timeout_ms = -1;
  if (deadline != kNever) {
    // Rounded up: a wake-up before its time would be one in vain.
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - now()).count();
    timeout_ms = static_cast<int>(std::clamp<long long>(left, 0, INT_MAX));
  }
  const int ready = poll(fds.data(), fds.size(), timeout_ms);
  ++wakeups_;
  if (ready < 0 && errno != EINTR) {
    perror("kubepp: poll");
    abort();
  }
  if (ready <= 0) return;
  Node due;
  for (Node* node = waits_.next; node != &waits_;) {
    auto* wait = static_cast<Wait*>(node);
    node = node->next;
    if (wait->fd_ < 0) continue;
    const bool is_ready = std::any_of(fds.begin(), fds.end(), [wait](const pollfd& fd) {
      return fd.fd == wait->fd_ && (fd.events & wait->events_) != 0 && fd.revents != 0;
    });
    if (is_ready) wait->append_to(due);
  }
  while (!due.empty()) {
    auto* wait = static_cast<Wait*>(due.next);
    wait->unlink();
    wait->coroutine_.resume();
  }
}

}  // namespace kubepp
