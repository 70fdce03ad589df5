// SPDX-License-Identifier: Apache-2.0
#include "gateway/request_info.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

namespace dormouse::gateway {
namespace {

std::string read(std::string_view method, std::string_view target) {
  const RequestInfo info = parse_request_info(method, target);
  if (!info.is_resource) return fmt::format("{} path {}", info.verb, info.path);
  return fmt::format("{} {} v={} ns={} name={}", info.verb, info.what(), info.api_version, info.namespace_name, info.name);
}

TEST(RequestInfo, NamesVerbsAndResourcesAsTheApiServerDoes) {
  struct { const char* method; const char* target; const char* expected; } const table[] = {
      {"GET", "/api/v1/namespaces", "list namespaces v=v1 ns= name="},
      {"GET", "/api/v1/namespaces/other", "get namespaces v=v1 ns=other name=other"},
      {"PUT", "/api/v1/namespaces/other/finalize", "update namespaces/finalize v=v1 ns=other name=other"},
      {"GET", "/api/v1/namespaces/other/pods", "list pods v=v1 ns=other name="},
      {"GET", "/api/v1/namespaces/other/pods/foo", "get pods v=v1 ns=other name=foo"},
      {"HEAD", "/api/v1/namespaces/other/pods/foo", "get pods v=v1 ns=other name=foo"},
      {"GET", "/api/v1/pods", "list pods v=v1 ns= name="},
      {"HEAD", "/api/v1/pods", "list pods v=v1 ns= name="},
      {"GET", "/api/v1/pods?watch=true", "watch pods v=v1 ns= name="},
      {"GET", "/api/v1/pods?watch=1&x=y", "watch pods v=v1 ns= name="},
      {"GET", "/api/v1/pods?watch", "watch pods v=v1 ns= name="},
      {"GET", "/api/v1/pods?watch=0", "list pods v=v1 ns= name="},
      {"GET", "/api/v1/pods?watch=False", "list pods v=v1 ns= name="},
      {"GET", "/api/v1/pods?w%61tch=1", "watch pods v=v1 ns= name="},
      {"GET", "/api/v1/watch/pods", "watch pods v=v1 ns= name="},
      {"GET", "/api/v1/watch/namespaces/other/pods", "watch pods v=v1 ns=other name="},
      {"GET", "/api/v1/proxy/namespaces/other/pods/foo/x", "proxy pods v=v1 ns=other name=foo"},
      {"GET", "/api/v1/namespaces/other/pods?watch=1&fieldSelector=metadata.name%3Dfoo", "watch pods v=v1 ns=other name=foo"},
      {"GET", "/api/v1/namespaces/other/pods?fieldSelector=spec.x%3D1,metadata.name==foo", "list pods v=v1 ns=other name=foo"},
      {"POST", "/api/v1/namespaces/other/pods", "create pods v=v1 ns=other name="},
      {"POST", "/api/v1/namespaces/other/pods/foo/eviction", "create pods/eviction v=v1 ns=other name=foo"},
      {"GET", "/api/v1/namespaces/other/pods/foo/proxy/a/b", "get pods/proxy v=v1 ns=other name=foo"},
      {"DELETE", "/api/v1/namespaces/other/pods/foo", "delete pods v=v1 ns=other name=foo"},
      {"DELETE", "/api/v1/namespaces/other/pods", "deletecollection pods v=v1 ns=other name="},
      {"DELETE", "/api/v1/pods/", "deletecollection pods v=v1 ns= name="},
      {"PATCH", "/apis/apps/v1/namespaces/a/deployments/d/scale", "patch deployments.apps/scale v=v1 ns=a name=d"},
      {"PATCH", "/apis/example.com/v1alpha1/widgets/w/status?fieldManager=x", "patch widgets.example.com/status v=v1alpha1 ns= name=w"},
      {"GET", "/apis/apps/v1/namespaces/a%2Fb", "list b.apps v=v1 ns=a name="},
      {"OPTIONS", "/api/v1/pods", " pods v=v1 ns= name="},
      {"GET", "/", "get path /"},
      {"GET", "/api", "get path /api"},
      {"GET", "/api/v1", "get path /api/v1"},
      {"GET", "/apis/apps/v1", "get path /apis/apps/v1"},
      {"GET", "/api/v1/watch", "get path /api/v1/watch"},
      {"GET", "/healthz?verbose", "get path /healthz"},
      {"POST", "/version", "post path /version"},
  };
  for (const auto& entry : table) {
    EXPECT_EQ(read(entry.method, entry.target), entry.expected) << entry.method << " " << entry.target;
  }
}

TEST(RequestInfo, TellsUsersWhatWasAsked) {
  EXPECT_EQ(parse_request_info("GET", "/apis/demo.dormouse.io/v1/namespaces/team-a/greetings?watch=1").text(), "watch greetings.demo.dormouse.io in team-a");
  EXPECT_EQ(parse_request_info("GET", "/api/v1/namespaces/a/pods/web-0/log").text(), "get pods/log web-0 in a");
  EXPECT_EQ(parse_request_info("GET", "/api/v1/namespaces/a").text(), "get namespaces a");
  EXPECT_EQ(parse_request_info("GET", "/api/v1/pods").text(), "list pods");
  EXPECT_EQ(parse_request_info("GET", "/healthz").text(), "get /healthz");
  EXPECT_EQ(parse_request_info("GET", "/a%0a%1b[31m").text(), "get /a??[31m");
  EXPECT_EQ(parse_request_info("GET", "/" + std::string(10'000, 'a')).text().size(), RequestInfo::kTextBytesMax);
}

TEST(RequestInfo, FindsParentSegmentsHoweverEncoded) {
  for (const char* target : {"/..", "/a/../b", "/a/..?x", "/a/%2e%2E/b", "/a/.%2e", "/a%2f..%2Fb", "/../x"}) EXPECT_TRUE(has_parent_segment(target)) << target;
  for (const char* target : {"/", "/a..b", "/.../x", "/a/./b", "/a?x=/../", "/..a/b", "/%252e%252e/"}) EXPECT_FALSE(has_parent_segment(target)) << target;
}

}  // namespace
}  // namespace dormouse::gateway
