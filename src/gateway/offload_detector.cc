// SPDX-License-Identifier: Apache-2.0
#include "gateway/offload_detector.h"

#include <algorithm>

#include "base/check.h"

namespace dormouse::gateway {
namespace {

// An answer that tells a client to try again, or to ask differently, is its own to act on.
bool settled(int status) { return (status >= 200 && status < 300) || status == 403 || status == 404; }

std::size_t head_bytes(const kube::Request& request) {
  std::size_t bytes = request.method.size() + request.target.size();
  for (const auto& [name, value] : request.headers) bytes += name.size() + value.size();
  return bytes;
}

bool same_request(const kube::Request& a, const kube::Request& b) { return a.method == b.method && a.target == b.target && a.headers == b.headers; }

}  // namespace

void OffloadDetector::forget() {
  pattern_.clear();
  equal_cycles_ = 0;
  period_ = {};
}

void OffloadDetector::release(Release why) {
  plan_.reset();
  ++generation_;
  release_ = why;
  let_go_ = why != Release::Event;
  // After its longest sleep the guest looks for itself, and if that is as ever it goes on sleeping.
  if (why != Release::SleptLongest) forget();
}

// In any order: a guest may make its looks side by side.
bool OffloadDetector::cycle_equals_pattern() const {
  if (cycle_.looks.size() != pattern_.size()) return false;
  std::vector<bool> matched(pattern_.size());
  for (const Look& look : cycle_.looks) {
    std::size_t i = 0;
    while (i < pattern_.size() && (matched[i] || pattern_[i].answer != look.answer || !same_request(pattern_[i].request, look.request))) ++i;
    if (i == pattern_.size()) return false;
    matched[i] = true;
  }
  return true;
}

// What the guest did since its last wake-up by a timer is judged, and a new cycle begins.
void OffloadDetector::end_cycle(Nanoseconds now) {
  const bool nothing = cycle_.plain && !cycle_.did_kube && cycle_.looks.empty();
  if (!nothing) {
    const bool settled_all = std::ranges::all_of(cycle_.looks, [](const Look& look) { return settled(look.answer.status); });
    if (!cycle_.plain || cycle_.looks.empty() || !settled_all) {
      forget();
    } else if (equal_cycles_ > 0 && cycle_equals_pattern()) {
      const Nanoseconds interval = cycle_.start - pattern_start_;
      period_ = std::max(kPeriodMin, equal_cycles_ == 1 ? interval : std::min(period_, interval));
      ++equal_cycles_;
      pattern_start_ = cycle_.start;
    } else {
      pattern_ = std::move(cycle_.looks);
      equal_cycles_ = 1;
      pattern_start_ = held_since_ = cycle_.start;
    }
  }
  cycle_ = Cycle{.start = now};
}

void OffloadDetector::woke(bool by_timer, bool harmless, Nanoseconds now) {
  if (plan_) release(by_timer ? Release::SleptLongest : Release::Event);
  let_go_ = false;
  if (!harmless) cycle_.plain = false;
  // A timer that fires while an answer is awaited (a tick, a time-out) ends no cycle.
  if (by_timer && open_.empty()) end_cycle(now);
}

void OffloadDetector::parked(bool did_kube, bool did_other) {
  cycle_.did_kube = cycle_.did_kube || did_kube;
  if (did_other) cycle_.plain = false;
}

OffloadDetector::RequestId OffloadDetector::request(const kube::Request& request, bool is_look) {
  const RequestId id = next_id_++;
  cycle_.did_kube = true;
  const std::size_t bytes = head_bytes(request);
  if (!is_look || cycle_.looks.size() == kLooksMax || cycle_.head_bytes + bytes > kHeadBytesMax) {
    cycle_.plain = false;
    return id;
  }
  cycle_.head_bytes += bytes;
  open_.push_back({id, cycle_.looks.size()});
  cycle_.looks.push_back({.request = {.method = request.method, .target = request.target, .headers = request.headers}, .answer = {}});
  return id;
}

void OffloadDetector::answered(RequestId id, Answer answer) {
  const auto open = std::ranges::find(open_, id, &Open::id);
  if (open == open_.end()) return;
  CHECK(open->look < cycle_.looks.size());
  cycle_.looks[open->look].answer = answer;
  open_.erase(open);
}

void OffloadDetector::spoiled(RequestId id) {
  const auto open = std::ranges::find(open_, id, &Open::id);
  if (open == open_.end()) return;
  open_.erase(open);
  cycle_.plain = false;
}

std::optional<OffloadDetector::Plan> OffloadDetector::deadline(Nanoseconds now) {
  if (plan_) {
    if (now < plan_->until) return plan_;
    release(Release::SleptLongest);
    return std::nullopt;
  }
  if (let_go_ || !open_.empty()) return std::nullopt;
  // Judged as if the guest woke now; if it does, an empty cycle is between, which counts for nothing.
  end_cycle(now);
  if (equal_cycles_ < kCyclesMin) return std::nullopt;
  const Plan plan{.next_look = std::max(now, pattern_start_ + period_), .until = now + std::min(max_sleep_, (now - held_since_) / 2), .generation = generation_ + 1};
  if (plan.until <= plan.next_look) return std::nullopt;
  ++generation_;
  return plan_ = plan;
}

bool OffloadDetector::same(std::size_t look, const Answer& answer) {
  CHECK(plan_ && look < pattern_.size());
  if (pattern_[look].answer == answer) return true;
  release(Release::Changed);
  return false;
}

OffloadDetector::Plan OffloadDetector::round_over(Nanoseconds now) {
  CHECK(plan_.has_value());
  // As the guest's own timer would: from one look to the next, none made up for.
  plan_->next_look = std::max(plan_->next_look + period_, now);
  return *plan_;
}

void OffloadDetector::failed() {
  CHECK(plan_.has_value());
  release(Release::Failed);
}

}  // namespace dormouse::gateway
