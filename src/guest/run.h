// SPDX-License-Identifier: Apache-2.0
#pragma once
// One run of a container, from its start to its exit: a Task of the pool that drives an Instance.
//
// The instance is made in the first slice, on a worker. CPU time is counted a slice at a time; a quota is
// kept as the kernel's CFS bandwidth control keeps it: so much in each 100 ms, and what was overdrawn is
// paid off in the next.
//
// Ownership: shared by its container and the pool; shares module and account; owns process and instance.
// Threads: run_slice() on a worker; the rest from any thread.

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
#include "guest/worker_pool.h"
#include "wasi/process.h"
#include "wasm/instance.h"
#include "wasm/module.h"

namespace dormouse::guest {

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

  struct Usage {
    Nanoseconds cpu{};
    std::uint64_t memory_bytes = 0, memory_peak_bytes = 0;
    std::uint64_t slices = 0, wakeups = 0, preemptions = 0, throttles = 0;
    Nanoseconds last_wake{};                  // Real time; 0 before the first.
  };
  Usage usage() const;

  Slice run_slice() noexcept override;

 private:
  Slice end(std::variant<wasm::Exit, Error> outcome);
  std::optional<Nanoseconds> throttled_until(Nanoseconds now);

  Options options_;
  const std::uint64_t refusals_before_;
  std::unique_ptr<wasi::Process> process_;
  std::unique_ptr<wasm::Instance> instance_;
  std::atomic<wasm::Instance*> live_{nullptr};
  std::atomic<bool> stop_{false};
  Nanoseconds period_start_{};
  std::int64_t period_used_ns_ = 0;
  std::atomic<std::int64_t> cpu_ns_{0}, last_wake_ns_{0};
  std::atomic<std::uint64_t> slices_{0}, wakeups_{0}, preemptions_{0}, throttles_{0}, peak_bytes_{0};
};

}  // namespace dormouse::guest
