// SPDX-License-Identifier: Apache-2.0
#include "guest/run.h"

#include <algorithm>
#include <ctime>
#include <utility>

#include "base/check.h"

namespace dormouse::guest {
namespace {

std::int64_t thread_cpu_ns() {
  timespec used{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return used.tv_sec * 1'000'000'000LL + used.tv_nsec;
}

}  // namespace

Run::Run(Options options)
    : options_(std::move(options)),
      refusals_before_(options_.account->refusals()),
      process_(std::make_unique<wasi::Process>(wasi::Process::Options{
          .arguments = std::move(options_.arguments),
          .environment = std::move(options_.environment),
          .preopens = std::move(options_.preopens),
          .stdin_bytes = std::move(options_.stdin_bytes),
          .standard_output = *options_.standard_output,
          .standard_error = *options_.standard_error,
          .network = options_.network.get(),
          .account = *options_.account,
          .clock = options_.clock,
          .wake = [this] { options_.pool.wake(*this); },
      })) {}

Run::~Run() = default;

void Run::start() { options_.pool.start(shared_from_this()); }

bool Run::deliver_signal(int number) { return process_->deliver_signal(number); }

void Run::kill() {
  stop_ = true;
  if (wasm::Instance* instance = live_.load()) instance->request_stop();
  options_.pool.wake(*this);
}

std::optional<Nanoseconds> Run::throttled_until(Nanoseconds now) {
  if (!options_.cpu_limit_millis) return std::nullopt;
  const std::int64_t quota_ns = static_cast<std::int64_t>(*options_.cpu_limit_millis) * (kQuotaPeriod.count() / 1000);
  const std::int64_t periods = (now - period_start_) / kQuotaPeriod;
  if (periods > 0) {
    period_start_ += periods * kQuotaPeriod;
    // A long sleep earns no more than one period's worth.
    period_used_ns_ = periods > period_used_ns_ / quota_ns ? 0 : period_used_ns_ - periods * quota_ns;
  }
  if (period_used_ns_ < quota_ns) return std::nullopt;
  return period_start_ + (period_used_ns_ / quota_ns) * kQuotaPeriod;
}

Task::Slice Run::end(std::variant<wasm::Exit, Error> outcome) {
  const bool refused = options_.account->refusals() != refusals_before_;
  if (options_.on_end) std::exchange(options_.on_end, nullptr)({std::move(outcome), refused});
  return {Outcome::Finished, {}};
}

Task::Slice Run::run_slice() noexcept {
  const Nanoseconds now = options_.clock.monotonic();
  if (instance_ && instance_->state() == wasm::Instance::State::Parked && !stop_) {
    // A waker may have been too eager, or the guest may have been woken for what it has read meanwhile.
    const auto deadline = process_->deadline();
    if (!process_->ready() && (!deadline || now < *deadline)) return {Outcome::Parked, deadline};
  }
  if (const auto until = throttled_until(now); until && !stop_) {
    ++throttles_;
    return {Outcome::Throttled, until};
  }
  const std::int64_t cpu_before = thread_cpu_ns();
  if (!instance_) {
    if (stop_) return end(wasm::Exit{.kind = wasm::Exit::Kind::Stopped});
    period_start_ = now;
    auto created = wasm::Instance::create(options_.engine, {.module = options_.module, .host = process_.get(), .account = *options_.account});
    if (!created) return end(std::move(created.error()));
    instance_ = std::move(*created);
    live_ = instance_.get();
    if (stop_) instance_->request_stop();
  } else if (instance_->state() == wasm::Instance::State::Parked) {
    ++wakeups_;
    last_wake_ns_ = options_.clock.realtime().count();
  }
  const wasm::Instance::State state = instance_->resume();
  const std::int64_t used = thread_cpu_ns() - cpu_before;
  cpu_ns_ += used;
  period_used_ns_ += used;
  ++slices_;
  peak_bytes_ = std::max(peak_bytes_.load(), options_.account->used_bytes());
  switch (state) {
    case wasm::Instance::State::Parked: return {Outcome::Parked, process_->deadline()};
    case wasm::Instance::State::Preempted: ++preemptions_; return {Outcome::Again, {}};
    case wasm::Instance::State::Ended: return end(instance_->exit());
    case wasm::Instance::State::Ready: break;
  }
  CHECK(false && "resume() left the instance ready");
  return {Outcome::Finished, {}};
}

Run::Usage Run::usage() const {
  Usage usage;
  usage.cpu = Nanoseconds(cpu_ns_.load());
  usage.memory_bytes = options_.account->used_bytes();
  usage.memory_peak_bytes = std::max(peak_bytes_.load(), usage.memory_bytes);
  usage.slices = slices_;
  usage.wakeups = wakeups_;
  usage.preemptions = preemptions_;
  usage.throttles = throttles_;
  usage.last_wake = Nanoseconds(last_wake_ns_.load());
  return usage;
}

}  // namespace dormouse::guest
