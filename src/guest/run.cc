// SPDX-License-Identifier: Apache-2.0
#include "guest/run.h"

#include <algorithm>
#include <ctime>
#include <utility>

#include "base/check.h"
#include "guest/sleep_policy.h"
#include "paging/bus_guard.h"
#include "paging/paged_memory.h"
#include "paging/page_store.h"

namespace dormouse::guest {
namespace {

// After a page-out that failed (a full disk, the budget): what failed a moment ago will probably fail again.
constexpr Nanoseconds kPageOutRetry = std::chrono::seconds(5);
// Code that nobody runs leaves RAM a little later than the last guest, for bringing it back costs a wake-up 55 us (findings).
constexpr Nanoseconds kCodeStays = std::chrono::seconds(1);

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
          .wake =
              [this] {
                std::int64_t nobody = 0;
                woken_ns_.compare_exchange_strong(nobody, options_.clock.monotonic().count());
                options_.pool.wake(*this);
              },
      })),
      slack_(options_.timer_slack_max, options_.clock.monotonic()) {}

Run::~Run() {
  if (options_.stand_in) options_.stand_in->set_wake(nullptr);
  if (awake_) set_awake(false);
}

void Run::start() {
  if (options_.stand_in) {
    options_.stand_in->set_wake([weak = weak_from_this(), &pool = options_.pool] {
      if (const auto run = weak.lock()) pool.wake(*run);
    });
  }
  options_.pool.start(shared_from_this());
}

bool Run::deliver_signal(int number) { return process_->deliver_signal(number); }

void Run::kill() {
  stop_ = true;
  if (wasm::Instance* instance = live_.load()) instance->request_stop();
  options_.pool.wake(*this);
}

void Run::request_page_out() {
  page_out_requested_ = true;
  options_.pool.wake(*this);
}

Run::Rest Run::rest() const {
  return {.state = rest_state_, .since = Nanoseconds(parked_since_ns_.load()), .resident_bytes = resident_bytes_};
}

// --- Sleep ---

void Run::note_park(Nanoseconds now) {
  page_out_at_.reset();
  resident_bytes_ = touched_bytes_ != 0 ? touched_bytes_ : options_.account->used_bytes();
  stood_in_for_ = false;
  resume_at_ = process_->deadline();
  if (resume_at_) resume_at_ = slack_.resume_at(*resume_at_);
  if (options_.sleep) page_out_at_ = options_.sleep->on_park({.now = now, .deadline = resume_at_, .resident_bytes = resident_bytes_, .idled = slack_.idle()});
  parked_since_ns_ = now.count();
  rest_state_ = Rest::State::Parked;
}

void Run::note_wake(Nanoseconds now, wasi::WakeCause::Kind kind) {
  const bool was_paged_out = rest_state_ == Rest::State::PagedOut;
  rest_state_ = Rest::State::Running;
  if (!options_.sleep) return;
  WakeCause cause = WakeCause::Stream;
  if (kind == wasi::WakeCause::Kind::Timer) cause = WakeCause::Deadline;
  if (kind == wasi::WakeCause::Kind::Inbound) cause = WakeCause::Inbound;
  if (kind == wasi::WakeCause::Kind::Signal) cause = WakeCause::Signal;
  options_.sleep->on_wake({.now = now, .cause = cause, .was_paged_out = was_paged_out});
}

Task::Slice Run::park_until(std::optional<Nanoseconds> other) {
  return {Outcome::Parked, other && (!resume_at_ || *other < *resume_at_) ? other : resume_at_};
}

// The guest has nothing to do: leaves RAM if it is time for that.
Task::Slice Run::stay_parked(Nanoseconds now) {
  if (rest_state_ == Rest::State::PagedOut) {
    page_out_requested_ = false;
    if (tidy_at_ && now >= *tidy_at_) {
      tidy_at_.reset();
      code_used_ = false;
      if (options_.module->guests_awake() == 0) options_.module->drop_code_pages(&options_.pages->scan());
      tidy_host_at_ = now;
    }
    if (tidy_host_at_ && now >= *tidy_host_at_) tidy_host_at_ = options_.pages->tidy_host(now);
    return park_until(tidy_at_ ? tidy_at_ : tidy_host_at_);
  }
  if (options_.pages == nullptr) return park_until(std::nullopt);
  const bool due = page_out_at_ && now >= *page_out_at_;
  if (!due && !page_out_requested_) return park_until(page_out_at_);
  page_out_requested_ = false;
  page_out_at_.reset();
  if (now < no_page_out_before_) return park_until(std::nullopt);
  // Somebody may have woken it since it parked; then it had better stay.
  if (why_run(now)) return {Outcome::Again, {}};
  page_out(now);
  if (paged_ && paged_->lost()) return end_lost({ErrorCode::Unavailable, "the guest's memory was lost while it was to leave RAM: page file and mapping failed at once"});
  return park_until(tidy_at_ ? tidy_at_ : tidy_host_at_);
}

void Run::page_out(Nanoseconds now) {
  const std::span<std::byte> stack = instance_->stack();
  const wasm::Memory memory = instance_->memory();
  const auto bytes = memory.slice(0, memory.size_bytes());
  if (stack.empty() || !bytes || bytes->empty()) return;  // It is still being instantiated, or has nothing to page.
  if (!paged_) paged_ = std::make_unique<paging::PagedMemory>(*options_.pages);
  const auto freed = paged_->page_out({.stack = stack, .unused_bytes = instance_->unused_stack_bytes(), .beside = instance_->beside_stack(), .memory = *bytes, .image_bytes = options_.module->info().memory_initial_bytes,
                                        .around_bytes = wasm::Instance::kAroundMemoryBytes},
                                       slack_.idle());
  options_.pages->note_page_out_time(options_.clock.monotonic() - now);
  paged_bytes_ = paged_->stored_bytes();
  if (!freed) {
    ++page_outs_failed_;
    options_.pages->report(freed.error(), now);
    no_page_out_before_ = now + kPageOutRetry;
    return;
  }
  if (page_outs_++ > 0) touched_bytes_ = freed->resident_bytes;  // The first frees what the start has touched.
  dirty_bytes_ = freed->written_bytes;
  resident_bytes_ = 0;
  rest_state_ = Rest::State::PagedOut;
  set_awake(false);
  if (options_.module->guests_awake() > 0) return;
  // Who was woken by its own timer and did nothing has nobody waiting for the next such time.
  if (slack_.idle()) options_.module->drop_code_pages(std::exchange(code_used_, false) ? &options_.pages->scan() : nullptr);
  else tidy_at_ = now + kCodeStays;
}

Result<void> Run::page_in(bool& was_cold) {
  if (rest_state_ != Rest::State::PagedOut) return {};
  // What its last wake-up used of the code is still mapped.
  if (std::exchange(tidy_at_, std::nullopt)) code_used_ = true;
  auto back = paged_->wake([&] {
    was_cold = true;
    options_.module->read_ahead();
  });
  if (back) set_awake(true);
  return back;
}

Task::Slice Run::end_lost(Error error) {
  instance_->abandon();
  return end(std::move(error));
}

wasm::Instance::State Run::resume() {
  const paging::BusGuard::Scope guard(paged_.get(), [](void* instance) { static_cast<wasm::Instance*>(instance)->request_stop(); }, instance_.get());
  return instance_->resume();
}

void Run::set_awake(bool awake) {
  if (std::exchange(awake_, awake) != awake) options_.module->note_guest_awake(awake);
}

std::optional<wasi::WakeCause> Run::why_run(Nanoseconds now) {
  std::optional<wasi::WakeCause> cause;
  if (process_->ready()) cause = process_->wake_cause();
  const bool due = resume_at_ && now >= *resume_at_;
  if (cause && cause->kind != wasi::WakeCause::Kind::Timer) return cause;
  if (!due && !stood_in_for_) return std::nullopt;
  if (options_.stand_in) {
    if (const auto until = options_.stand_in->on_deadline(now)) {
      resume_at_ = until;
      stood_in_for_ = true;
      return std::nullopt;
    }
  }
  if (stood_in_for_) resume_at_ = now;  // Let go, most likely before its time.
  return wasi::WakeCause{};
}

void Run::begin_wake(wasi::WakeCause cause, Nanoseconds woken_at, bool was_paged_out, bool was_cold) {
  const Nanoseconds now = options_.clock.monotonic();
  const bool timer = cause.kind == wasi::WakeCause::Kind::Timer;
  if (!timer) slack_.active(now);
  const wasi::Process::Counters counters = process_->counters();
  wake_ = Wake{.timer = timer, .at = now, .cpu_before_ns = cpu_ns_, .activity_before = counters.activity, .kube_activity_before = counters.kube_activity};
  if (options_.stand_in) options_.stand_in->on_wake(cause.kind, now);
  if (!options_.wakes) return;
  const Nanoseconds since = timer ? resume_at_.value_or(now) : woken_at;
  options_.wakes->begin({.at = options_.clock.realtime(),
                         .latency = since.count() == 0 ? Nanoseconds(0) : std::max(Nanoseconds(0), now - since),
                         .cause = std::move(cause),
                         .was_paged_out = was_paged_out,
                         .was_cold = was_cold});
}

void Run::end_wake(Nanoseconds now) {
  if (!wake_) return;
  const Wake wake = *std::exchange(wake_, std::nullopt);
  const wasi::Process::Counters counters = process_->counters();
  const std::uint64_t calls = counters.activity - wake.activity_before, kube_calls = counters.kube_activity - wake.kube_activity_before;
  const bool active = calls != 0;
  if (options_.stand_in) options_.stand_in->on_park(now, {.kube = kube_calls, .other = calls - std::min(calls, kube_calls)});
  if (wake.timer && !active) slack_.woke_idly();
  else slack_.active(now);
  if (options_.wakes) options_.wakes->end(now - wake.at, Nanoseconds(cpu_ns_.load() - wake.cpu_before_ns), active);
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
  if (paged_ && paged_->lost()) outcome = Error{ErrorCode::Unavailable, "a page of the guest's memory could not be read back from its page file: look at the disk (--page-directory)"};
  paged_.reset();
  paged_bytes_ = 0;
  resident_bytes_ = 0;
  set_awake(false);
  if (options_.on_end) std::exchange(options_.on_end, nullptr)({std::move(outcome), refused});
  return {Outcome::Finished, {}};
}

Task::Slice Run::run_slice() noexcept {
  const Nanoseconds now = options_.clock.monotonic();
  std::optional<wasi::WakeCause> cause;
  Nanoseconds woken_at{};
  if (instance_ && instance_->state() == wasm::Instance::State::Parked && !stop_) {
    // A waker may have been too eager, or the guest may have been woken for what it has read meanwhile.
    woken_at = Nanoseconds(woken_ns_.exchange(0));
    cause = why_run(now);
    if (!cause) return stay_parked(now);
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
    set_awake(true);
    if (stop_) instance_->request_stop();
  } else if (instance_->state() == wasm::Instance::State::Parked) {
    ++wakeups_;
    last_wake_ns_ = options_.clock.realtime().count();
    const bool was_paged_out = rest_state_ == Rest::State::PagedOut;
    bool was_cold = false;
    if (auto back = page_in(was_cold); !back) return end_lost(std::move(back.error()));
    note_wake(now, cause ? cause->kind : wasi::WakeCause::Kind::Other);
    if (cause) begin_wake(std::move(*cause), woken_at, was_paged_out, was_cold);
  }
  const wasm::Instance::State state = resume();
  const std::int64_t used = thread_cpu_ns() - cpu_before;
  cpu_ns_ += used;
  period_used_ns_ += used;
  ++slices_;
  peak_bytes_ = std::max(peak_bytes_.load(), options_.account->used_bytes());
  switch (state) {
    case wasm::Instance::State::Parked: {
      if (paged_ && paged_->lost()) {
        stop_ = true;
        return {Outcome::Again, {}};
      }
      const Nanoseconds parked_at = options_.clock.monotonic();
      end_wake(parked_at);
      note_park(parked_at);
      return stay_parked(parked_at);
    }
    case wasm::Instance::State::Preempted: ++preemptions_; return {Outcome::Again, {}};
    case wasm::Instance::State::Ended: end_wake(options_.clock.monotonic()); return end(instance_->exit());
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
  usage.page_outs = page_outs_;
  usage.page_outs_failed = page_outs_failed_;
  usage.resident_bytes = resident_bytes_;
  usage.paged_bytes = paged_bytes_;
  usage.dirty_bytes = dirty_bytes_;
  usage.paged_out = rest_state_ == Rest::State::PagedOut;
  return usage;
}

}  // namespace dormouse::guest
