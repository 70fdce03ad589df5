// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which guests leave RAM when the host needs memory: the ones that free most for each wake-up it will cost.
//
// A guest of `resident_bytes` whose next wake-up is t away frees bytes x t for one wake-up, so the largest product goes
// first. It asks no more guests to leave than the need says, counts those that are on their way, and lets alone for a
// while whoever was asked and did not go (the disk may be full).
//
// Ownership: a value without I/O or clock. Threads: one.

#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/clock.h"

namespace dormouse::guest {

class MemoryGovernor {
 public:
  // Above the budget's high share guests are asked to leave, until the low share would be reached: not one by one.
  static constexpr double kHighShare = 0.95, kLowShare = 0.90;
  // Under pressure (PSI) so much of what waits in RAM leaves, within the budget or not.
  static constexpr double kPressureShare = 0.10;
  // A first page-out takes 2-9 ms of a worker; more at once would make awake guests wait.
  static constexpr std::size_t kAskedAtOnceMax = 32;
  static constexpr Nanoseconds kLeaveTime = std::chrono::seconds(2);    // Who has not left by then will not.
  static constexpr Nanoseconds kLetAlone = std::chrono::seconds(30);

  struct Guest {
    std::uint64_t id = 0;              // Unique among guests while they live.
    bool parked = false;               // And in RAM.
    bool may_page_out = true;
    std::uint64_t resident_bytes = 0;  // What its page-out would free.
    Nanoseconds parked_since{}, expected_wake{};
  };
  struct Reading {
    Nanoseconds now{};
    std::uint64_t used_bytes = 0;
    bool pressure = false;             // The kernel has told of pressure since the last reading.
  };
  struct Decision {
    std::vector<std::size_t> leave;    // Indices into the guests, best first.
    std::uint64_t short_bytes = 0;     // Above the budget, with nobody left who could go.
  };

  explicit MemoryGovernor(std::uint64_t budget_bytes) : budget_bytes_(budget_bytes) {}

  // True if decide() might ask for something; else the guests need not be listed.
  bool concerned(const Reading& reading) const;
  Decision decide(const Reading& reading, std::span<const Guest> guests);

 private:
  struct Asked {
    Nanoseconds at{}, parked_since{};
  };

  const std::uint64_t budget_bytes_;
  std::unordered_map<std::uint64_t, Asked> asked_;  // By id; only guests that were in the last list.
};

}  // namespace dormouse::guest
