// SPDX-License-Identifier: Apache-2.0
#pragma once
// Whose turn it is to start, when a manifest brings thousands of pods at once.
//
// A guest that starts needs far more than one at rest: all of its memory, and code that it never runs again. So only so
// many pods start at a time; the next one's turn comes when one of them has come to rest (its guests wait for something,
// which is when a sleep policy may take them out of RAM), has failed, or has taken too long. When memory is short, one at a
// time goes on starting: a host that never starts anything helps nobody.
//
// Pure: no clock, no pods. Ownership: a value. Threads: one at a time.

#include <algorithm>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"

namespace dormouse::host {

class StartQueue {
 public:
  // 16 Go operators that start hold 0.5 GB at most; and while some wait for the API server, others use the processors.
  static constexpr std::size_t kAtOnce = 16;
  static constexpr Nanoseconds kStartTimeMax = std::chrono::seconds(10);
  // How often to ask again while pods start.
  static constexpr Nanoseconds kLookEvery = std::chrono::milliseconds(20);

  // To the end of the queue; nothing if it is in it or starting.
  void add(const std::string& name) {
    if (!starting_.contains(name) && queued_.insert(name).second) waiting_.push_back(name);
  }
  void remove(const std::string& name) {
    if (queued_.erase(name) > 0) std::erase(waiting_, name);
    starting_.erase(name);
  }

  // Who starts now. `at_rest` is asked about each pod that is starting; `short_of_memory`: one at a time.
  std::vector<std::string> next(Nanoseconds now, const std::function<bool(const std::string&)>& at_rest, bool short_of_memory) {
    std::erase_if(starting_, [&](const auto& entry) { return now - entry.second >= kStartTimeMax || at_rest(entry.first); });
    std::vector<std::string> turn;
    while (!waiting_.empty() && starting_.size() < (short_of_memory ? 1 : kAtOnce)) {
      turn.push_back(std::move(waiting_.front()));
      waiting_.pop_front();
      queued_.erase(turn.back());
      starting_.emplace(turn.back(), now);
    }
    return turn;
  }

  // Whether next() must be asked again.
  bool busy() const { return !waiting_.empty(); }

 private:
  std::deque<std::string> waiting_;
  std::set<std::string> queued_;                 // The same.
  std::map<std::string, Nanoseconds> starting_;  // Since when.
};

}  // namespace dormouse::host
