// SPDX-License-Identifier: Apache-2.0
#include "guest/sleep_observer.h"

#include <utility>

namespace dormouse::guest {
namespace {

class ObservedSleep final : public SleepPolicy {
 public:
  ObservedSleep(std::shared_ptr<SleepPolicy> policy, std::shared_ptr<const SleepObserver> observer, std::string guest)
      : policy_(std::move(policy)), observer_(std::move(observer)), guest_(std::move(guest)) {}

  std::optional<Nanoseconds> on_park(const ParkInfo& park) override {
    const auto at = policy_->on_park(park);
    expect_wake(policy_->expected_wake());
    if (observer_->waited) park_ = park;
    if (observer_->parked) observer_->parked();
    return at;
  }

  void on_wake(const WakeInfo& wake) override {
    policy_->on_wake(wake);
    if (const auto park = std::exchange(park_, std::nullopt)) {
      observer_->waited(guest_, {.cause = wake.cause, .parked = park->now, .woken = wake.now, .deadline = park->deadline, .bytes = park->resident_bytes});
    }
  }

  bool may_page_out() const override { return policy_->may_page_out(); }

 private:
  const std::shared_ptr<SleepPolicy> policy_;
  const std::shared_ptr<const SleepObserver> observer_;
  const std::string guest_;
  std::optional<ParkInfo> park_;  // The one under way, if somebody wants to know.
};

}  // namespace

std::shared_ptr<SleepPolicy> observed(std::shared_ptr<SleepPolicy> policy, std::shared_ptr<const SleepObserver> observer, std::string guest) {
  if (observer == nullptr || (!observer->parked && !observer->waited)) return policy;
  return std::make_shared<ObservedSleep>(std::move(policy), std::move(observer), std::move(guest));
}

}  // namespace dormouse::guest
