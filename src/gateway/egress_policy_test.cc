// SPDX-License-Identifier: Apache-2.0
#include "gateway/egress_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dormouse::gateway {
namespace {

bool allowed(std::string_view patterns, std::string_view destination) {
  const auto policy = EgressPolicy::parse(patterns);
  EXPECT_TRUE(policy) << policy.error().message;
  const auto parsed = parse_destination(destination);
  EXPECT_TRUE(parsed) << destination;
  return policy->allows(*parsed);
}
bool address_allowed(std::string_view patterns, std::string_view destination, const char* address) {
  const auto policy = EgressPolicy::parse(patterns);
  const auto parsed = parse_destination(destination);
  return policy->allows(*parsed) && policy->allows_address(*parsed, boost::asio::ip::make_address(address));
}

TEST(EgressPolicy, AllowsNothingByDefault) {
  EXPECT_FALSE(allowed("", "example.com:443"));
  EXPECT_FALSE(allowed(" , ", "1.2.3.4:443"));
}

TEST(EgressPolicy, MatchesNamesAddressesAndPorts) {
  EXPECT_TRUE(allowed("Example.com:443", "EXAMPLE.com.:443"));
  EXPECT_FALSE(allowed("example.com:443", "example.com:80"));
  EXPECT_FALSE(allowed("example.com:443", "notexample.com:443"));
  EXPECT_FALSE(allowed("example.com:443", "a.example.com:443"));
  EXPECT_TRUE(allowed("x:1, *.example.com:*", "a.b.example.com:80"));
  EXPECT_FALSE(allowed("*.example.com:*", "example.com:80"));
  EXPECT_FALSE(allowed("*.example.com:*", "evilexample.com:80"));
  EXPECT_TRUE(allowed("*:443", "anything:443"));
  EXPECT_TRUE(allowed("10.0.0.1:443", "10.0.0.1:443"));
  EXPECT_TRUE(allowed("[2001:db8::1]:443", "[2001:DB8:0::1]:443"));
  EXPECT_TRUE(allowed("10.0.0.1:443", "[::ffff:10.0.0.1]:443"));
  EXPECT_FALSE(allowed("*.0.0.1:443", "10.0.0.1:443")) << "an address is not a name";
}

TEST(EgressPolicy, GuardedAddressesNeedAPatternOfTheirOwn) {
  for (const char* address : {"127.0.0.1", "127.9.9.9", "0.0.0.0", "0.1.2.3", "169.254.169.254", "169.254.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1", "100.100.100.200",
                              "168.63.129.16", "::", "::1", "fe80::1", "ff02::1", "fd00:ec2::254", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "::127.0.0.1"}) {
    EXPECT_TRUE(is_guarded(boost::asio::ip::make_address(address))) << address;
    EXPECT_FALSE(address_allowed("*:*", "example.com:80", address)) << address;
    const std::string literal = std::string_view(address).find(':') == std::string_view::npos ? std::string(address) : "[" + std::string(address) + "]";
    EXPECT_FALSE(allowed("*:*", literal + ":80")) << address;
    EXPECT_TRUE(allowed(literal + ":80", literal + ":80")) << address;
    EXPECT_FALSE(allowed(literal + ":80", literal + ":81")) << address;
    EXPECT_TRUE(address_allowed("example.com:80," + literal + ":80", "example.com:80", address)) << "the name's address is named as well: " << address;
  }
  for (const char* address : {"10.0.0.1", "192.168.1.1", "1.1.1.1", "2001:db8::1", "fd12::1", "::ffff:10.0.0.1", "168.63.129.17"}) {
    EXPECT_FALSE(is_guarded(boost::asio::ip::make_address(address))) << address;
    EXPECT_TRUE(address_allowed("*:*", "example.com:80", address)) << address;
  }
  EXPECT_TRUE(address_allowed("localhost:80", "localhost:80", "127.0.0.1"));
  EXPECT_TRUE(address_allowed("localhost:80", "localhost:80", "::1"));
  EXPECT_FALSE(address_allowed("localhost:80", "localhost:80", "169.254.169.254"));
  EXPECT_FALSE(address_allowed("*:*", "localhost:80", "127.0.0.1"));
}

TEST(EgressPolicy, NamesTheMalformedPattern) {
  for (const char* pattern : {"example.com", "example.com:", "example.com:0", "example.com:99999", "example.com:x", ":80", "a*:80", "*.*.x:80", "*.:80", "http://x:80", "::1:80", "[::1]", "a/b:80", "a:80:90"}) {
    const auto policy = EgressPolicy::parse(std::string("good:1,") + pattern);
    ASSERT_FALSE(policy) << pattern;
    EXPECT_THAT(policy.error().message, testing::HasSubstr(pattern));
  }
  std::string many;
  for (int i = 0; i < 300; ++i) many += "a:1,";
  EXPECT_THAT(EgressPolicy::parse(many).error().message, testing::HasSubstr("more than 256"));
}

}  // namespace
}  // namespace dormouse::gateway
