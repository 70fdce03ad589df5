// SPDX-License-Identifier: Apache-2.0
#include "host/status_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dormouse::host {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

HostStatus example() {
  HostStatus status;
  status.now = std::chrono::seconds(1000);
  ContainerStatus container;
  container.name = "main";
  container.state = "Running";
  container.reason = "Running";
  container.running = container.ready = true;
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
  EXPECT_THAT(*table, HasSubstr("ns          p     main        Running   yes     2          3.0Mi    64.0Mi   1.500s   0       -           60s   "));
  HostStatus unready = example();
  unready.pods[0].containers[0].ready = false;
  EXPECT_THAT(*status_table(status_json(unready)), HasSubstr("Running   no      2 "));
  EXPECT_THAT(metrics_text(unready), HasSubstr("dormouse_guest_ready{namespace=\"ns\",pod=\"p\",container=\"main\"} 0\n"));
  HostStatus woken = example();
  woken.pods[0].containers[0].last_wake.emplace().cause = {.kind = wasi::WakeCause::Kind::Watch, .what = std::make_shared<const std::string>("watch pods in team-a")};
  EXPECT_THAT(*status_table(status_json(woken)), HasSubstr("60s   watch pods in team-a\n"));
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

TEST(StatusView, WhatAGuestAsksOfTheAPIServerIsCounted) {
  HostStatus status = example();
  gateway::KubeCounters& api = status.pods[0].containers[0].api;
  api.responses[2] = 12;
  api.responses[4] = 3;
  api.watches_open = 2;
  const std::string text = metrics_text(status);
  EXPECT_THAT(text, HasSubstr("# TYPE rest_client_requests_total counter\n"));
  EXPECT_THAT(text, HasSubstr("rest_client_requests_total{namespace=\"ns\",pod=\"p\",container=\"main\",code=\"2xx\"} 12\n"));
  EXPECT_THAT(text, HasSubstr("rest_client_requests_total{namespace=\"ns\",pod=\"p\",container=\"main\",code=\"4xx\"} 3\n"));
  EXPECT_THAT(text, Not(HasSubstr("code=\"5xx\"")));
  EXPECT_THAT(text, HasSubstr("dormouse_guest_api_watches{namespace=\"ns\",pod=\"p\",container=\"main\"} 2\n"));
}

TEST(StatusView, WhatIsOutOfRamIsTold) {
  HostStatus status = example();
  guest::Run::Usage& usage = status.pods[0].containers[0].usage;
  usage.page_outs = 7;
  usage.paged_out = true;
  usage.paged_bytes = 4096;
  const std::string text = metrics_text(status);
  EXPECT_THAT(text, HasSubstr("dormouse_guest_page_outs_total{namespace=\"ns\",pod=\"p\",container=\"main\"} 7\n"));
  EXPECT_THAT(text, HasSubstr("dormouse_guest_paged_out{namespace=\"ns\",pod=\"p\",container=\"main\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("dormouse_guest_resident_bytes{namespace=\"ns\",pod=\"p\",container=\"main\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("dormouse_guest_paged_bytes{namespace=\"ns\",pod=\"p\",container=\"main\"} 4096\n"));
  EXPECT_THAT(status_json(status), HasSubstr("\"pagedOut\":true"));
  EXPECT_THAT(text, ::testing::Not(HasSubstr("dormouse_page_out_seconds")));
  status.pages.emplace();
  status.pages->page_out_times = {1, 2, 0, 0, 0, 0, 0, 0, 4};
  status.pages->page_out_time = std::chrono::milliseconds(500);
  EXPECT_THAT(metrics_text(status), HasSubstr("dormouse_page_out_seconds_bucket{le=\"0.0001\"} 3\n"));
  EXPECT_THAT(metrics_text(status), HasSubstr("dormouse_page_out_seconds_bucket{le=\"+Inf\"} 7\ndormouse_page_out_seconds_sum 0.5\ndormouse_page_out_seconds_count 7\n"));
}

TEST(StatusView, WakesAreCountedByCauseAndTimed) {
  HostStatus status = example();
  guest::WakeLog log;
  log.begin({.latency = std::chrono::microseconds(20), .cause = {.kind = wasi::WakeCause::Kind::Watch}});
  log.end({}, {}, false);
  log.begin({.latency = std::chrono::microseconds(20), .cause = {.kind = wasi::WakeCause::Kind::Timer}});
  log.begin({.latency = std::chrono::hours(1), .cause = {.kind = wasi::WakeCause::Kind::Timer}, .was_paged_out = true, .was_cold = true});
  log.begin({.latency = std::chrono::microseconds(80), .cause = {.kind = wasi::WakeCause::Kind::Signal}, .was_paged_out = true});
  status.pods[0].containers[0].wakes = log.totals();
  const std::string text = metrics_text(status);
  EXPECT_THAT(text, HasSubstr("dormouse_guest_wakeups_total{namespace=\"ns\",pod=\"p\",container=\"main\",cause=\"timer\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("container=\"main\",cause=\"watch\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("container=\"main\",cause=\"inbound\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("dormouse_guest_idle_wakeups_total{namespace=\"ns\",pod=\"p\",container=\"main\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("# TYPE dormouse_wake_seconds histogram\n"));
  EXPECT_THAT(text, HasSubstr("dormouse_wake_seconds_bucket{from=\"ram\",le=\"1e-05\"} 0\ndormouse_wake_seconds_bucket{from=\"ram\",le=\"2.5e-05\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("dormouse_wake_seconds_bucket{from=\"ram\",le=\"+Inf\"} 2\ndormouse_wake_seconds_sum{from=\"ram\"} 4e-05\ndormouse_wake_seconds_count{from=\"ram\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("dormouse_wake_seconds_bucket{from=\"page_cache\",le=\"7.5e-05\"} 0\ndormouse_wake_seconds_bucket{from=\"page_cache\",le=\"0.0001\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("dormouse_wake_seconds_bucket{from=\"disk\",le=\"10\"} 0\ndormouse_wake_seconds_bucket{from=\"disk\",le=\"+Inf\"} 1\n"));
}

}  // namespace
}  // namespace dormouse::host
