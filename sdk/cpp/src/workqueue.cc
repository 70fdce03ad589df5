// SPDX-License-Identifier: Apache-2.0
#include "kubepp/workqueue.h"

#include <algorithm>
#include <vector>

namespace kubepp {

void WorkQueue::add(const ObjectKey& key) {
  if (shut_down_ || !waiting_.insert(key).second) return;
  delayed_.erase(key);
  if (working_.contains(key)) return;
  ready_.push_back(key);
  changed_.set();
}

void WorkQueue::add_after(const ObjectKey& key, Duration delay) {
  if (delay <= Duration::zero()) return add(key);
  if (shut_down_ || waiting_.contains(key)) return;
  const Time due = Loop::now() + delay;
  const auto [at, added] = delayed_.emplace(key, due);
  if (!added) at->second = std::min(at->second, due);
  // Who waits must wait shorter.
  changed_.set();
}

void WorkQueue::add_rate_limited(const ObjectKey& key) {
  auto& backoff = failures_.try_emplace(key, kFirstDelay, kLongestDelay).first->second;
  add_after(key, backoff.next());
}

void WorkQueue::take_due(Time now) {
  std::vector<std::pair<Time, ObjectKey>> due;
  for (const auto& [key, time] : delayed_) {
    if (time <= now) due.emplace_back(time, key);
  }
  // Whoever was due first comes first, however late we are.
  std::sort(due.begin(), due.end());
  for (const auto& [time, key] : due) add(key);
}

Task<std::optional<ObjectKey>> WorkQueue::get() {
  for (;;) {
    take_due(Loop::now());
    if (shut_down_) co_return std::nullopt;
    if (!ready_.empty()) {
      ObjectKey key = std::move(ready_.front());
      ready_.pop_front();
      waiting_.erase(key);
      working_.insert(key);
      co_return key;
    }
    Time next = kNever;
    for (const auto& [key, due] : delayed_) next = std::min(next, due);
    changed_.reset();
    co_await loop_.event(changed_, next);
  }
}

void WorkQueue::done(const ObjectKey& key) {
  working_.erase(key);
  if (waiting_.contains(key)) {
    ready_.push_back(key);
  }
  changed_.set();
}

void WorkQueue::shut_down() {
  shut_down_ = true;
  ready_.clear();
  delayed_.clear();
  changed_.set();
}

}  // namespace kubepp
