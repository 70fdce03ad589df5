// SPDX-License-Identifier: Apache-2.0
#include "host/container.h"

#include <signal.h>

#include <boost/asio/post.hpp>

namespace dormouse::host {

using guest::Lifecycle;
using guest::Termination;

Container::Container(Options options, Services& services)
    : options_(std::move(options)),
      services_(services),
      lifecycle_(options_.restart_policy, options_.grace),
      timer_(services.loop),
      account_(std::make_shared<MemoryAccount>(memory_limit_bytes())),
      sleep_(guest::observed(guest::make_sleep_policy(options_.sleep), services.sleep_observer, options_.display_name)) {}

Container::~Container() {
  *self_ = nullptr;
  if (run_) run_->kill();
}

std::uint64_t Container::memory_limit_bytes() const { return options_.spec.memory_limit_bytes.value_or(services_.memory_limit_default_bytes); }

void Container::start() {
  services_.modules.load(options_.spec.image, [self = self_](Result<ModuleStore::Module> module) {
    Container* container = *self;
    if (container == nullptr || container->ended()) return;  // Stopped meanwhile: nobody waits for a compile of a minute.
    if (module) container->launch(std::move(*module));
    else container->could_not_start("ErrImageInvalid", module.error());
  });
}

void Container::could_not_start(std::string reason, const Error& error) {
  const Nanoseconds now = services_.clock.realtime();
  services_.log.error("guest cannot start", {{"guest", options_.display_name}, {"reason", reason}, {"error", error.message}});
  lifecycle_.could_not_start(services_.clock.monotonic(), Termination{.reason = std::move(reason), .exit_code = 128, .message = error.message, .started_at = now, .finished_at = now});
  settle();
  if (ended()) return;
  // It backs off; but if no pod has ever run, the host wants to know that nothing can.
  boost::asio::post(services_.loop, [self = self_] {
    if (Container* container = *self) container->options_.on_ended();
  });
}

void Container::launch(ModuleStore::Module module) {
  module_digest_ = module->info().digest;
  auto launch = options_.prepare(account_);
  if (!launch) {
    could_not_start("CreateContainerConfigError", launch.error());
    return;
  }
  services_.modules.note_start(module);
  const std::shared_ptr<gateway::Network> network = launch->network;
  stand_in_ = launch->stand_in;
  network_ = network;
  run_number_ = services_.next_run++;
  run_ = std::make_shared<guest::Run>(guest::Run::Options{
      .module = std::move(module),
      .engine = services_.engine,
      .pool = services_.workers,
      .clock = services_.clock,
      .account = account_,
      .cpu_limit_millis = options_.spec.cpu_limit_millis,
      .arguments = std::move(launch->arguments),
      .environment = std::move(launch->environment),
      .preopens = std::move(launch->preopens),
      .stdin_bytes = std::move(launch->stdin_bytes),
      .standard_output = std::move(launch->standard_output),
      .standard_error = std::move(launch->standard_error),
      .network = std::move(launch->network),
      .resources = std::move(launch->resources),
      .pages = services_.pages,
      .sleep = sleep_,
      .wakes = wakes_,
      .timer_slack_max = options_.timer_slack_max,
      .stand_in = launch->stand_in,
      .on_end =
          [self = self_, &loop = services_.loop](guest::Run::Ended ended) {
            boost::asio::post(loop, [self, ended = std::move(ended)]() mutable {
              if (Container* container = *self) container->on_run_ended(std::move(ended));
            });
          },
  });
  kill_code_ = 137;
  started_at_ = services_.clock.realtime();
  lifecycle_.begin(services_.clock.monotonic());
  services_.log.info(lifecycle_.restarts() == 0 ? "guest started" : "guest restarted",
                     {{"guest", options_.display_name}, {"restarts", lifecycle_.restarts()}});
  run_->start();
  start_probes(network);
}

void Container::start_probes(std::shared_ptr<gateway::Network> network) {
  const pods::Container& spec = options_.spec;
  if (network == nullptr || !(spec.startup_probe || spec.liveness_probe || spec.readiness_probe)) return;
  prober_ = std::make_unique<Prober>(
      Prober::Options{
          .specs = {.startup = spec.startup_probe, .liveness = spec.liveness_probe, .readiness = spec.readiness_probe},
          .display_name = options_.display_name,
          .network = std::move(network),
          .parked_since = [this]() -> std::optional<Nanoseconds> {
            if (!run_) return std::nullopt;
            const guest::Run::Rest rest = run_->rest();
            return rest.state == guest::Run::Rest::State::Running ? std::nullopt : std::optional(rest.since);
          },
          .on_unhealthy = [this](std::string why, std::optional<Nanoseconds> grace) { on_unhealthy(std::move(why), grace); },
      },
      services_);
  if (lifecycle_.state() == Lifecycle::State::Terminating) prober_->stopping();  // Stopped while it was being made.
}

// As the kubelet does: SIGTERM, the grace period, and another run unless the policy is Never.
void Container::on_unhealthy(std::string why, std::optional<Nanoseconds> grace) {
  if (!run_ || !lifecycle_.restart(services_.clock.monotonic(), grace.value_or(options_.grace))) return;
  services_.log.error("guest is unhealthy and is ended", {{"guest", options_.display_name}, {"why", why}});
  unhealthy_ = std::move(why);
  prober_->stopping();
  if (!run_->deliver_signal(SIGTERM)) kill(128 + SIGTERM);
  settle();
}

void Container::on_run_ended(guest::Run::Ended ended) {
  const guest::Run::Usage usage = run_->usage();
  earlier_usage_.add_counts(usage);
  earlier_usage_.last_wake = usage.last_wake;
  earlier_offload_ = offloaded();
  stand_in_.reset();
  prober_.reset();  // While the run that it talks to is still there.
  run_.reset();

  Termination termination{.reason = "Completed", .started_at = started_at_, .finished_at = services_.clock.realtime()};
  if (const Error* error = std::get_if<Error>(&ended.outcome)) {
    termination.reason = "ContainerCannotRun";
    termination.exit_code = 128;
    termination.message = error->message;
  } else {
    wasm::Exit& exit = std::get<wasm::Exit>(ended.outcome);
    switch (exit.kind) {
      case wasm::Exit::Kind::Returned: break;
      case wasm::Exit::Kind::Exited: termination.exit_code = exit.code; break;
      case wasm::Exit::Kind::Trapped:
        termination.exit_code = 134;  // 128 + SIGABRT, as a native abort() would give.
        termination.message = std::move(exit.message);
        termination.backtrace = std::move(exit.backtrace);
        break;
      case wasm::Exit::Kind::Stopped: termination.exit_code = kill_code_; break;
    }
    if (termination.exit_code != 0) termination.reason = "Error";
  }
  // A guest that stopped by itself after it was refused memory is told apart from one that we stopped.
  const bool stopped_by_us = lifecycle_.state() == Lifecycle::State::Terminating || lifecycle_.state() == Lifecycle::State::Restarting;
  if (ended.memory_refused && termination.exit_code != 0 && !stopped_by_us) {
    termination.reason = "OOMKilled";
    termination.message = fmt::format("memory limit of {} bytes reached (resources.limits.memory){}{}", account_->limit_bytes(), termination.message.empty() ? "" : "; ", termination.message);
  }
  if (!unhealthy_.empty()) termination.message = std::exchange(unhealthy_, {}) + (termination.message.empty() ? "" : "; " + termination.message);
  if (termination.exit_code == 0 || ((stopped_by_us || options_.plain_exit) && termination.message.empty())) {
    services_.log.info("guest ended", {{"guest", options_.display_name}, {"reason", termination.reason}, {"exit_code", termination.exit_code}});
  } else {
    services_.log.error("guest failed", {{"guest", options_.display_name}, {"reason", termination.reason}, {"exit_code", termination.exit_code}, {"message", termination.message}});
    for (const std::string& frame : termination.backtrace) services_.log.error("  at", {{"guest", options_.display_name}, {"frame", frame}});
  }
  lifecycle_.ended(services_.clock.monotonic(), std::move(termination));
  settle();
}

void Container::settle() {
  timer_.cancel();
  if (ended()) {
    if (!std::exchange(told_ended_, true)) {
      boost::asio::post(services_.loop, [self = self_] {
        if (Container* container = *self) container->options_.on_ended();
      });
    }
    return;
  }
  const auto deadline = lifecycle_.deadline();
  if (!deadline) return;
  if (lifecycle_.state() == Lifecycle::State::BackOff) {
    services_.log.info("guest backs off", {{"guest", options_.display_name}, {"seconds", std::chrono::duration_cast<std::chrono::seconds>(*deadline - services_.clock.monotonic()).count()}});
  }
  timer_.expires_after(*deadline - services_.clock.monotonic());
  timer_.async_wait([self = self_](boost::system::error_code problem) {
    Container* container = *self;
    if (problem || container == nullptr) return;
    switch (container->lifecycle_.on_timer(container->services_.clock.monotonic())) {
      case Lifecycle::Action::None: container->settle(); break;
      case Lifecycle::Action::Start: container->start(); break;
      case Lifecycle::Action::Kill:
        container->services_.log.warning("grace period over, guest is killed", {{"guest", container->options_.display_name}});
        container->kill(137);
        break;
    }
  });
}

void Container::kill(std::uint32_t exit_code) {
  kill_code_ = exit_code;
  if (run_) run_->kill();
}

void Container::stop() {
  if (lifecycle_.state() == Lifecycle::State::Terminating) return;
  const bool signalled = lifecycle_.state() == Lifecycle::State::Restarting;
  const bool ending = lifecycle_.stop(services_.clock.monotonic());
  if (prober_) prober_->stopping();
  if (ending && !run_) {
    lifecycle_.could_not_start(services_.clock.monotonic(), Termination{.reason = "Completed", .finished_at = services_.clock.realtime()});
  } else if (ending && !signalled && !run_->deliver_signal(SIGTERM)) {
    kill(128 + SIGTERM);  // It does not listen: the default action.
  }
  settle();
}

void Container::stop_at_once() {
  if (!run_) {
    stop();
    return;
  }
  lifecycle_.stop_at_once(services_.clock.monotonic());
  kill(137);
  settle();
}

wasi::StandIn::Counters Container::offloaded() const {
  wasi::StandIn::Counters counters = earlier_offload_;
  if (stand_in_) counters += stand_in_->counters();
  return counters;
}

void Container::list_sleeper(std::vector<MemoryWatch::Sleeper>& sleepers) const {
  if (!run_) return;
  const guest::Run::Rest rest = run_->rest();
  sleepers.push_back({.guest = {.id = run_number_,
                                .parked = rest.state == guest::Run::Rest::State::Parked,
                                .may_page_out = sleep_->may_page_out(),
                                .resident_bytes = rest.resident_bytes,
                                .parked_since = rest.since,
                                .expected_wake = sleep_->expected_wake()},
                      .page_out = [run = run_.get()] { run->request_page_out(); }});
}

bool Container::at_rest() const {
  switch (lifecycle_.state()) {
    case Lifecycle::State::Ended:
    case Lifecycle::State::BackOff: return true;
    default: break;
  }
  constexpr Nanoseconds kRest = std::chrono::milliseconds(10);  // Longer than between two requests of its start, mostly.
  return run_ && run_->rest().state != guest::Run::Rest::State::Running && services_.clock.monotonic() - run_->rest().since >= kRest;
}

ContainerStatus Container::status() const {
  ContainerStatus status;
  status.name = options_.spec.name;
  status.image = options_.spec.image;
  status.module_digest = module_digest_;
  status.restarts = lifecycle_.restarts();
  status.reason = lifecycle_.reason();
  status.started_at = started_at_;
  status.memory_limit_bytes = memory_limit_bytes();
  status.cpu_limit_millis = options_.spec.cpu_limit_millis;
  status.wakes = wakes_->totals();
  status.last_wake = wakes_->last();
  status.offload = offloaded();
  if (const auto network = network_.lock()) status.api = network->counters().kube;
  status.last_termination = lifecycle_.last_termination();
  if (status.last_termination) status.message = status.last_termination->message;
  status.usage = run_ ? run_->usage() : guest::Run::Usage{};
  status.usage.add_counts(earlier_usage_);
  if (status.usage.last_wake.count() == 0) status.usage.last_wake = earlier_usage_.last_wake;
  status.ready = run_ != nullptr && (!prober_ || prober_->ready());
  switch (lifecycle_.state()) {
    case Lifecycle::State::Running:
    case Lifecycle::State::Terminating:
    case Lifecycle::State::Restarting:
      status.running = run_ != nullptr;
      status.state = run_ ? "Running" : "Waiting";
      break;
    case Lifecycle::State::Waiting:
    case Lifecycle::State::BackOff: status.state = "Waiting"; break;
    case Lifecycle::State::Ended: status.state = "Terminated"; break;
  }
  return status;
}

}  // namespace dormouse::host
