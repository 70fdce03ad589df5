// SPDX-License-Identifier: Apache-2.0
#pragma once
// One seeded run: reflector and cache of src/watchcache/ against the model API server, with many readers, each of which is checked
// against the model at every event, bookmark, list and end.
//
// The same configuration always does the same. A violation is thrown as a Violation.
//
// Threads: one.

#include <cstdint>
#include <stdexcept>
#include <string>

#include "server.h"

namespace dormouse::sim {

struct Config {
  std::uint64_t seed = 1;
  std::uint64_t steps = 20'000;
  std::uint32_t faults = kAllFaults;  // Of these, each seed takes some.
  std::size_t subscribers = 24;
  std::size_t keys = 45;
};

struct Violation : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Totals {
  std::uint64_t runs = 0, steps = 0, writes = 0;
  std::uint64_t events = 0;      // Delivered to readers and checked.
  std::uint64_t bookmarks = 0, expired = 0, lists = 0, streams = 0;
  std::uint64_t relists = 0, resets = 0, restores = 0, reflector_failures = 0;
  void add(const Totals& other);
};

// Throws Violation.
Totals run(const Config& config);

}  // namespace dormouse::sim
