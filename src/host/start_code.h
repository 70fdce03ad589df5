// SPDX-License-Identifier: Apache-2.0
#pragma once
// When the code that only starts need leaves RAM: of 120 MB, a running Go operator maps 8.
//
// Each module whose guests start is due twice, when the start may be over and when it is. Starts that are near one another
// share a look, so that the host wakes a few times for a hundred of them and never for a guest that rests.
//
// Pure: no clock, no timer. Ownership: a value; modules are not kept loaded by it. Threads: one at a time.

#include <algorithm>
#include <chrono>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/clock.h"

namespace dormouse::host {

template <typename Module>
class StartCode {
 public:
  // How long a start takes, more or less, and at most.
  static constexpr Nanoseconds kStartTime = std::chrono::seconds(3), kStartTimeMax = std::chrono::seconds(15);
  // What is due within this time of a look is looked after at once.
  static constexpr Nanoseconds kTogether = std::chrono::seconds(1);

  void note(const std::shared_ptr<Module>& module, Nanoseconds now) {
    Start& start = starts_[module];
    // A module that is started again and again is not put off for ever: the first of its starts counts.
    if (!start.may_be_over) start.may_be_over = now + kStartTime;
    start.over = now + kStartTimeMax;
  }

  // The modules whose code is to go now.
  std::vector<std::shared_ptr<Module>> take_due(Nanoseconds now) {
    std::vector<std::shared_ptr<Module>> due;
    for (auto at = starts_.begin(); at != starts_.end();) {
      Start& start = at->second;
      const auto module = at->first.lock();
      const bool over = module == nullptr || start.over <= now + kTogether;
      if (module && (over || (start.may_be_over && *start.may_be_over <= now + kTogether))) {
        due.push_back(module);
        start.may_be_over.reset();
      }
      at = over ? starts_.erase(at) : std::next(at);
    }
    return due;
  }

  // When to look next; nothing if no module has been started lately.
  std::optional<Nanoseconds> next() const {
    std::optional<Nanoseconds> at;
    for (const auto& [module, start] : starts_) {
      const Nanoseconds due = std::min(start.over, start.may_be_over.value_or(start.over));
      if (!at || due < *at) at = due;
    }
    return at;
  }

 private:
  struct Start {
    std::optional<Nanoseconds> may_be_over;
    Nanoseconds over{};
  };
  std::map<std::weak_ptr<Module>, Start, std::owner_less<>> starts_;
};

}  // namespace dormouse::host
