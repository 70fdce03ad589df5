// SPDX-License-Identifier: Apache-2.0
#pragma once
// Ports of the machine that pods ask for (hostPort, hostIP), and which of them ask for the same.
//
// The kernel would let two of our sockets bind one port, and the first guest to listen would have it: so it is told
// where manifests are read. An empty hostIP is 0.0.0.0, as for the kubelet; 0.0.0.0 takes the port on every IPv4
// address, :: on every IPv6 address.

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "pods/pod.h"

namespace dormouse::pods {

struct IpAddress {
  bool v6 = false;
  std::array<std::uint8_t, 16> bytes{};  // The first four, if not v6.
  auto operator<=>(const IpAddress&) const = default;
  bool any() const { return bytes == std::array<std::uint8_t, 16>{}; }
};
// "10.0.0.1", "::1"; no zones, no leading zeros.
std::optional<IpAddress> parse_ip(const std::string& text);

// One sentence for each port that an earlier pod or container has already, both named with where they stand; at most
// `kHostPortConflictsMax` of them. REQUIRES: every hostIP is empty or valid.
inline constexpr std::size_t kHostPortConflictsMax = 20;
std::vector<std::string> host_port_conflicts(std::span<const Pod> pods);

}  // namespace dormouse::pods
