// SPDX-License-Identifier: Apache-2.0
#pragma once
// One run of a container, from its start to its exit: a Task of the pool that drives an Instance.
//
// The instance is made in the first slice, on a worker. CPU time is counted a slice at a time; a quota is
// kept as the kernel's CFS bandwidth control keeps it: so much in each 100 ms, and what was overdrawn is
// paid off in the next.
//
// A parked guest may leave RAM: when its sleep policy says so, or when request_page_out() asks for it. That, and its
// way back, happen in run_slice(), where nobody else touches the guest.
//
// Ownership: shared by its container and the pool; shares module, account and policy; owns process and instance; borrows
//   the page store. Threads: run_slice() on a worker; the rest from any thread.

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/memory_account.h"
#include "base/result.h"
#include "guest/timer_slack.h"
#include "guest/wake_log.h"
#include "guest/worker_pool.h"
#include "wasi/process.h"
#include "wasi/stand_in.h"
#include "wasm/instance.h"
#include "wasm/module.h"

namespace dormouse::paging {
class PagedMemory;
class PageStore;
}  // namespace dormouse::paging

namespace dormouse::guest {

class SleepPolicy;

class Run final : public Task {
 public:
  static constexpr Nanoseconds kQuotaPeriod = std::chrono::milliseconds(100);  // CFS's default period.

  struct Ended {
    std::variant<wasm::Exit, Error> outcome;  // Error: it could not be instantiated.
    bool memory_refused = false;              // Growth past the memory limit was refused during this run.
  };
  struct Options {
    std::shared_ptr<const wasm::Module> module;
    wasm::Engine& engine;
    WorkerPool& pool;
    const Clock& clock;
    std::shared_ptr<MemoryAccount> account;
    std::optional<std::uint64_t> cpu_limit_millis;
    std::vector<std::string> arguments, environment;
    std::vector<wasi::Process::Preopen> preopens;
    std::string stdin_bytes;
    std::shared_ptr<wasi::OutputSink> standard_output, standard_error;
    std::shared_ptr<wasi::Network> network;   // May be null.
    std::shared_ptr<void> resources;          // Whatever must outlive process and instance.
    paging::PageStore* pages = nullptr;       // Null: it never leaves RAM.
    std::shared_ptr<SleepPolicy> sleep;       // Null: it leaves RAM only when asked to.
    std::shared_ptr<WakeLog> wakes;           // Null: nobody wants to know why it woke.
    Nanoseconds timer_slack_max{};            // See TimerSlack; 0: its timers are exact.
    std::shared_ptr<wasi::StandIn> stand_in;  // Null: it looks after everything itself.
    // Called once, on a worker, as the last thing of the run.
    std::function<void(Ended)> on_end;
  };
  explicit Run(Options options);
  ~Run() override;

  // Puts it on the pool. Once.
  void start();
  // False if the guest does not listen for signals: the default action is the caller's.
  bool deliver_signal(int number);
  // Ends the guest whatever it does.
  void kill();
  // If it is parked, or parks next: leave RAM, whatever the policy's time. A policy that says never is the caller's to respect.
  void request_page_out();

  // What whoever watches over the host's memory wants to know of it; each field may be a moment old.
  struct Rest {
    enum class State : std::uint8_t { Running, Parked, PagedOut };
    State state = State::Running;
    Nanoseconds since{};                      // Monotonic: when it parked; 0 before the first time.
    std::uint64_t resident_bytes = 0;         // What a page-out would free, more or less; 0 when it is out.
  };
  Rest rest() const;

  struct Usage {
    Nanoseconds cpu{};
    std::uint64_t memory_bytes = 0, memory_peak_bytes = 0;
    std::uint64_t slices = 0, wakeups = 0, preemptions = 0, throttles = 0;
    Nanoseconds last_wake{};                  // Real time; 0 before the first.
    std::uint64_t page_outs = 0, page_outs_failed = 0;
    std::uint64_t resident_bytes = 0;         // As Rest has it.
    std::uint64_t paged_bytes = 0;            // In its page file.
    std::uint64_t dirty_bytes = 0;            // That the last page-out had to write.
    bool paged_out = false;
    // What is counted over several runs: adds that of another.
    void add_counts(const Usage& other) {
      cpu += other.cpu;
      wakeups += other.wakeups;
      slices += other.slices;
      preemptions += other.preemptions;
      throttles += other.throttles;
      page_outs += other.page_outs;
      page_outs_failed += other.page_outs_failed;
    }
  };
  Usage usage() const;

  Slice run_slice() noexcept override;

 private:
  Slice end(std::variant<wasm::Exit, Error> outcome);
  Slice stay_parked(Nanoseconds now);
  void note_park(Nanoseconds now);
  void note_wake(Nanoseconds now, wasi::WakeCause::Kind kind);
  std::optional<Nanoseconds> throttled_until(Nanoseconds now);
  // Why the parked guest must run now; unset: it need not. Arms the waker again first, so that nothing is missed.
  std::optional<wasi::WakeCause> why_run(Nanoseconds now);
  // The guest is about to run because of `cause`, told at `woken_at`; it has parked again, or ended.
  void begin_wake(wasi::WakeCause cause, Nanoseconds woken_at, bool was_paged_out, bool was_cold);
  void end_wake(Nanoseconds now);

  Slice park_until(std::optional<Nanoseconds> page_out_at);
  void page_out(Nanoseconds now);
  // The guest's memory and stack are there again. Errors: they are lost.
  Result<void> page_in(bool& was_cold);
  // A guest whose memory is lost ends without running again.
  Slice end_lost(Error error);
  void set_awake(bool awake);
  wasm::Instance::State resume();

  // What ended the park, until the next one.
  struct Wake {
    bool timer = false;
    Nanoseconds at{};
    std::int64_t cpu_before_ns = 0;
    std::uint64_t activity_before = 0, kube_activity_before = 0;
  };

  Options options_;
  const std::uint64_t refusals_before_;
  std::unique_ptr<wasi::Process> process_;
  std::unique_ptr<paging::PagedMemory> paged_;  // Since the first page-out. Lies over the instance's memory, so it goes later.
  std::unique_ptr<wasm::Instance> instance_;
  std::atomic<wasm::Instance*> live_{nullptr};
  std::atomic<bool> stop_{false};
  std::atomic<bool> page_out_requested_{false};
  std::optional<Nanoseconds> page_out_at_;     // Monotonic; of the park under way.
  Nanoseconds no_page_out_before_{};           // After one that failed.
  std::optional<Nanoseconds> tidy_at_;         // When to see whether the module's code is still wanted.
  std::optional<Nanoseconds> tidy_host_at_;    // And when the host is to be tidied, if that is this one's to do.
  bool code_used_ = false;                     // By a wake-up that did something, and it is not noted yet.
  bool awake_ = false;                         // Counted with the module.
  std::uint64_t touched_bytes_ = 0;            // What a wake-up made resident, as of the last page-out; 0 before there was one.
  std::optional<Nanoseconds> resume_at_;       // The same: the guest's deadline, or later by its slack.
  TimerSlack slack_;
  bool stood_in_for_ = false;                  // The same: `resume_at_` is the stand-in's.
  std::optional<Wake> wake_;
  std::atomic<std::int64_t> woken_ns_{0};      // When a waker was called for the park under way; 0: none was.
  std::atomic<Rest::State> rest_state_{Rest::State::Running};
  std::atomic<std::int64_t> parked_since_ns_{0};
  std::atomic<std::uint64_t> resident_bytes_{0};
  Nanoseconds period_start_{};
  std::int64_t period_used_ns_ = 0;
  std::atomic<std::int64_t> cpu_ns_{0}, last_wake_ns_{0};
  std::atomic<std::uint64_t> slices_{0}, wakeups_{0}, preemptions_{0}, throttles_{0}, peak_bytes_{0};
  std::atomic<std::uint64_t> page_outs_{0}, page_outs_failed_{0}, paged_bytes_{0}, dirty_bytes_{0};
};

}  // namespace dormouse::guest
