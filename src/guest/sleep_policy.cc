// SPDX-License-Identifier: Apache-2.0
#include "guest/sleep_policy.h"

#include <algorithm>
#include <utility>

#include "guest/predictor.h"

namespace dormouse::guest {
namespace {

class PlannedSleep final : public SleepPolicy {
 public:
  PlannedSleep(std::unique_ptr<Predictor> predictor, bool may_page_out, bool waits_for_answers = false)
      : predictor_(std::move(predictor)), may_page_out_(may_page_out), waits_for_answers_(waits_for_answers) {}

  std::optional<Nanoseconds> on_park(const ParkInfo& park) override {
    if (!std::exchange(started_, true)) last_event_ = park.now;
    Wait wait{.since_event = std::max(park.now - last_event_, Nanoseconds(0)), .until_deadline = {}};
    if (park.deadline) wait.until_deadline = std::max(*park.deadline - park.now, Nanoseconds(0));
    const Nanoseconds event = park.now + std::min(predictor_->expected(wait.since_event), kForever);
    expect_wake(park.deadline ? std::min(*park.deadline, event) : event);
    const Nanoseconds stay = predictor_->plan(wait).stay;
    if (stay >= kForever || (wait.until_deadline && stay >= *wait.until_deadline)) return std::nullopt;
    return waits_for_answers_ && park.idled ? park.now : park.now + stay;
  }

  void on_wake(const WakeInfo& wake) override {
    if (wake.cause == WakeCause::Deadline) return;
    if (started_) predictor_->on_event(std::max(wake.now - last_event_, Nanoseconds(0)));
    started_ = true;
    last_event_ = wake.now;
  }

  bool may_page_out() const override { return may_page_out_; }

 private:
  const std::unique_ptr<Predictor> predictor_;
  const bool may_page_out_;
  const bool waits_for_answers_;  // And for nothing else: who has asked nothing need not stay.
  bool started_ = false;  // Before the first park nothing is known.
  Nanoseconds last_event_{};
};

}  // namespace

std::shared_ptr<SleepPolicy> make_sleep_policy(const pods::SleepMode& mode) {
  using Kind = pods::SleepMode::Kind;
  switch (mode.kind) {
    case Kind::Never: return std::make_shared<PlannedSleep>(make_keep_alive(kForever), false);
    case Kind::Pressure: return std::make_shared<PlannedSleep>(make_keep_alive(kForever), true);
    case Kind::Immediately: return std::make_shared<PlannedSleep>(make_keep_alive(kSettleTime), true, true);
    case Kind::Idle: return std::make_shared<PlannedSleep>(make_keep_alive(mode.idle), true);
    case Kind::Predictive: break;
  }
  return std::make_shared<PlannedSleep>(make_cost_predictor(), true);
}

}  // namespace dormouse::guest
