// SPDX-License-Identifier: Apache-2.0
#pragma once
// When a container's probes are called and what their answers mean: the kubelet's rules as a state machine without I/O
// or clock.
//
//   begin() --> startup probe only --success--> liveness and readiness, each at its period
//                  `--failures--> unhealthy        |--failures of liveness--> unhealthy: no more calls in this run
//                                                  `--failures of readiness--> not ready
//
// A result counts after successThreshold or failureThreshold answers in a row (kubernetes.io, "Configure Liveness,
// Readiness and Startup Probes"; kubelet's prober). Until then readiness is false, liveness true. The first call comes
// initialDelaySeconds, and at least a second, after the start.
//
// A sleeping guest is not woken for an answer that is known: an HTTP probe whose result is success is passed over
// while the guest has not run since it last gave that answer (docs/design/0004-probes-and-sleep.md has why and the bound).

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "pods/pod.h"

namespace dormouse::guest {

enum class ProbeKind : std::uint8_t { Startup, Liveness, Readiness };
std::string_view to_string(ProbeKind kind);  // "startup", …

class Probes {
 public:
  struct Specs {
    std::optional<pods::Probe> startup, liveness, readiness;
  };
  enum class Change : std::uint8_t { None, Started, Ready, NotReady, Unhealthy };

  static constexpr Nanoseconds kFirstCallMin = std::chrono::seconds(1);
  // A guest that parked no later than this after its answer parked because of it: it had the connection to close.
  static constexpr Nanoseconds kSettleTime = std::chrono::seconds(1);
  // However long the guest sleeps, it is asked this often.
  static constexpr Nanoseconds kPassOverMax = std::chrono::minutes(5);

  explicit Probes(Specs specs);

  // A run has begun; whatever was known of the last is forgotten.
  void begin(Nanoseconds now);
  // The container is being stopped: it is asked only whether it is ready.
  void stopping();

  // When due() wants to be called: on a whole second of the clock, so that a host of many guests wakes once for all.
  std::optional<Nanoseconds> deadline() const;
  // The probes to call now; each is answered before it is due again. `parked_since`: since when the guest has been waiting
  // without a break; unset if it runs.
  std::vector<ProbeKind> due(Nanoseconds now, std::optional<Nanoseconds> parked_since);
  // Unhealthy comes once a run, for startup or liveness.
  Change answered(ProbeKind kind, Nanoseconds now, bool success);

  bool started() const;  // Its startup probe, if it has one, has succeeded.
  bool ready() const;    // It is started, and its readiness probe, if it has one, holds it ready.
  const pods::Probe& spec(ProbeKind kind) const { return *slots_[static_cast<std::size_t>(kind)].spec; }

  struct Counters {
    std::uint64_t called = 0, failed = 0, passed_over = 0;
  };
  const Counters& counters() const { return counters_; }

 private:
  struct Slot {
    std::optional<pods::Probe> spec;
    bool over = true;                // Nothing more to ask in this run.
    bool in_flight = false;
    Nanoseconds next{};
    bool result = false;             // What counts.
    bool last = false;               // What came last, so many times in a row.
    std::uint32_t in_a_row = 0;
    Nanoseconds answered_well_at{};  // The last success; 0 if there was none.
  };
  Slot& slot(ProbeKind kind) { return slots_[static_cast<std::size_t>(kind)]; }
  const Slot& slot(ProbeKind kind) const { return slots_[static_cast<std::size_t>(kind)]; }
  bool waits_for_start(ProbeKind kind) const { return kind != ProbeKind::Startup && !started(); }
  static void advance(Slot& slot, Nanoseconds now);
  static bool may_pass_over(const Slot& slot, Nanoseconds now, std::optional<Nanoseconds> parked_since);

  std::array<Slot, 3> slots_;
  Nanoseconds began_at_{};
  bool running_ = false;
  Counters counters_;
};

}  // namespace dormouse::guest
