// SPDX-License-Identifier: Apache-2.0
#include "gateway/egress_policy.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <span>

#include "http/field_syntax.h"

namespace dormouse::gateway {

namespace ip = boost::asio::ip;

namespace {

constexpr std::size_t kHostBytesMax = 253;

// The IPv4 address inside an IPv6 one: mapped, compatible, or behind the well-known NAT64 prefix.
ip::address unwrapped(const ip::address& address) {
  if (!address.is_v6()) return address;
  const ip::address_v6::bytes_type bytes = address.to_v6().to_bytes();
  const auto starts_with = [&](std::initializer_list<unsigned char> prefix) { return std::ranges::equal(prefix, std::span(bytes).first(prefix.size())); };
  const bool wraps = starts_with({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}) || starts_with({0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0}) ||
                     (starts_with({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}) && bytes[12] != 0);
  if (!wraps) return ip::address_v6(bytes);  // Without its scope.
  return ip::address_v4(ip::address_v4::bytes_type{bytes[12], bytes[13], bytes[14], bytes[15]});
}

std::optional<ip::address> literal(std::string_view host) {
  boost::system::error_code error;
  const ip::address address = ip::make_address(std::string(host), error);
  if (error) return std::nullopt;
  return address;
}

bool is_host_name(std::string_view host) {
  if (host.empty() || host.size() > kHostBytesMax || host.front() == '.' || host.back() == '.' || host.find("..") != std::string_view::npos) return false;
  return std::ranges::all_of(host, [](char c) { return http::is_digit(c) || http::is_alpha(c) || c == '-' || c == '.' || c == '_'; });
}

// Splits "HOST:PORT" at the last colon and takes the brackets off.
bool split(std::string_view text, std::string& host, std::string_view& port) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return false;
  std::string_view name = text.substr(0, colon);
  port = text.substr(colon + 1);
  if (name.starts_with('[')) {
    if (!name.ends_with(']') || name.find(':') == std::string_view::npos) return false;
    name = name.substr(1, name.size() - 2);
  } else if (name.find(':') != std::string_view::npos) {
    return false;
  }
  if (name.ends_with('.') && name != "*.") name.remove_suffix(1);
  host = http::to_lower(name);
  return true;
}

std::optional<std::uint16_t> port_number(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || port == 0 || text.front() == '0') return std::nullopt;
  return port;
}

}  // namespace

std::optional<Destination> parse_destination(std::string_view text) {
  Destination destination;
  std::string_view port_text;
  if (!split(text, destination.host, port_text)) return std::nullopt;
  const std::optional<std::uint16_t> port = port_number(port_text);
  if (!port) return std::nullopt;
  destination.port = *port;
  destination.address = literal(destination.host);
  if (destination.host.find('%') != std::string::npos) return std::nullopt;  // An IPv6 scope names one of the host's links.
  if (!destination.address && !is_host_name(destination.host)) return std::nullopt;
  return destination;
}

Result<EgressPolicy> EgressPolicy::parse(std::string_view patterns) {
  EgressPolicy policy;
  std::string list(patterns);
  std::ranges::replace_if(list, [](char c) { return c == ' ' || c == '\t' || c == '\n'; }, ',');
  std::string wrong;
  http::every_list_element(list, [&](std::string_view text) {
    Pattern pattern;
    std::string_view port;
    bool good = split(text, pattern.host, port) && policy.patterns_.size() < kPatternsMax;
    if (good && port != "*") {
      pattern.port = port_number(port);
      good = pattern.port.has_value();
    }
    if (good && pattern.host != "*") {
      pattern.address = literal(pattern.host);
      const std::string_view name = pattern.host.starts_with("*.") ? std::string_view(pattern.host).substr(2) : std::string_view(pattern.host);
      good = pattern.address.has_value() || is_host_name(name);
    }
    if (!good) {
      wrong = text;
      return false;
    }
    policy.patterns_.push_back(std::move(pattern));
    return true;
  });
  if (!wrong.empty()) {
    if (policy.patterns_.size() >= kPatternsMax) return fail(ErrorCode::InvalidArgument, "more than {} egress patterns; shorten the list", kPatternsMax);
    return fail(ErrorCode::InvalidArgument, "\"{}\" is not an egress pattern; write HOST:PORT with HOST a name, *.NAME, * or an address, and PORT a number or *", wrong);
  }
  return policy;
}

bool EgressPolicy::Pattern::matches(const Destination& destination) const {
  if (port && *port != destination.port) return false;
  if (host == "*") return true;
  if (address || destination.address) return address && destination.address && unwrapped(*address) == unwrapped(*destination.address);
  if (host.starts_with("*.")) return destination.host.size() > host.size() - 1 && destination.host.ends_with(std::string_view(host).substr(1));
  return host == destination.host;
}

bool EgressPolicy::allows(const Destination& destination) const {
  if (destination.address) return allows_address(destination, *destination.address);
  return std::ranges::any_of(patterns_, [&](const Pattern& pattern) { return pattern.matches(destination); });
}

bool EgressPolicy::allows_address(const Destination& destination, const ip::address& address) const {
  const ip::address bare = unwrapped(address);
  const bool guarded = is_guarded(bare);
  return std::ranges::any_of(patterns_, [&](const Pattern& pattern) {
    if (!guarded) return pattern.matches(destination);
    if (pattern.port && *pattern.port != destination.port) return false;
    if (pattern.address) return unwrapped(*pattern.address) == bare;
    return pattern.host == "localhost" && destination.host == "localhost" && bare.is_loopback();
  });
}

bool is_guarded(const ip::address& address) {
  const ip::address bare = unwrapped(address);
  if (bare.is_unspecified() || bare.is_loopback() || bare.is_multicast()) return true;
  if (bare.is_v6()) {
    const ip::address_v6 v6 = bare.to_v6();
    static const ip::address_v6 kMetadata = ip::make_address_v6("fd00:ec2::254");
    return v6.is_link_local() || v6.is_site_local() || v6 == kMetadata;
  }
  const std::uint32_t v4 = bare.to_v4().to_uint();
  // Metadata services outside the link-local net: 100.100.100.200 and 168.63.129.16.
  constexpr std::array<std::uint32_t, 2> kMetadata = {0x646464c8, 0xa83f8110};
  return v4 >> 24 == 0 || v4 >> 16 == 0xa9fe || v4 >= 0xf0000000 || std::ranges::find(kMetadata, v4) != kMetadata.end();
}

}  // namespace dormouse::gateway
