// SPDX-License-Identifier: Apache-2.0
#include "guest/sleep_simulator.h"

#include <algorithm>

namespace dormouse::guest {
namespace {

constexpr double kBreakEvenSeconds = to_seconds(kBreakEven);

// One wait under a plan: how long the guest was in RAM, how often it left, and where the wake-up met it.
struct Outcome {
  Nanoseconds resident{};
  std::uint64_t page_outs = 0;
  bool paged_out = false;
};

Outcome follow(const Plan& plan, Nanoseconds wait) {
  if (wait <= plan.stay) return {wait, 0, false};
  if (plan.back >= wait) return {plan.stay, 1, true};
  const Nanoseconds back = std::max(plan.back, plan.stay);
  if (plan.keep >= kForever || wait <= back + plan.keep) return {plan.stay + (wait - back), 1, false};
  return {plan.stay + plan.keep, 2, true};
}

void add(SimulatedPolicy& sum, const TraceWait& wait, const Outcome& outcome) {
  const auto bytes = static_cast<double>(wait.bytes);
  const bool event = wait.cause != WakeCause::Deadline;
  ++sum.wakes;
  sum.events += event;
  sum.cold_events += event && outcome.paged_out;
  sum.page_outs += outcome.page_outs;
  sum.kept_byte_seconds += bytes * to_seconds(outcome.resident);
  sum.all_byte_seconds += bytes * to_seconds(wait.woken - wait.parked);
  sum.cost += bytes * (to_seconds(outcome.resident) + kBreakEvenSeconds * static_cast<double>(outcome.page_outs));
}

}  // namespace

SimulatedPolicy simulate_one(const Trace& trace, std::string name, const PredictorFactory& make) {
  struct Guest {
    std::unique_ptr<Predictor> predictor;
    Nanoseconds last_event{};
  };
  SimulatedPolicy sum{.name = std::move(name)};
  std::vector<Guest> guests(trace.guests.size());
  for (const TraceWait& wait : trace.waits) {
    Guest& guest = guests[wait.guest];
    if (!guest.predictor) {
      guest.predictor = make();
      guest.last_event = wait.parked;
    }
    Wait known{.since_event = wait.parked - guest.last_event, .until_deadline = {}};
    if (wait.deadline) known.until_deadline = *wait.deadline - wait.parked;
    Plan plan = guest.predictor->plan(known);
    // As the host does: the guest's own timer is exact, so nobody leaves for it, and whoever is out is back for it.
    if (known.until_deadline && plan.stay >= *known.until_deadline) plan.stay = kForever;
    add(sum, wait, follow(plan, wait.woken - wait.parked));
    if (wait.cause == WakeCause::Deadline) continue;
    guest.predictor->on_event(wait.woken - guest.last_event);
    guest.last_event = wait.woken;
  }
  return sum;
}

SimulatedPolicy simulate_oracle(const Trace& trace) {
  SimulatedPolicy sum{.name = "oracle"};
  for (const TraceWait& wait : trace.waits) {
    const Nanoseconds length = wait.woken - wait.parked;
    add(sum, wait, length > kBreakEven ? Outcome{Nanoseconds(0), 1, false} : Outcome{length, 0, false});
  }
  return sum;
}

std::vector<SimulatedPolicy> simulate(const Trace& trace) {
  using std::chrono::seconds;
  const std::vector<std::pair<const char*, PredictorFactory>> policies = {
      {"never", [] { return make_keep_alive(kForever); }},
      {"immediately", [] { return make_keep_alive(kSettleTime); }},
      {"idle=1s", [] { return make_keep_alive(seconds(1)); }},
      {"idle=5s", [] { return make_keep_alive(seconds(5)); }},
      {"idle=15s", [] { return make_keep_alive(seconds(15)); }},
      {"idle=60s", [] { return make_keep_alive(seconds(60)); }},
      {"idle=600s", [] { return make_keep_alive(seconds(600)); }},
      {"smoothing", make_exponential_smoothing},
      {"holt", make_holt_smoothing},
      {"histogram", make_hybrid_histogram},
      {"predictive", make_cost_predictor},
  };
  std::vector<SimulatedPolicy> results;
  for (const auto& [name, make] : policies) results.push_back(simulate_one(trace, name, make));
  results.push_back(simulate_oracle(trace));
  return results;
}

}  // namespace dormouse::guest
