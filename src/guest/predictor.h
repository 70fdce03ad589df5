// SPDX-License-Identifier: Apache-2.0
#pragma once
// Guesses of when a guest's next event comes, put as a plan of where to wait for it: in RAM or out of it.
//
// An event is a wake-up that the guest's own timer did not foretell. A predictor learns from the gaps between events and
// weighs two costs that `simulate-policy` counts too: each second that a waiting guest stays in RAM, and each page-out
// with the wake-up after it, which counts as kBreakEven seconds in RAM (docs/design/0005-when-a-guest-sleeps.md).
//
// Ownership: owned by one guest's policy; a few hundred bytes each, for there are 10,000. Threads: not thread-safe.
// Invariant: what a plan says depends on gaps and its argument alone, so the simulator runs predictors as they stand.

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "base/clock.h"

namespace dormouse::guest {

inline constexpr Nanoseconds kForever = std::chrono::hours(24 * 365);
// A guest that will wait longer than this does better outside RAM; see the design note for where it comes from.
inline constexpr Nanoseconds kBreakEven = std::chrono::seconds(5);

struct Wait {
  Nanoseconds since_event{};                    // At the park: since the last event.
  std::optional<Nanoseconds> until_deadline;    // From the park to the guest's own timer; exact.
};

// From the park on: in RAM for `stay`, then out; in RAM again at `back` for `keep`, then out for good. An event ends it.
struct Plan {
  Nanoseconds stay = kForever;
  Nanoseconds back = kForever;                  // The host does not read ahead by it: waking from page cache takes 22 µs.
  Nanoseconds keep = kForever;
};

class Predictor {
 public:
  virtual ~Predictor() = default;
  // An event came `gap` after the one before.
  virtual void on_event(Nanoseconds gap) = 0;
  virtual Plan plan(const Wait& wait) const = 0;
  // The mean time to the next event, if the last was `since_event` ago.
  virtual Nanoseconds expected(Nanoseconds since_event) const = 0;
};

// In RAM for a fixed time.
std::unique_ptr<Predictor> make_keep_alive(Nanoseconds stay);

// Shahrad et al., "Serverless in the Wild" (USENIX ATC 2020): a histogram of gaps; out of RAM until its 5th percentile,
// then in RAM until its 99th; a keep-alive while the histogram is not representative.
std::unique_ptr<Predictor> make_hybrid_histogram();

// What the origin of this project did: the next gap is the exponentially smoothed last ones. Holt adds a trend.
std::unique_ptr<Predictor> make_exponential_smoothing();
std::unique_ptr<Predictor> make_holt_smoothing();

// Our own: the distribution of the next gap given how long the last one was, from a decaying histogram with logarithmic
// buckets, and the stay of least expected cost under it. While it knows little it believes that all orders of magnitude
// are as likely. The last gap's length tells a burst, or a reconcile that waits for answers, from rest.
std::unique_ptr<Predictor> make_cost_predictor();

}  // namespace dormouse::guest
