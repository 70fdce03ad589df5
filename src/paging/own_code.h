// SPDX-License-Identifier: Apache-2.0
#pragma once
// The code and constants of this very program. Most of them are wanted at the start alone (manifests, modules, TLS): 13 MB of a host that
// then needs 3. They stay mapped, and are counted as its memory, until somebody wants them out; dropped, they are in page cache.
//
// Ownership: a value. Threads: any; others may run meanwhile, and fault for what they run.

#include <cstdint>
#include <span>
#include <vector>

#include "paging/page_scan.h"

namespace dormouse::paging {

class OwnCode {
 public:
  static constexpr std::uint64_t kMappedMax = 5 << 20;  // What a host with a hundred operators at rest runs takes 3 to 4 MiB of page tables' reach (64 KiB a fault).

  OwnCode();
  // Takes all of it out of the page tables if more than `mapped_max` bytes are there: the next to run faults 64 KiB at a time, 0.1 ms in all.
  // Yields the bytes dropped.
  std::uint64_t drop(const PageScan& scan, std::uint64_t mapped_max = kMappedMax) const;
  std::uint64_t mapped_bytes(const PageScan& scan) const;

 private:
  std::vector<std::span<std::byte>> segments_;  // What cannot be written to: nothing of them is only in RAM.
};

}  // namespace dormouse::paging
