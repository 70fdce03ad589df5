// SPDX-License-Identifier: Apache-2.0
#include "wasm/slice_timer.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>

#include "base/check.h"
#include "base/sanitizers.h"
#include "wasm/engine_parts.h"

#ifdef DORMOUSE_TSAN
// TSan's own sigaction() would hold the signal back until the thread calls into libc, which a busy guest never does.
extern "C" int __sigaction(int, const struct sigaction*, struct sigaction*) noexcept;
#define sigaction_now __sigaction
#else
#define sigaction_now ::sigaction
#endif

namespace dormouse::wasm {
namespace {

// Runs anywhere: in the guest's code, on its stack's alternate. Two atomic additions, so errno stays too.
DORMOUSE_UNSEEN_BY_TSAN void on_slice_end(int, siginfo_t* info, void*) {
  if (info->si_code == SI_TIMER) static_cast<Engine::Parts*>(info->si_value.sival_ptr)->tick();
}

}  // namespace

Result<std::unique_ptr<SliceTimer>> SliceTimer::create(Engine& engine, std::chrono::nanoseconds slice) {
  CHECK(slice > std::chrono::nanoseconds(0));
  const int signal = SIGRTMIN + kSignalOffset;
  struct sigaction action{};
  action.sa_sigaction = &on_slice_end;
  action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
  ::sigfillset(&action.sa_mask);
  if (sigaction_now(signal, &action, nullptr) != 0) return fail_errno(errno, "sigaction");
  sigset_t mask;
  ::sigemptyset(&mask);
  ::sigaddset(&mask, signal);
  if (const int error = ::pthread_sigmask(SIG_UNBLOCK, &mask, nullptr); error != 0) return fail_errno(error, "pthread_sigmask");

  sigevent event{};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = signal;
  event.sigev_value.sival_ptr = &engine.parts();
  event._sigev_un._tid = ::gettid();
  timer_t timer{};
  if (::timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer) != 0) {
    if (errno == EAGAIN) return fail(ErrorCode::ResourceExhausted, "no more timers for worker threads: raise `ulimit -i`");
    return fail_errno(errno, "timer_create");
  }
  auto out = std::unique_ptr<SliceTimer>(new SliceTimer(timer));
  itimerspec spec{};
  spec.it_interval.tv_sec = slice.count() / 1'000'000'000;
  spec.it_interval.tv_nsec = slice.count() % 1'000'000'000;
  spec.it_value = spec.it_interval;
  if (::timer_settime(timer, 0, &spec, nullptr) != 0) return fail_errno(errno, "timer_settime");
  return out;
}

// A signal that is on its way is delivered, on this thread, before the call returns.
SliceTimer::~SliceTimer() { CHECK(::timer_delete(timer_) == 0); }

}  // namespace dormouse::wasm
