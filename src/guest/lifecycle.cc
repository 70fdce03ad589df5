// SPDX-License-Identifier: Apache-2.0
#include "guest/lifecycle.h"

#include <algorithm>

#include "base/check.h"

namespace dormouse::guest {

void Lifecycle::begin(Nanoseconds now) {
  CHECK(state_ == State::Waiting || state_ == State::Terminating);
  began_at_ = now;
  started_ = true;
  if (state_ == State::Waiting) state_ = State::Running;
}

void Lifecycle::could_not_start(Nanoseconds now, Termination termination) {
  CHECK(state_ == State::Waiting || state_ == State::Terminating);
  began_at_ = now;
  after_run(now, std::move(termination), true);
}

void Lifecycle::ended(Nanoseconds now, Termination termination) {
  CHECK(state_ == State::Running || state_ == State::Terminating || state_ == State::Restarting);
  const bool failed = state_ == State::Restarting || termination.exit_code != 0 || termination.reason != "Completed";
  after_run(now, std::move(termination), failed);
}

void Lifecycle::after_run(Nanoseconds now, Termination termination, bool failed) {
  last_ = std::move(termination);
  deadline_.reset();
  const bool again = state_ != State::Terminating &&
                     (policy_ == pods::RestartPolicy::Always || (policy_ == pods::RestartPolicy::OnFailure && failed));
  if (!again) {
    state_ = State::Ended;
    return;
  }
  if (now - began_at_ >= kBackOffForgotten) back_off_ = Nanoseconds(0);
  back_off_ = back_off_.count() == 0 ? kBackOffMin : std::min(back_off_ * 2, kBackOffMax);
  deadline_ = now + back_off_;
  state_ = State::BackOff;
}

bool Lifecycle::stop(Nanoseconds now) {
  switch (state_) {
    case State::Ended: return false;
    case State::BackOff:
      state_ = State::Ended;
      deadline_.reset();
      return false;
    case State::Restarting: {  // What is left of that grace, if it is less.
      state_ = State::Terminating;
      const Nanoseconds own = now + grace_;
      deadline_ = deadline_ ? std::min(*deadline_, own) : own;
      return true;
    }
    case State::Waiting:  // Being made: could_not_start() or begin() follows.
    case State::Running:
      state_ = State::Terminating;
      deadline_ = now + grace_;
      return true;
    case State::Terminating: return true;
  }
  return false;
}

void Lifecycle::stop_at_once(Nanoseconds now) {
  if (stop(now)) deadline_ = now;
}

bool Lifecycle::restart(Nanoseconds now, Nanoseconds grace) {
  if (state_ != State::Running) return false;
  state_ = State::Restarting;
  deadline_ = now + grace;
  return true;
}

Lifecycle::Action Lifecycle::on_timer(Nanoseconds now) {
  if (!deadline_ || now < *deadline_) return Action::None;
  deadline_.reset();
  if (state_ == State::BackOff) {
    state_ = State::Waiting;
    ++restarts_;
    return Action::Start;
  }
  return state_ == State::Terminating || state_ == State::Restarting ? Action::Kill : Action::None;
}

std::string_view Lifecycle::reason() const {
  switch (state_) {
    case State::Waiting: return "ContainerCreating";
    case State::Running:
    case State::Restarting: return "Running";
    case State::BackOff: return started_ ? "CrashLoopBackOff" : "CreateContainerError";
    case State::Terminating: return "Terminating";
    case State::Ended: return last_ ? std::string_view(last_->reason) : "Completed";
  }
  return "";
}

}  // namespace dormouse::guest
