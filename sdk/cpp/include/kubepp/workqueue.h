// SPDX-License-Identifier: Apache-2.0
#pragma once
// Names of objects that wait to be worked on.
//
// A name is in the queue once, however often it is added; added while somebody works on it, it comes again after done().
// So nobody ever works on one object twice at the same time, and no change is missed.

#include <deque>
#include <map>
#include <optional>
#include <set>

#include "kubepp/backoff.h"
#include "kubepp/object.h"

namespace kubepp {

class WorkQueue {
 public:
  static constexpr Duration kFirstDelay = std::chrono::milliseconds(200);
  static constexpr Duration kLongestDelay = std::chrono::minutes(5);

  explicit WorkQueue(Loop& loop) : loop_(loop) {}

  void add(const ObjectKey& key);
  // Not before `delay` is over; the earlier of two delays counts.
  void add_after(const ObjectKey& key, Duration delay);
  // After a failure: a delay that grows with each call, until forget().
  void add_rate_limited(const ObjectKey& key);
  void forget(const ObjectKey& key) { failures_.erase(key); }

  // The next name; nothing once the queue is shut down. The caller says done() when it has worked on it.
  Task<std::optional<ObjectKey>> get();
  void done(const ObjectKey& key);
  void shut_down();

  std::size_t size() const { return ready_.size(); }
  bool idle() const { return working_.empty(); }

 private:
  void take_due(Time now);

  Loop& loop_;
  std::deque<ObjectKey> ready_;
  std::set<ObjectKey> waiting_;  // In ready_, or to be put there after done().
  std::set<ObjectKey> working_;
  std::map<ObjectKey, Time> delayed_;
  std::map<ObjectKey, Backoff> failures_;
  Event changed_;
  bool shut_down_ = false;
};

}  // namespace kubepp
