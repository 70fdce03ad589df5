// SPDX-License-Identifier: Apache-2.0
#pragma once
// Why a guest was awake: its last wake-ups, each with its cause, what it cost and whether it did anything; and totals.
//
// Bounded: kWakesKept of about 50 bytes, made as they come; the text of a cause is shared with the stream it describes.
//
// Ownership: shared by a container and its runs, so it outlives a restart. Threads: any; a lock for a few instructions.

#include <array>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "base/types.h"
#include "wasi/wake_cause.h"

namespace dormouse::guest {

// Prometheus-like: how many took at most so long.
template <typename Count>
class DurationHistogramOf {
 public:
  static constexpr std::array<std::int64_t, 18> kBoundsUs = {10, 25, 50, 75, 100, 125, 150, 200, 250, 500, 1'000, 2'500, 5'000, 10'000, 25'000, 100'000, 1'000'000, 10'000'000};
  void add(Nanoseconds duration) {
    const std::int64_t us = duration.count() / 1000;
    std::size_t i = 0;
    while (i < kBoundsUs.size() && us > kBoundsUs[i]) ++i;
    ++counts[i];
    sum += duration;
  }
  template <typename OtherCount>
  void add(const DurationHistogramOf<OtherCount>& other) {
    for (std::size_t i = 0; i < counts.size(); ++i) counts[i] += other.counts[i];
    sum += other.sum;
  }
  std::array<Count, kBoundsUs.size() + 1> counts{};  // Not cumulative; the last is beyond all bounds.
  Nanoseconds sum{};
};
using DurationHistogram = DurationHistogramOf<std::uint64_t>;

class WakeLog final : Immovable {
 public:
  static constexpr std::size_t kWakesKept = 32;

  struct Wake {
    Nanoseconds at{};                     // Real time.
    std::chrono::duration<std::uint32_t, std::micro> awake{}, cpu{};  // Until it parked again; an hour at most.
    wasi::WakeCause cause;
    bool active = false;                  // It did something that others can notice, or learnt something.
    bool was_paged_out = false;
    bool over = false;                    // False: it is awake now.
  };
  struct Start {
    Nanoseconds at{};                     // Real time.
    Nanoseconds latency{};                // From what woke it to its first instruction.
    wasi::WakeCause cause;
    bool was_paged_out = false;
    bool was_cold = false;                // And its page file had left page cache.
  };
  void begin(Start start);
  // The wake-up under way is over. Nothing if there is none.
  void end(Nanoseconds awake, Nanoseconds cpu, bool active);

  std::vector<Wake> recent() const;       // The oldest first.
  std::optional<Wake> last() const;

  struct Totals {
    std::array<std::uint64_t, wasi::kWakeCauseKinds> by_cause{};
    std::uint64_t idle = 0;               // Those that did nothing.
    DurationHistogramOf<std::uint32_t> from_ram, from_page_cache, from_disk;  // Latencies. One guest wakes no 2^32 times.
  };
  Totals totals() const;

 private:
  const Wake* newest() const { return wakes_.empty() ? nullptr : &wakes_[(next_ + wakes_.size() - 1) % wakes_.size()]; }

  mutable std::mutex mutex_;
  std::vector<Wake> wakes_;               // A ring once it is full.
  std::size_t next_ = 0;                  // Where the next goes in the ring: the oldest.
  Totals totals_;
};

}  // namespace dormouse::guest
