// SPDX-License-Identifier: Apache-2.0
#pragma once
// Replays a trace under each sleep policy, and under one that knows the future.
//
// The predictors are those of the host, one for each guest; a policy does not change when events come. Two things are
// weighed: the share of events that met a paged-out guest, and the byte-seconds that waiting guests spent in RAM. Their
// product is 0 for both extremes (always in RAM, never in RAM), so `cost` adds them up: byte-seconds in RAM, and for each
// page-out what kBreakEven seconds of that guest in RAM would have been.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "guest/predictor.h"
#include "guest/sleep_trace.h"

namespace dormouse::guest {

struct SimulatedPolicy {
  std::string name;
  std::uint64_t wakes = 0, events = 0;  // All wake-ups; those that no timer foretold.
  std::uint64_t cold_events = 0;        // Events that met a paged-out guest.
  std::uint64_t page_outs = 0;
  double kept_byte_seconds = 0;         // Waiting in RAM.
  double all_byte_seconds = 0;          // All waiting: what never sleeping would keep.
  double cost = 0;                      // Byte-seconds.

  double cold_share() const { return events == 0 ? 0 : static_cast<double>(cold_events) / static_cast<double>(events); }
  double kept_share() const { return all_byte_seconds <= 0 ? 0 : kept_byte_seconds / all_byte_seconds; }
};

using PredictorFactory = std::function<std::unique_ptr<Predictor>()>;
SimulatedPolicy simulate_one(const Trace& trace, std::string name, const PredictorFactory& make);
// Pages out at once exactly where the wait will be longer than kBreakEven, and is back just in time.
SimulatedPolicy simulate_oracle(const Trace& trace);
// All that `dormouse simulate-policy` compares, the oracle last.
std::vector<SimulatedPolicy> simulate(const Trace& trace);

}  // namespace dormouse::guest
