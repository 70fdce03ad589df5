// SPDX-License-Identifier: Apache-2.0
#pragma once
// What is behind a Process: the state that the 46 functions work on. For this folder only.

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "wasi/descriptor.h"
#include "wasi/process.h"

namespace dormouse::wasi {

// Wakes the parked guest once, from any thread; wakers hold it, so it may outlive the process.
class Wakeup final : Immovable {
 public:
  explicit Wakeup(std::function<void()> wake) : wake_(std::move(wake)) {}
  void operator()() {
    if (!armed_.exchange(false)) return;
    const std::lock_guard lock(mutex_);
    if (wake_) wake_();
  }
  void arm(bool armed) { armed_ = armed; }
  // After this, nobody is called.
  void retire() {
    const std::lock_guard lock(mutex_);
    wake_ = nullptr;
  }

 private:
  std::atomic<bool> armed_{false};
  std::mutex mutex_;
  std::function<void()> wake_;
};

// Texts behind each other with their zeros, as a guest gets them: a string object for each would be most of what they take.
struct Texts {
  explicit Texts(std::vector<std::string> texts);
  std::string bytes;
  std::vector<std::uint32_t> begins;
};

struct ProcessState {
  explicit ProcessState(Process::Options given);
  ~ProcessState();

  // `fd` if it is open, else null.
  Descriptor* find(Fd fd) { return descriptors.find(fd); }
  std::function<void()> make_waker() const {
    return [wakeup = wakeup] { (*wakeup)(); };
  }
  // Ends what a descriptor stood for.
  void release(Descriptor descriptor);
  std::shared_ptr<SignalQueue> open_signals();
  bool deliver_signal(int number);

  Process::Options options;  // Without what is below, and preopens.
  const Texts arguments, environment;
  DescriptorTable descriptors;
  std::size_t stdin_offset = 0;
  Process::Counters counters;
  const std::shared_ptr<Wakeup> wakeup;

  // What poll_oneoff waits for (poll.cc).
  struct Park {
    bool active = false;
    Nanoseconds start{};                       // Monotonic: relative time-outs count from here, however often the call is resumed.
    std::optional<Nanoseconds> deadline;
    struct Wait {
      Fd fd;
      Eventtype type;
    };
    std::vector<Wait> waits;                   // Kept between polls: no allocation in the steady state.
    std::uint32_t empty_polls = 0;             // Without a subscription, in a row.
  };
  Park park;
  bool ready(Nanoseconds now);
  std::optional<WakeCause> wake_cause(Nanoseconds now);
  void count_kube_activity(const Channel& channel);
  // False when the account refuses the room for it.
  bool add_wait(Park::Wait wait);

 private:
  std::mutex signals_mutex_;
  std::vector<std::weak_ptr<SignalQueue>> signal_queues_;
};

}  // namespace dormouse::wasi
