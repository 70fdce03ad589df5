// SPDX-License-Identifier: Apache-2.0
// The simple predictors, and those of others; ours is in predictor_cost.cc.
#include "guest/predictor.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace dormouse::guest {
namespace {

Nanoseconds scaled(Nanoseconds time, double by) {
  return std::min(kForever, Nanoseconds(static_cast<std::int64_t>(static_cast<double>(time.count()) * by)));
}

// Shorter gaps are answers within a reconcile. Those who know of nothing but one mean or one histogram are lost among them, so
// they do not learn from these, and wait that long before they leave.
constexpr Nanoseconds kAnswerTime = std::chrono::milliseconds(100);

class KeepAlive final : public Predictor {
 public:
  explicit KeepAlive(Nanoseconds stay) : stay_(stay) {}
  void on_event(Nanoseconds gap) override { gap_ = gap_.count() == 0 ? gap : (3 * gap_ + gap) / 4; }
  Plan plan(const Wait&) const override { return {.stay = stay_}; }
  Nanoseconds expected(Nanoseconds since_event) const override { return std::max(gap_ - since_event, since_event); }

 private:
  const Nanoseconds stay_;
  Nanoseconds gap_{};
};

class HybridHistogram final : public Predictor {
 public:
  void on_event(Nanoseconds gap) override {
    if (gap < kAnswerTime) return;
    const double ms = static_cast<double>(gap.count()) / 1e6;
    const double bin = ms <= kFirstMs ? 0.0 : std::log2(ms / kFirstMs) * kBinsPerOctave;
    auto& count = counts_[std::min(kBins - 1, static_cast<std::size_t>(bin))];
    if (count == std::numeric_limits<std::uint16_t>::max()) {
      for (auto& old : counts_) old /= 2;
    }
    ++count;
  }

  Plan plan(const Wait&) const override {
    double total = 0, squares = 0;
    for (const double count : counts_) {
      total += count;
      squares += count * count;
    }
    // As in the paper: representative when the counts' coefficient of variation is above 2; there it takes some samples too.
    const double mean = total / kBins;
    if (total < 5 || squares / kBins - mean * mean <= 4 * mean * mean || counts_.back() * 2 > total) return {.stay = kBreakEven};
    const Nanoseconds head = scaled(edge(percentile(0.05 * total)), 0.9);
    const Nanoseconds tail = scaled(edge(percentile(0.99 * total) + 1), 1.1);
    // Away only where that can pay.
    if (head < kBreakEven) return {.stay = tail};
    return {.stay = kAnswerTime, .back = head, .keep = tail - head};
  }

  Nanoseconds expected(Nanoseconds since_event) const override {
    double total = 0;
    for (const double count : counts_) total += count;
    return std::max(edge(percentile(0.5 * total)) - since_event, since_event);
  }

 private:
  // The paper's bins are minutes; gaps of operators reach from milliseconds to days, so these are logarithmic: 0.1 s to 4.8 days.
  static constexpr double kFirstMs = 100, kBinsPerOctave = 4;
  static constexpr std::size_t kBins = 88;  // 22 octaves.

  std::size_t percentile(double rank) const {
    double sum = 0;
    std::size_t bin = 0;
    for (; bin + 1 < kBins; ++bin) {
      sum += counts_[bin];
      if (sum >= rank) break;
    }
    return bin;
  }
  static Nanoseconds edge(std::size_t bin) {
    return bin == 0 ? Nanoseconds(0) : Nanoseconds(static_cast<std::int64_t>(kFirstMs * 1e6 * std::exp2(static_cast<double>(bin) / kBinsPerOctave)));
  }

  std::array<std::uint16_t, kBins> counts_{};
};

// The origin's rule on top of a guess: away at once if the gap will be long, back a little before its end.
class Smoothing final : public Predictor {
 public:
  Smoothing(double level_weight, double trend_weight) : level_weight_(level_weight), trend_weight_(trend_weight) {}

  void on_event(Nanoseconds gap) override {
    if (gap < kAnswerTime) return;
    const double seconds = to_seconds(gap);
    if (++seen_ == 1) {
      level_ = seconds;
      return;
    }
    const double before = level_;
    level_ = level_weight_ * seconds + (1 - level_weight_) * (level_ + trend_);
    trend_ = trend_weight_ * (level_ - before) + (1 - trend_weight_) * trend_;
  }

  Plan plan(const Wait& wait) const override {
    if (seen_ == 0) return {.stay = kBreakEven};
    const Nanoseconds left = std::max(guess() - wait.since_event, Nanoseconds(0));
    if (left > kBreakEven) return {.stay = kAnswerTime, .back = scaled(left, 0.9), .keep = kBreakEven};
    return {.stay = scaled(left, 1.1) + kBreakEven};
  }

  Nanoseconds expected(Nanoseconds since_event) const override { return std::max(guess() - since_event, since_event); }

 private:
  Nanoseconds guess() const { return Nanoseconds(static_cast<std::int64_t>(std::clamp(level_ + trend_, 0.0, 86400.0 * 30) * 1e9)); }

  const double level_weight_, trend_weight_;
  std::uint32_t seen_ = 0;
  double level_ = 0, trend_ = 0;  // Seconds.
};

}  // namespace

std::unique_ptr<Predictor> make_keep_alive(Nanoseconds stay) { return std::make_unique<KeepAlive>(stay); }
std::unique_ptr<Predictor> make_hybrid_histogram() { return std::make_unique<HybridHistogram>(); }
std::unique_ptr<Predictor> make_exponential_smoothing() { return std::make_unique<Smoothing>(0.5, 0.0); }
std::unique_ptr<Predictor> make_holt_smoothing() { return std::make_unique<Smoothing>(0.5, 0.3); }

}  // namespace dormouse::guest
