// SPDX-License-Identifier: Apache-2.0
#pragma once
// What one guest may hold: linear memory, tables, stream buffers and /tmp are charged to one account,
// as a container's are to its memory cgroup.
//
// Threads: any. Charges race harmlessly: the limit is never passed.

#include <atomic>
#include <cstdint>

#include "base/check.h"
#include "base/types.h"

namespace dormouse {

class MemoryAccount final : Immovable {
 public:
  explicit MemoryAccount(std::uint64_t limit_bytes) : limit_bytes_(limit_bytes) {}

  // False, and a refusal is noted, when `bytes` more would pass the limit.
  [[nodiscard]] bool try_charge(std::uint64_t bytes) {
    std::uint64_t used = used_bytes_.load(std::memory_order_relaxed);
    do {
      if (bytes > limit_bytes_ || used > limit_bytes_ - bytes) {
        refusals_.fetch_add(1, std::memory_order_relaxed);
        return false;
      }
    } while (!used_bytes_.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed));
    return true;
  }
  void release(std::uint64_t bytes) {
    const std::uint64_t before = used_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
    CHECK(before >= bytes);
  }

  std::uint64_t limit_bytes() const { return limit_bytes_; }
  std::uint64_t used_bytes() const { return used_bytes_.load(std::memory_order_relaxed); }
  std::uint64_t refusals() const { return refusals_.load(std::memory_order_relaxed); }

 private:
  const std::uint64_t limit_bytes_;
  std::atomic<std::uint64_t> used_bytes_{0};
  std::atomic<std::uint64_t> refusals_{0};
};

}  // namespace dormouse
