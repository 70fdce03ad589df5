// SPDX-License-Identifier: Apache-2.0
#pragma once
// When one guest leaves RAM by itself: asked at each park, told of each wake-up.
//
// A guest that parks says until when (its own timer) and the policy answers when to page it out if it is still parked
// then. Wake-ups by the guest's own deadline were known before, so they teach nothing about events. What the host's memory
// demands beyond that is the MemoryGovernor's affair, which asks expected_wake().
//
// Ownership: shared by a container, its runs (what was learnt outlives a restart) and the governor.
// Threads: on_park() and on_wake() by one thread at a time (the run's slice); expected_wake() and may_page_out() from any.

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>

#include "base/clock.h"
#include "base/types.h"
#include "pods/sleep.h"

namespace dormouse::guest {

// All times are monotonic.
struct ParkInfo {
  Nanoseconds now{};
  std::optional<Nanoseconds> deadline;  // When the guest's own timer wakes it.
  std::uint64_t resident_bytes = 0;     // What a page-out would free, more or less.
  bool idled = false;                   // Its own timer woke it, and it did nothing: no answer is due.
};

enum class WakeCause : std::uint8_t {
  Deadline,  // The guest's own timer.
  Stream,    // Bytes, or room for bytes, on a stream that the guest opened.
  Inbound,   // Somebody has connected to the guest.
  Signal,
};

struct WakeInfo {
  Nanoseconds now{};
  WakeCause cause = WakeCause::Stream;
  bool was_paged_out = false;
};

// How long "immediately" waits: a reply to the guest's own request comes sooner than this, and paging out in the midst of a
// reconcile costs more than it frees. An API server answers a GET in 1-5 ms, and a write in 20 where two cores are busy (bench/chain).
inline constexpr Nanoseconds kSettleTime = std::chrono::milliseconds(50);

class SleepPolicy : Immovable {
 public:
  virtual ~SleepPolicy() = default;

  // The guest parks: when to page it out if it is still parked then. A time that has come means at once; nullopt means
  // not by time. Invariant: never later than, nor at, `park.deadline`.
  virtual std::optional<Nanoseconds> on_park(const ParkInfo& park) = 0;
  // The guest runs again.
  virtual void on_wake(const WakeInfo& wake) = 0;

  // False: not even under pressure.
  virtual bool may_page_out() const { return true; }
  // When it will probably run again, as of the last park.
  Nanoseconds expected_wake() const { return Nanoseconds(expected_wake_ns_.load(std::memory_order_relaxed)); }

 protected:
  void expect_wake(Nanoseconds at) { expected_wake_ns_.store(at.count(), std::memory_order_relaxed); }

 private:
  std::atomic<std::int64_t> expected_wake_ns_{0};
};

// For Idle, Immediately and Never it is exact; Pressure never names a time; Predictive learns.
std::shared_ptr<SleepPolicy> make_sleep_policy(const pods::SleepMode& mode);

}  // namespace dormouse::guest
