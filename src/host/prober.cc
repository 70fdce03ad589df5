// SPDX-License-Identifier: Apache-2.0
#include "host/prober.h"

namespace dormouse::host {

using guest::ProbeKind;
using guest::Probes;

Prober::Prober(Options options, Services& services) : options_(std::move(options)), services_(services), probes_(options_.specs), timer_(services.loop) {
  probes_.begin(services_.clock.monotonic());
  schedule();
}

void Prober::schedule() {
  const auto deadline = probes_.deadline();
  if (!deadline) return;
  timer_.expires_after(*deadline - services_.clock.monotonic());
  timer_.async_wait([this, alive = std::weak_ptr(alive_)](boost::system::error_code problem) {
    if (!problem && !alive.expired()) tick();
  });
}

void Prober::tick() {
  for (const ProbeKind kind : probes_.due(services_.clock.monotonic(), options_.parked_since())) {
    calls_[static_cast<std::size_t>(kind)] =
        std::make_unique<ProbeCall>(services_.loop, options_.network, probes_.spec(kind), [this, kind](const Result<void>& outcome) { on_answer(kind, outcome); });
  }
  schedule();
}

void Prober::on_answer(ProbeKind kind, const Result<void>& outcome) {
  const Probes::Change change = probes_.answered(kind, services_.clock.monotonic(), outcome.has_value());
  bool& told = told_[static_cast<std::size_t>(kind)];
  if (outcome) told = false;
  else if (!std::exchange(told, true) && kind != ProbeKind::Startup) {
    services_.log.warning("a probe has failed", {{"guest", options_.display_name}, {"probe", to_string(kind)}, {"what", outcome.error().message}});
  }
  if (change == Probes::Change::Ready || change == Probes::Change::NotReady) {
    services_.log.info(change == Probes::Change::Ready ? "guest is ready" : "guest is not ready", {{"guest", options_.display_name}});
  }
  schedule();
  if (change != Probes::Change::Unhealthy) return;
  std::optional<Nanoseconds> grace;
  if (const auto seconds = probes_.spec(kind).grace_s) grace = std::chrono::seconds(*seconds);
  const auto on_unhealthy = options_.on_unhealthy;
  on_unhealthy(fmt::format("its {} probe has failed {} times: {}", to_string(kind), probes_.spec(kind).failure_threshold, outcome.error().message), grace);
}

}  // namespace dormouse::host
