// SPDX-License-Identifier: Apache-2.0
#pragma once
// The time, handed in: nothing else in Dormouse asks the system for it, so tests can turn the hands.
//
// Threads: SystemClock and ManualClock may be read from any thread.

#include <atomic>
#include <chrono>
#include <cstdint>

namespace dormouse {

using Nanoseconds = std::chrono::nanoseconds;
constexpr double to_seconds(Nanoseconds time) { return static_cast<double>(time.count()) / 1e9; }

class Clock {
 public:
  virtual ~Clock() = default;
  // Since an arbitrary start; never goes back (CLOCK_MONOTONIC).
  virtual Nanoseconds monotonic() const = 0;
  // Since 1970-01-01T00:00:00Z (CLOCK_REALTIME).
  virtual Nanoseconds realtime() const = 0;
};

class SystemClock final : public Clock {
 public:
  Nanoseconds monotonic() const override { return read(false); }
  Nanoseconds realtime() const override { return read(true); }

 private:
  static Nanoseconds read(bool realtime);
};

// For tests. Both clocks advance together.
class ManualClock final : public Clock {
 public:
  explicit ManualClock(Nanoseconds realtime_start = std::chrono::seconds(1'800'000'000)) : offset_(realtime_start.count()) {}
  Nanoseconds monotonic() const override { return Nanoseconds(now_.load()); }
  Nanoseconds realtime() const override { return Nanoseconds(now_.load() + offset_); }
  void advance(Nanoseconds by) { now_ += by.count(); }

 private:
  std::atomic<std::int64_t> now_{1};
  std::int64_t offset_;
};

}  // namespace dormouse
