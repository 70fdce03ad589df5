// SPDX-License-Identifier: Apache-2.0
#include "host/kernel_limits.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <fstream>

namespace dormouse::host {

KernelLimits raise_and_read_kernel_limits() {
  KernelLimits limits;
  std::ifstream("/proc/sys/vm/max_map_count") >> limits.mappings_max;
  rlimit descriptors{};
  if (::getrlimit(RLIMIT_NOFILE, &descriptors) == 0) {
    if (descriptors.rlim_cur < descriptors.rlim_max) {
      rlimit raised = descriptors;
      raised.rlim_cur = raised.rlim_max;
      if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) descriptors = raised;
    }
    limits.descriptors_max = descriptors.rlim_cur;
  }
  return limits;
}

std::vector<std::string> too_low(const KernelLimits& limits, std::uint64_t guests) {
  std::vector<std::string> sentences;
  const std::uint64_t mappings = guests * kMappingsPerGuest + kMappingsOfHost;
  if (limits.mappings_max != 0 && mappings > limits.mappings_max) {
    sentences.push_back(fmt::format("{} guests need about {} memory mappings, and the kernel allows a process {}: some guests will not start. As root: sysctl -w vm.max_map_count={}", guests,
                                    mappings, limits.mappings_max, mappings * 2));
  }
  const std::uint64_t descriptors = guests * kDescriptorsPerGuest + kDescriptorsOfHost;
  if (limits.descriptors_max != 0 && descriptors > limits.descriptors_max) {
    sentences.push_back(fmt::format("{} guests need about {} open files, and this process may have {}: some guests will not leave RAM. Raise the hard limit: ulimit -Hn {}, or LimitNOFILE= of its service",
                                    guests, descriptors, limits.descriptors_max, descriptors * 2));
  }
  return sentences;
}

}  // namespace dormouse::host
