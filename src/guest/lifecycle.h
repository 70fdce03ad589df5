// SPDX-License-Identifier: Apache-2.0
#pragma once
// When a container starts, restarts, and ends: Kubernetes' rules as a state machine without I/O or clock.
//
//   Waiting --begin()--> Running --ended()--> BackOff --deadline--> Waiting
//      |                    |  `------ended(), no restart-----> Ended
//      |                 stop()--> Terminating --ended()------> Ended
//      |              restart()--> Restarting --ended()-------> BackOff | Ended
//      `-- could_not_start() --> BackOff | Ended
//
// Back-off: 10 s, doubled to 5 min, forgotten after 10 min of running (kubelet's MaxContainerBackOff and
// backOffPeriod; kubernetes.io, "Pod lifecycle", "Container restarts").

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "pods/pod.h"

namespace dormouse::guest {

// How a container's last run went; the fields of ContainerStateTerminated.
struct Termination {
  std::string reason;    // Completed, Error, OOMKilled, ContainerCannotRun
  std::uint32_t exit_code = 0;
  std::string message;
  std::vector<std::string> backtrace;
  Nanoseconds started_at{}, finished_at{};  // Real time.
};

class Lifecycle {
 public:
  enum class State : std::uint8_t { Waiting, Running, BackOff, Terminating, Restarting, Ended };
  enum class Action : std::uint8_t { None, Start, Kill };

  static constexpr Nanoseconds kBackOffMin = std::chrono::seconds(10);
  static constexpr Nanoseconds kBackOffMax = std::chrono::minutes(5);
  static constexpr Nanoseconds kBackOffForgotten = std::chrono::minutes(10);

  Lifecycle(pods::RestartPolicy policy, Nanoseconds grace) : policy_(policy), grace_(grace) {}

  // The guest runs. REQUIRES: Waiting, or Terminating (stop() came while it was being made).
  void begin(Nanoseconds now);
  // It could not be made (module missing, corrupt, no memory): counts as a failed run.
  void could_not_start(Nanoseconds now, Termination termination);
  // The run is over. REQUIRES: Running, Terminating or Restarting.
  void ended(Nanoseconds now, Termination termination);
  // From now on it is being stopped; the caller signals. False if there is nothing to wait for (Ended now).
  bool stop(Nanoseconds now);
  // Stops without grace from now on.
  void stop_at_once(Nanoseconds now);

  // The run is to end because it is unhealthy, and another follows unless the policy is Never, whatever exit code it ends
  // with (as the kubelet does); the caller signals. False, and nothing happens, unless Running.
  bool restart(Nanoseconds now, Nanoseconds grace);

  // When on_timer() wants to be called.
  std::optional<Nanoseconds> deadline() const { return deadline_; }
  Action on_timer(Nanoseconds now);

  State state() const { return state_; }
  std::uint32_t restarts() const { return restarts_; }
  const std::optional<Termination>& last_termination() const { return last_; }
  // "ContainerCreating", "CrashLoopBackOff", … as `kubectl get pods` shows them.
  std::string_view reason() const;

 private:
  void after_run(Nanoseconds now, Termination termination, bool failed);

  const pods::RestartPolicy policy_;
  const Nanoseconds grace_;
  State state_ = State::Waiting;
  std::optional<Nanoseconds> deadline_;
  Nanoseconds began_at_{};
  Nanoseconds back_off_{};
  std::uint32_t restarts_ = 0;
  bool started_ = false;
  std::optional<Termination> last_;
};

}  // namespace dormouse::guest
