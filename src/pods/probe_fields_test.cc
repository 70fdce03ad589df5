// SPDX-License-Identifier: Apache-2.0
#include "pods/probe_fields.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pods/manifest.h"

namespace dormouse::pods {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

Result<Manifest> read(std::string_view probes) {
  return parse_manifest(fmt::format("apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  containers:\n  - name: c\n    image: x.wasm\n"
                                    "    ports: [{{name: health, containerPort: 8081}}]\n    {}\n", probes), "x.yaml", "default");
}
std::string error_of(std::string_view probes) {
  const auto parsed = read(probes);
  return parsed ? "(no error)" : parsed.error().message;
}

TEST(ProbeFields, AreReadAsKubernetesReadsThem) {
  const auto parsed = read("livenessProbe: {httpGet: {path: \"healthz?full=1\", port: health, httpHeaders: [{name: X-A, value: b c}]}, initialDelaySeconds: 15, periodSeconds: 20, timeoutSeconds: 2,"
                           " failureThreshold: 5, terminationGracePeriodSeconds: 0}");
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_THAT(parsed->notes, IsEmpty());
  const auto& container = parsed->pods[0].containers[0];
  ASSERT_TRUE(container.liveness_probe);
  const Probe& probe = *container.liveness_probe;
  EXPECT_EQ(probe.kind, Probe::Kind::HttpGet);
  EXPECT_EQ(probe.port, 8081);
  EXPECT_EQ(probe.path, "/healthz?full=1");
  EXPECT_THAT(probe.headers, ElementsAre(Pair("X-A", "b c")));
  EXPECT_EQ(probe.initial_delay_s, 15U);
  EXPECT_EQ(probe.period_s, 20U);
  EXPECT_EQ(probe.timeout_s, 2U);
  EXPECT_EQ(probe.failure_threshold, 5U);
  EXPECT_EQ(probe.grace_s, 0U);
  EXPECT_FALSE(container.readiness_probe);
}

TEST(ProbeFields, WhatIsLeftOutOrZeroIsTheDefault) {
  const auto parsed = read("readinessProbe: {tcpSocket: {port: 9}, periodSeconds: 0, timeoutSeconds: 0, successThreshold: 0, failureThreshold: 0}");
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ(parsed->pods[0].containers[0].readiness_probe, (Probe{.kind = Probe::Kind::TcpSocket, .port = 9, .period_s = 10, .timeout_s = 1, .success_threshold = 1, .failure_threshold = 3}));
}

TEST(ProbeFields, WhatCannotBeCalledIsNotedAndLeftOut) {
  for (const auto& [action, why] : std::vector<std::pair<std::string, std::string>>{{"exec: {command: [ls]}", "exec"}, {"grpc: {port: 1}", "grpc"}, {"httpGet: {port: 1, scheme: HTTPS}", "HTTPS"}}) {
    const auto parsed = read("startupProbe: {" + action + "}");
    ASSERT_TRUE(parsed) << parsed.error().message;
    EXPECT_FALSE(parsed->pods[0].containers[0].startup_probe);
    EXPECT_THAT(parsed->notes, ElementsAre(::testing::AllOf(HasSubstr("x.yaml:9: spec.containers[0].startupProbe is not called"), HasSubstr(why))));
  }
}

TEST(ProbeFields, WhatTheApiServerRefusesIsRefused) {
  EXPECT_THAT(error_of("livenessProbe: {periodSeconds: 3}"), HasSubstr("needs exactly one of httpGet"));
  EXPECT_THAT(error_of("livenessProbe: {httpGet: {port: 1}, tcpSocket: {port: 1}}"), HasSubstr("needs exactly one of"));
  EXPECT_THAT(error_of("livenessProbe: {httpGet: {path: /}}"), HasSubstr("livenessProbe.httpGet.port is required"));
  EXPECT_THAT(error_of("livenessProbe: {httpGet: {port: metrics}}"), HasSubstr("\"metrics\" is neither a number nor the name"));
  EXPECT_THAT(error_of("livenessProbe: {httpGet: {port: 65536}}"), HasSubstr("65536 is not a port"));
  EXPECT_THAT(error_of("livenessProbe: {tcpSocket: {port: 1}, successThreshold: 2}"), HasSubstr("must be 1 for a livenessProbe"));
  EXPECT_THAT(error_of("readinessProbe: {tcpSocket: {port: 1}, terminationGracePeriodSeconds: 1}"), HasSubstr("has no meaning for a readinessProbe"));
  EXPECT_THAT(error_of("livenessProbe: {httpGet: {port: 1, scheme: FTP}}"), HasSubstr("must be HTTP or HTTPS"));
  EXPECT_THAT(error_of("livenessProbe: {httpGet: {port: 1, pth: /}}"), HasSubstr("did you mean \"path\"?"));
}

TEST(ProbeFields, CannotPutLinesIntoTheRequest) {
  EXPECT_THAT(error_of(R"(livenessProbe: {httpGet: {port: 1, path: "/a\r\nX: y"}})"), HasSubstr("must not contain spaces or control characters"));
  EXPECT_THAT(error_of(R"(livenessProbe: {httpGet: {port: 1, path: "/a HTTP/1.1"}})"), HasSubstr("must not contain spaces or control characters"));
  EXPECT_THAT(error_of(R"(livenessProbe: {httpGet: {port: 1, httpHeaders: [{name: "a:b", value: c}]}})"), HasSubstr("is not the name of a header"));
  EXPECT_THAT(error_of(R"(livenessProbe: {httpGet: {port: 1, httpHeaders: [{name: a, value: "c\nd"}]}})"), HasSubstr("must not contain control characters"));
  EXPECT_THAT(error_of("livenessProbe: {httpGet: {port: 1, path: /" + std::string(kProbeRequestBytesMax, 'a') + "}}"), HasSubstr("larger than"));
}

}  // namespace
}  // namespace dormouse::pods
