// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>

#include "guest/predictor.h"

namespace dormouse::guest {
namespace {

// Bucket b holds gaps of 2^(b/2) to 2^((b+1)/2) ms; the first also shorter ones, the last also longer ones.
constexpr std::size_t kBuckets = 56;  // 2^28 ms are 74 h.
// What is weighed against a stay in RAM, in seconds of it.
constexpr double kCost = to_seconds(kBreakEven);
// A context's own counts weigh like so many events of all contexts, and those like so many of no knowledge at all.
constexpr double kContextPrior = 4, kPrior = 2;
// Half of what was learnt is forgotten in so many events of a context.
constexpr std::uint32_t kCountMax = 240;

// Of plans that cost about the same the one with the longest stay is taken: it meets more events in RAM.
constexpr double kAboutTheSame = 1.02;

constexpr std::array<double, kBuckets + 1> kEdges = [] {
  std::array<double, kBuckets + 1> edges{};  // Seconds.
  double power = 1e-3;
  for (std::size_t b = 1; b <= kBuckets; ++b) {
    if (b % 2 == 0) power *= 2;
    edges[b] = b % 2 == 0 ? power : power * 1.4142135623730951;
  }
  return edges;
}();

std::size_t bucket_of(double seconds) {
  const auto above = std::ranges::upper_bound(kEdges, seconds);
  return above == kEdges.begin() ? 0 : std::min<std::size_t>(kBuckets - 1, static_cast<std::size_t>(above - kEdges.begin()) - 1);
}

class CostPredictor final : public Predictor {
 public:
  void on_event(Nanoseconds gap) override {
    const std::size_t bucket = bucket_of(to_seconds(gap));
    auto& counts = counts_[context_];
    std::uint32_t total = 0;
    for (const std::uint8_t count : counts) total += count;
    if (total >= kCountMax) {
      for (std::uint8_t& count : counts) count /= 2;
    }
    ++counts[bucket];
    context_ = context_of(gap);
  }

  Plan plan(const Wait& wait) const override {
    const double since = known_part(wait.since_event);
    const double deadline = wait.until_deadline ? std::max(to_seconds(*wait.until_deadline), 0.0) : HUGE_VAL;
    const Masses masses = next_gap();
    double left = 0;  // Of probability: that the event has not come yet.
    for (std::size_t b = 0; b < kBuckets; ++b) left += beyond(masses, b, since);
    // Out at once is cost kCost. Else stay until the end of bucket after bucket, and be out if nothing came; `spent` is
    // what staying that long has cost where the event came before.
    double best = kCost, stay = 0, spent = 0;
    const auto weigh = [&](double cost, double candidate) {
      if (cost > best * kAboutTheSame) return;
      best = std::min(best, cost);
      stay = candidate;
    };
    const double all = left;
    for (std::size_t b = bucket_of(since); b < kBuckets; ++b) {
      const double mass = beyond(masses, b, since);
      const double until = kEdges[b + 1] - since;
      const double middle = (std::max(kEdges[b], since) + kEdges[b + 1]) / 2 - since;
      if (until >= deadline) {
        // The timer comes first: stay until then, and it will have cost no page-out.
        weigh((spent + mass * std::min(middle, deadline) + (left - mass) * deadline) / all, deadline);
        break;
      }
      spent += mass * middle;
      left -= mass;
      weigh((spent + left * (until + kCost)) / all, until);
    }
    return {.stay = std::min(kForever, Nanoseconds(static_cast<std::int64_t>(std::min(stay, 1e7) * 1e9)))};
  }

  Nanoseconds expected(Nanoseconds since_event) const override {
    const double since = known_part(since_event);
    const Masses masses = next_gap();
    double sum = 0, all = 0;
    for (std::size_t b = bucket_of(since); b < kBuckets; ++b) {
      const double mass = beyond(masses, b, since);
      all += mass;
      sum += mass * ((std::max(kEdges[b], since) + kEdges[b + 1]) / 2 - since);
    }
    return Nanoseconds(static_cast<std::int64_t>(sum / all * 1e9));
  }

 private:
  using Masses = std::array<double, kBuckets>;
  static constexpr std::size_t kContexts = 3;


  // Beyond all buckets nothing is known; it is as just before their end.
  static double known_part(Nanoseconds since_event) { return std::clamp(to_seconds(since_event), 0.0, kEdges[kBuckets] * 0.99); }

  static std::size_t context_of(Nanoseconds gap) {
    if (gap < std::chrono::milliseconds(256)) return 0;  // Amid a reconcile, or a burst.
    return gap < kBreakEven ? 1 : 2;
  }

  // The distribution of the next gap after one like the last.
  Masses next_gap() const {
    Masses all{};
    double total = 0;
    for (const auto& counts : counts_) {
      for (std::size_t b = 0; b < kBuckets; ++b) {
        all[b] += counts[b];
        total += counts[b];
      }
    }
    Masses masses{};
    double own = 0;
    for (const std::uint8_t count : counts_[context_]) own += count;
    for (std::size_t b = 0; b < kBuckets; ++b) {
      const double marginal = (all[b] + kPrior / kBuckets) / (total + kPrior);
      masses[b] = (counts_[context_][b] + kContextPrior * marginal) / (own + kContextPrior);
    }
    return masses;
  }

  // What of a bucket's mass is still possible.
  static double beyond(const Masses& masses, std::size_t bucket, double since) {
    const double lower = kEdges[bucket], upper = kEdges[bucket + 1];
    if (since >= upper) return 0.0;
    return since <= lower ? masses[bucket] : masses[bucket] * (upper - since) / (upper - lower);
  }

  std::array<std::array<std::uint8_t, kBuckets>, kContexts> counts_{};
  std::uint8_t context_ = 1;
};

}  // namespace

std::unique_ptr<Predictor> make_cost_predictor() { return std::make_unique<CostPredictor>(); }

}  // namespace dormouse::guest
