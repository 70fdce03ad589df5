// SPDX-License-Identifier: Apache-2.0
#include "pods/host_ports.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dormouse::pods {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Pod pod(const std::string& name, std::vector<Port> ports) {
  Pod result{.name = name, .name_space = "ns", .origin = name + ".yaml:1"};
  result.containers.push_back({.name = "main", .image = "x.wasm", .ports = std::move(ports)});
  return result;
}
Port port(std::uint16_t host, std::string ip = "") { return {.container_port = 80, .host_port = host, .host_ip = std::move(ip)}; }
std::vector<std::string> conflicts(const std::vector<Pod>& pods) { return host_port_conflicts(pods); }

TEST(HostPorts, OnePortOfTwoPodsNamesBoth) {
  EXPECT_THAT(conflicts({pod("a", {port(8080)}), pod("b", {port(8080)})}),
              ElementsAre(AllOf(HasSubstr("b.yaml:1: hostPort 8080 of pod ns/b, container main is taken already by pod ns/a, container main (a.yaml:1)"))));
}

TEST(HostPorts, OfOnePodAreTwoPlaces) {
  EXPECT_THAT(conflicts({pod("a", {port(1), port(2), port(0), port(0)})}), IsEmpty());
  EXPECT_EQ(conflicts({pod("a", {port(1), port(1)})}).size(), 1U);
}

TEST(HostPorts, AddressesOfTheirOwnDoNotCollide) {
  EXPECT_THAT(conflicts({pod("a", {port(1, "127.0.0.1")}), pod("b", {port(1, "127.0.0.2")}), pod("c", {port(1, "::1")}), pod("d", {port(2, "127.0.0.1")})}), IsEmpty());
  EXPECT_THAT(conflicts({pod("a", {port(1, "0.0.0.0")}), pod("b", {port(1, "::")})}), IsEmpty());
  EXPECT_EQ(conflicts({pod("a", {port(1, "::1")}), pod("b", {port(1, "0:0:0:0:0:0:0:1")})}).size(), 1U) << "the same, written otherwise";
}

TEST(HostPorts, AWildcardCollidesWithEachAddressOfItsKindInEitherOrder) {
  EXPECT_EQ(conflicts({pod("a", {port(1)}), pod("b", {port(1, "10.0.0.1")})}).size(), 1U);
  EXPECT_EQ(conflicts({pod("a", {port(1, "10.0.0.1")}), pod("b", {port(1, "0.0.0.0")})}).size(), 1U);
  EXPECT_EQ(conflicts({pod("a", {port(1, "fe80::1")}), pod("b", {port(1, "::")})}).size(), 1U);
  EXPECT_THAT(conflicts({pod("a", {port(1, "10.0.0.1")}), pod("b", {port(2)})}), IsEmpty());
}

TEST(HostPorts, AreNotToldWithoutEnd) { EXPECT_EQ(conflicts(std::vector<Pod>(1000, pod("a", {port(1)}))).size(), kHostPortConflictsMax); }

TEST(HostPorts, AddressesAreReadStrictly) {
  for (const char* bad : {"", "localhost", "1.2.3", "1.2.3.4.5", "256.0.0.1", "fe80::1%eth0", " 1.2.3.4", "01.2.3.4", "[::1]"}) EXPECT_FALSE(parse_ip(bad)) << bad;
  EXPECT_TRUE(parse_ip("0.0.0.0")->any());
  EXPECT_TRUE(parse_ip("::")->v6);
}

}  // namespace
}  // namespace dormouse::pods
