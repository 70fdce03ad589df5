// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the kernel allows a process, and whether that is enough for so many guests.
//
// A host that runs out of mappings or descriptors fails in the middle of its work with an error that names neither; so it
// is counted before.

#include <cstdint>
#include <string>
#include <vector>

namespace dormouse::host {

struct KernelLimits {
  std::uint64_t mappings_max = 0;      // vm.max_map_count; 0: not known.
  std::uint64_t descriptors_max = 0;   // RLIMIT_NOFILE, the soft one; 0: not known.
};

// The soft limit of descriptors is raised to the hard one first: it is low only for programs that use select().
KernelLimits raise_and_read_kernel_limits();

// Mappings: the guard before a guest's linear memory, what is committed of it, the reservation behind it; the guard of its
// stack, and its stack. Descriptors: its page file. Measured by bench/scale with 10,000 guests that have left RAM.
inline constexpr std::uint64_t kMappingsPerGuest = 5, kMappingsOfHost = 1000;
inline constexpr std::uint64_t kDescriptorsPerGuest = 1, kDescriptorsOfHost = 100;

// A sentence for each limit that is too low, with what to do about it.
std::vector<std::string> too_low(const KernelLimits& limits, std::uint64_t guests);

}  // namespace dormouse::host
