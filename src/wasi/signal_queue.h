// SPDX-License-Identifier: Apache-2.0
#pragma once
// The signals that wait on one open /run/signals.
//
// Threads: any.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>

#include "base/types.h"

namespace dormouse::wasi {

class SignalQueue final : Immovable {
 public:
  static constexpr std::size_t kSignalsMax = 64;  // One of each number and room to spare; what comes after is dropped.

  void push(std::uint8_t number) {
    const std::lock_guard lock(mutex_);
    if (count_ < kSignalsMax) numbers_[count_++] = number;
  }
  std::size_t pending() const {
    const std::lock_guard lock(mutex_);
    return count_;
  }
  std::size_t read(std::span<std::byte> into, bool peek) {
    const std::lock_guard lock(mutex_);
    const std::size_t bytes = std::min(into.size(), count_);
    for (std::size_t i = 0; i < bytes; ++i) into[i] = std::byte{numbers_[i]};
    if (!peek) {
      for (std::size_t i = bytes; i < count_; ++i) numbers_[i - bytes] = numbers_[i];
      count_ -= bytes;
    }
    return bytes;
  }

 private:
  mutable std::mutex mutex_;
  std::array<std::uint8_t, kSignalsMax> numbers_{};
  std::size_t count_ = 0;
};

}  // namespace dormouse::wasi
