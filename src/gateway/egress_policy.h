// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where a guest may connect to besides the Kubernetes API: nowhere, unless its pod names the destination.
//
//   "api.example.com:443, *.example.org:443, 10.1.2.3:*, [fd00::1]:8080, localhost:9000"
//
// Names are matched before they are resolved. What a name resolves to is checked as well: addresses of this machine,
// its links and the cloud's metadata service are open only to a pattern that is that address (or is `localhost`),
// so that no DNS record can lead a guest there.
//
// Ownership: a value.
// Threads: const functions from any.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <boost/asio/ip/address.hpp>

#include "base/result.h"

namespace dormouse::gateway {

struct Destination {
  std::string host;  // In lower case, without a final dot or brackets: a name or an address.
  std::uint16_t port = 0;
  std::optional<boost::asio::ip::address> address;  // Set when `host` is one.
};
// "HOST:PORT" as the guest wrote it. Unset: malformed.
std::optional<Destination> parse_destination(std::string_view text);

class EgressPolicy {
 public:
  static constexpr std::size_t kPatternsMax = 256;

  EgressPolicy() = default;  // Nothing is allowed.
  // Patterns with commas (or blanks) between them. Errors: InvalidArgument names the pattern.
  static Result<EgressPolicy> parse(std::string_view patterns);

  // By name and port, before resolution; a literal address is checked as an address at once.
  bool allows(const Destination& destination) const;
  // One address that `destination` resolved to. REQUIRES: allows(destination).
  bool allows_address(const Destination& destination, const boost::asio::ip::address& address) const;

 private:
  struct Pattern {
    std::string host;                  // "*": any; "*.x": names below x.
    std::optional<boost::asio::ip::address> address;
    std::optional<std::uint16_t> port;  // Unset: any.
    bool matches(const Destination& destination) const;
  };
  std::vector<Pattern> patterns_;
};

// Addresses that only an explicit pattern opens: unspecified, loopback, link-local, multicast, broadcast and the
// metadata services of clouds, also when wrapped in an IPv6 address.
bool is_guarded(const boost::asio::ip::address& address);

}  // namespace dormouse::gateway
