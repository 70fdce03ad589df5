// SPDX-License-Identifier: Apache-2.0
#include "host/status_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dormouse::host {
namespace {

using ::testing::HasSubstr;

HostStatus example() {
  HostStatus status;
  status.now = std::chrono::seconds(1000);
  ContainerStatus container;
  container.name = "main";
  container.state = "Running";
  container.reason = "Running";
  container.running = true;
  container.restarts = 2;
  container.started_at = std::chrono::seconds(940);
  container.usage.cpu = std::chrono::milliseconds(1500);
  container.usage.memory_bytes = 3 << 20;
  container.memory_limit_bytes = 64 << 20;
  container.last_termination = guest::Termination{.reason = "OOMKilled", .exit_code = 137, .message = "m \"q\"", .backtrace = {"f"}};
  status.pods.push_back({.name_space = "ns", .name = "p", .service_account = "sa", .message = "", .containers = {container}});
  return status;
}

TEST(StatusView, TheTableIsReadFromTheJson) {
  const auto table = status_table(status_json(example()));
  ASSERT_TRUE(table) << table.error().message;
  EXPECT_THAT(*table, HasSubstr("ns          p     main        Running   2          3.0Mi    64.0Mi   1.500s   0       -           60s"));
}

TEST(StatusView, ForeignBytesAreAnError) {
  EXPECT_THAT(status_table("nonsense").error().message, HasSubstr("not JSON"));
  EXPECT_THAT(status_table("{}").error().message, HasSubstr("one version"));
  EXPECT_THAT(status_table(R"({"now":1,"pods":[{"containers":[{}]}]})").error().message, HasSubstr("one version"));
}

TEST(StatusView, MetricsAreInPrometheusTextFormat) {
  HostStatus status = example();
  status.pods[0].name = "a\"b\\c\nd";
  const std::string text = metrics_text(status);
  EXPECT_THAT(text, HasSubstr("# TYPE dormouse_guest_restarts_total counter\n"));
  EXPECT_THAT(text, HasSubstr("dormouse_guest_restarts_total{namespace=\"ns\",pod=\"a\\\"b\\\\c\\nd\",container=\"main\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("dormouse_guest_cpu_seconds_total{namespace=\"ns\",pod=\"a\\\"b\\\\c\\nd\",container=\"main\"} 1.5\n"));
}

}  // namespace
}  // namespace dormouse::host
