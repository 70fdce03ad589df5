// SPDX-License-Identifier: Apache-2.0
#pragma once
// One container of a pod: loads its module, runs it, and restarts it as the pod's policy says.
//
// Lifecycle decides, Run runs; this class is the wiring between them, the loop's timers and the log.
//
// Ownership: owned by its Pod; borrows Services. Threads: the loop's.

#include <boost/asio/steady_timer.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gateway/network.h"
#include "guest/lifecycle.h"
#include "guest/run.h"
#include "guest/sleep_policy.h"
#include "host/memory_watch.h"
#include "host/prober.h"
#include "host/services.h"
#include "pods/pod.h"

namespace dormouse::host {

// What a run is made of, put together anew for each.
struct Launch {
  std::vector<std::string> arguments, environment;
  std::vector<wasi::Process::Preopen> preopens;
  std::string stdin_bytes;
  std::shared_ptr<gateway::Network> network;
  std::shared_ptr<wasi::OutputSink> standard_output, standard_error;
  std::shared_ptr<void> resources;         // Outlives the run.
  std::shared_ptr<wasi::StandIn> stand_in; // Null: the guest does all its looks itself.
};

struct ContainerStatus {
  std::string name, image, module_digest;
  std::string state, reason;               // "Running", "Waiting", "Terminated"; the reason as kubectl shows it.
  std::string message;                     // Of the last failure.
  bool running = false, ready = false;     // Ready: it runs, and its probes say so.
  std::uint32_t restarts = 0;
  Nanoseconds started_at{};                // Real time; 0 if it never ran.
  std::uint64_t memory_limit_bytes = 0;
  std::optional<std::uint64_t> cpu_limit_millis;
  guest::Run::Usage usage;                 // Of the run under way; CPU and wake-ups are summed over all runs.
  guest::WakeLog::Totals wakes;
  std::optional<guest::WakeLog::Wake> last_wake;
  wasi::StandIn::Counters offload;
  gateway::KubeCounters api;               // Of the run under way.
  std::optional<guest::Termination> last_termination;
};

class Container final : Immovable {
 public:
  struct Options {
    const pods::Container& spec;           // Outlives the container. `image` is a path.
    std::string display_name;              // In log lines: "namespace/pod" or "namespace/pod/container".
    pods::RestartPolicy restart_policy = pods::RestartPolicy::Always;
    Nanoseconds grace = std::chrono::seconds(30);
    // Files and environment for the next run. Its error is why the container cannot start.
    std::function<Result<Launch>(std::shared_ptr<MemoryAccount>)> prepare;
    Nanoseconds timer_slack_max{};
    pods::SleepMode sleep;
    bool plain_exit = false;               // A program's exit code is its caller's affair: not logged.
    std::function<void()> on_ended;        // It will not run again, or could not start. May destroy nothing of this object.
  };
  Container(Options options, Services& services);
  ~Container();

  void start();
  // SIGTERM, the grace period, then the end.
  void stop();
  void stop_at_once();

  bool ended() const { return lifecycle_.state() == guest::Lifecycle::State::Ended; }
  // It has failed before its first run, and again would not help before somebody mends module or manifest.
  bool never_ran_and_failed() const { return started_at_.count() == 0 && lifecycle_.last_termination().has_value(); }
  ContainerStatus status() const;
  // Whether its start holds nobody up any longer: its guest waits for something, or has ended, or cannot start now.
  bool at_rest() const;
  // Adds the run under way, if there is one.
  void list_sleeper(std::vector<MemoryWatch::Sleeper>& sleepers) const;
  const guest::WakeLog& wakes() const { return *wakes_; }
  wasi::StandIn::Counters offloaded() const;
  const pods::Container& spec() const { return options_.spec; }

 private:
  void launch(ModuleStore::Module module);
  void on_run_ended(guest::Run::Ended ended);
  void could_not_start(std::string reason, const Error& error);
  void settle();                           // After each event: timers, restarts, the end.
  void start_probes(std::shared_ptr<gateway::Network> network);
  void on_unhealthy(std::string why, std::optional<Nanoseconds> grace);
  void kill(std::uint32_t exit_code);
  std::uint64_t memory_limit_bytes() const;

  const Options options_;
  Services& services_;
  guest::Lifecycle lifecycle_;
  boost::asio::steady_timer timer_;
  std::shared_ptr<MemoryAccount> account_;
  std::shared_ptr<guest::Run> run_;
  std::uint64_t run_number_ = 0;
  std::unique_ptr<Prober> prober_;         // Of the run under way; null if the container has no probes.
  std::string unhealthy_;                  // Why the run under way is being ended, if a probe says so.
  const std::shared_ptr<guest::SleepPolicy> sleep_;  // What it learns outlives a run.
  std::shared_ptr<wasi::StandIn> stand_in_;
  std::weak_ptr<gateway::Network> network_;  // Of the run under way, which owns it.
  wasi::StandIn::Counters earlier_offload_;
  const std::shared_ptr<guest::WakeLog> wakes_ = std::make_shared<guest::WakeLog>();
  std::string module_digest_;
  std::uint32_t kill_code_ = 137;
  bool told_ended_ = false;
  Nanoseconds started_at_{};
  guest::Run::Usage earlier_usage_;
  // Callbacks that outlive this object find it gone.
  std::shared_ptr<Container*> self_ = std::make_shared<Container*>(this);
};

}  // namespace dormouse::host
