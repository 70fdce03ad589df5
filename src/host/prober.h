// SPDX-License-Identifier: Apache-2.0
#pragma once
// The probes of one run of a container: guest::Probes decides, ProbeCall asks, this is the timer between them.
//
// Ownership: owned by its Container, for one run; shares the run's network. Threads: the loop's.

#include <boost/asio/steady_timer.hpp>

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "guest/probes.h"
#include "host/probe_call.h"
#include "host/services.h"

namespace dormouse::host {

class Prober final : Immovable {
 public:
  struct Options {
    guest::Probes::Specs specs;
    std::string display_name;
    std::shared_ptr<gateway::Network> network;
    // Since when the guest waits (monotonic); unset while it runs.
    std::function<std::optional<Nanoseconds>()> parked_since;
    // Once at most: the run should end. It may destroy this.
    std::function<void(std::string why, std::optional<Nanoseconds> grace)> on_unhealthy;
  };
  Prober(Options options, Services& services);

  // The container is being stopped.
  void stopping() { probes_.stopping(); }
  bool ready() const { return probes_.ready(); }

 private:
  void schedule();
  void tick();
  void on_answer(guest::ProbeKind kind, const Result<void>& outcome);

  const Options options_;
  Services& services_;
  guest::Probes probes_;
  boost::asio::steady_timer timer_;
  std::array<std::unique_ptr<ProbeCall>, 3> calls_;
  // A timer's answer that is under way when this goes finds it gone.
  const std::shared_ptr<const bool> alive_ = std::make_shared<const bool>(true);
  std::array<bool, 3> told_{};  // That the last answer of this probe was a failure.
};

}  // namespace dormouse::host
