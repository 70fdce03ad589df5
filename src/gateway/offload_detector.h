// SPDX-License-Identifier: Apache-2.0
#pragma once
// Whether a guest only looks at the same things again and again, and so may be left asleep while they stay the same.
//
// A *look* is a GET or LIST of the Kubernetes API and its whole answer. A *cycle* is what a guest does from one wake-up by
// its own timer to the next. After kCyclesMin cycles in a row with the same looks, the same answers, and nothing else that
// anybody could notice, the host makes the looks at the guest's deadlines, and the guest sleeps on until
//   - an answer differs, or cannot be had;
//   - anything else wakes it: an event, a connection, a signal;
//   - it has slept for `max_sleep`, or for half as long as it has been seen to do nothing else. The latter is for timers that
//     hide behind the looks: the renewal of a lease, say, that falls due every 10 s is late by 5 s at most, where leases last
//     for 15 s at least; and having renewed, the guest starts again from nothing.
// It then makes its own looks anew: what the host has read is never handed to it. So to the guest this is one timer that
// fired late, in a world in which nothing that it looks at has changed meanwhile.
//
//   Watching --kCyclesMin equal cycles, deadline()--> Offloading --difference, failure, event, max_sleep--> Watching
//
// Wake-ups that do nothing at all (a metrics tick) are in no cycle, and while offloading they are slept through too.
//
// Pure: no I/O, no clock. Ownership: a value. Threads: one at a time.

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "kube/upstream.h"

namespace dormouse::gateway {

using Digest = std::array<std::uint8_t, 32>;  // SHA-256: whoever writes objects must not be able to make two look the same.

class OffloadDetector {
 public:
  static constexpr std::uint32_t kCyclesMin = 3;
  static constexpr std::size_t kLooksMax = 32;            // Of a cycle; one with more is not offloaded.
  static constexpr std::size_t kHeadBytesMax = 16 * 1024; // Of a cycle's requests, which are kept.
  static constexpr Nanoseconds kPeriodMin = std::chrono::milliseconds(100);  // The host looks no more often than this.

  struct Answer {
    int status = 0;
    Digest digest{};
    bool operator==(const Answer&) const = default;
  };
  struct Look {
    kube::Request request;             // Without bearer.
    Answer answer;
  };
  using RequestId = std::uint64_t;     // Never 0.

  explicit OffloadDetector(Nanoseconds max_sleep) : max_sleep_(max_sleep) { cycle_.plain = false; }  // A start is no cycle.

  // --- What the guest does ---
  // `harmless`: by a timer, or by the answer to a request of its own.
  void woke(bool by_timer, bool harmless, Nanoseconds now);
  void parked(bool did_kube, bool did_other);
  // `is_look`: a GET or LIST without a body; anything else ends the pattern.
  RequestId request(const kube::Request& request, bool is_look);
  // The answer is in the guest's hands, whole.
  void answered(RequestId id, Answer answer);
  // It came not whole, or was the host's own.
  void spoiled(RequestId id);

  // --- What the host does instead ---
  struct Plan {
    Nanoseconds next_look{};           // When the next round of looks is due.
    Nanoseconds until{};               // The guest sleeps no longer.
    std::uint64_t generation = 0;      // Answers to rounds of an older one are stale.
  };
  // The guest's own deadline has come. Unset: resume it. While offloading: the plan as it stands.
  std::optional<Plan> deadline(Nanoseconds now);
  bool offloading() const { return plan_.has_value(); }
  std::optional<Plan> plan() const { return plan_; }
  // The looks of a round, in the guest's own order. REQUIRES: offloading.
  const std::vector<Look>& looks() const { return pattern_; }
  // What the look said. False: it differs, and the guest is to be resumed. REQUIRES: offloading.
  bool same(std::size_t look, const Answer& answer);
  // A round is over and nothing differed: when the next is due. REQUIRES: offloading.
  Plan round_over(Nanoseconds now);
  // A look could not be made. REQUIRES: offloading.
  void failed();

  // Why offloading last ended.
  enum class Release : std::uint8_t { None, Changed, Failed, SleptLongest, Event };
  Release last_release() const { return release_; }

 private:
  struct Open {
    RequestId id = 0;
    std::size_t look = 0;              // Index in cycle_.looks.
  };
  struct Cycle {
    Nanoseconds start{};
    std::vector<Look> looks;
    std::size_t head_bytes = 0;
    bool plain = true;                 // Nothing else has happened.
    bool did_kube = false;
  };
  void end_cycle(Nanoseconds now);
  void release(Release why);
  void forget();
  bool cycle_equals_pattern() const;

  const Nanoseconds max_sleep_;
  Cycle cycle_;
  std::vector<Open> open_;
  RequestId next_id_ = 1;

  std::vector<Look> pattern_;          // Of the last cycle, whole and plain; empty: none.
  std::uint32_t equal_cycles_ = 0;
  Nanoseconds pattern_start_{};        // When the last such cycle began,
  Nanoseconds held_since_{};           // and when the first did.
  Nanoseconds period_{};               // The shortest time between two of them.

  std::optional<Plan> plan_;
  std::uint64_t generation_ = 0;
  Release release_ = Release::None;
  bool let_go_ = false;                // The guest is to be resumed, whatever its cycles say.
};

}  // namespace dormouse::gateway
