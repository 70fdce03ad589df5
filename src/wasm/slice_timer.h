// SPDX-License-Identifier: Apache-2.0
#pragma once
// Ends a busy guest's slice: a timer on the CPU time of one worker thread, whose signal ticks the engine.
//
// It counts only while the thread burns CPU, so an idle host has no tick at all. The kernel looks at such
// timers at its own tick, so a slice is the interval rounded up to 1–10 ms more.
//
// A tick ends the slices of the guests on all threads; with few workers that is harmless, and it needs no lock
// in a signal handler. Slow system calls of the thread may see EINTR though the handler asks for SA_RESTART
// (epoll_wait, poll, nanosleep): only right after it has burnt a whole slice.
//
// Ownership: borrows the engine, which outlives it.
// Threads: made and destroyed on the thread that it times.

#include <time.h>

#include <chrono>
#include <memory>

#include "base/result.h"
#include "base/types.h"
#include "wasm/engine.h"

namespace dormouse::wasm {

class SliceTimer final : Immovable {
 public:
  // For the calling thread. Takes signal kSignalOffset above SIGRTMIN for the whole process.
  // Errors: ResourceExhausted when the system has no more timers (RLIMIT_SIGPENDING).
  static Result<std::unique_ptr<SliceTimer>> create(Engine& engine, std::chrono::nanoseconds slice = std::chrono::milliseconds(5));
  ~SliceTimer();

  static constexpr int kSignalOffset = 5;

 private:
  explicit SliceTimer(timer_t timer) : timer_(timer) {}
  const timer_t timer_;
};

}  // namespace dormouse::wasm
