// SPDX-License-Identifier: Apache-2.0
#include "wasm/slice_timer.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "wasm/test_support.h"

namespace dormouse::wasm::testing {
namespace {

using State = Instance::State;

std::chrono::nanoseconds thread_cpu() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

TEST(SliceTimer, EndsTheSlicesOfAnEndlessLoop) {
  Guest run(program(op::loop + op::br(0) + op::end));
  std::thread([&] {
    auto timer = SliceTimer::create(shared_engine());
    ASSERT_TRUE(timer) << timer.error().message;
    constexpr int kSlices = 10;
    const auto before = thread_cpu();
    for (int i = 0; i < kSlices; ++i) EXPECT_EQ(run.instance->resume(), State::Preempted);
    const auto slice = (thread_cpu() - before) / kSlices;
    // A kernel tick is 1 to 10 ms; no other worker ticks in this test.
    EXPECT_GE(slice, std::chrono::milliseconds(3));
    EXPECT_LE(slice, std::chrono::milliseconds(25));
    std::printf("slice: %.2f ms\n", static_cast<double>(slice.count()) / 1e6);
  }).join();
  run.instance.reset();
}

TEST(SliceTimer, DoesNotTickWhileTheGuestIsParked) {
  ModuleBuilder m;
  m.import("t", "wait", "", "i");
  m.memory(1);
  m.export_memory();
  m.export_function("_start", m.function("", "", op::loop + op::call(0) + op::drop + op::br(0) + op::end));
  Guest run(m.bytes());
  std::thread([&] {
    auto timer = SliceTimer::create(shared_engine());
    ASSERT_TRUE(timer) << timer.error().message;
    EXPECT_EQ(run.instance->resume(), State::Parked);
    constexpr auto kSlice = std::chrono::milliseconds(5), kWait = std::chrono::milliseconds(200);
    const std::uint64_t ticks = shared_engine().ticks();
    const auto cpu = thread_cpu();
    // Time passes here without this thread on a CPU: forty slices of it.
    static_cast<void>(::poll(nullptr, 0, static_cast<int>(kWait.count())));
    EXPECT_EQ(run.instance->resume(), State::Parked);
    EXPECT_LE(shared_engine().ticks() - ticks, 1u + static_cast<std::uint64_t>((thread_cpu() - cpu) / kSlice));
    EXPECT_LT(thread_cpu() - cpu, kWait / 4);
  }).join();
}

// Nothing but its entry and its exit, of which TSan keeps a record.
__attribute__((noinline)) void step() { asm volatile("" ::: "memory"); }

// TSan's own runtime too, which may hold a lock then: of a thousand of these signals one comes where it does.
TEST(SliceTimer, MayInterruptWhateverItsThreadDoes) {
  std::atomic<pid_t> id = 0;
  std::atomic<bool> enough = false;
  std::thread busy([&] {
    const auto timer = SliceTimer::create(shared_engine());
    EXPECT_TRUE(timer) << timer.error().message;
    id = ::gettid();
    while (!enough.load(std::memory_order_relaxed)) {
      for (int i = 0; i < 1000; ++i) step();
    }
  });
  while (id == 0) std::this_thread::yield();
  // As the timer sends it, which would take a minute for as many.
  siginfo_t signal{};
  signal.si_code = SI_TIMER;
  signal.si_value.sival_ptr = &shared_engine().parts();
  for (int i = 0; i < 20'000; ++i) {
    const std::uint64_t ticks = shared_engine().ticks();
    const long sent = ::syscall(SYS_rt_tgsigqueueinfo, ::getpid(), id.load(), SIGRTMIN + SliceTimer::kSignalOffset, &signal);
    EXPECT_EQ(sent, 0);
    while (sent == 0 && shared_engine().ticks() == ticks) std::this_thread::yield();
  }
  enough = true;
  busy.join();
}

TEST(SliceTimer, IsGoneWhenDestroyed) {
  std::thread([] {
    for (int i = 0; i < 100; ++i) {
      auto timer = SliceTimer::create(shared_engine(), std::chrono::microseconds(100));
      ASSERT_TRUE(timer) << timer.error().message;
    }
    const std::uint64_t ticks = shared_engine().ticks();
    for (const auto until = thread_cpu() + std::chrono::milliseconds(50); thread_cpu() < until;) {}
    EXPECT_EQ(shared_engine().ticks(), ticks);
  }).join();
}

}  // namespace
}  // namespace dormouse::wasm::testing
