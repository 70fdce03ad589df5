// SPDX-License-Identifier: Apache-2.0
#include "pods/waking.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pods/manifest.h"

namespace dormouse::pods {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

std::string pod_with(std::string_view annotation) {
  return fmt::format("apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  annotations:\n    {}\nspec:\n  containers: [{{name: c, image: c.wasm}}]\n", annotation);
}

TEST(Waking, SlackIsADurationWithABound) {
  EXPECT_EQ(parse_timer_slack("0s").value(), 0s);
  EXPECT_EQ(parse_timer_slack("250ms").value(), 250ms);
  EXPECT_EQ(parse_timer_slack("10m").value(), 10min);
  for (const char* text : {"", "s", "-1s", "+1s", "1.5s", "1", "1 s", "s1", "11m", "1h", "4294967296s", "4294967295h", "153722868m", "5124096h", "never"}) EXPECT_FALSE(parse_timer_slack(text)) << text;
}

TEST(Waking, OffloadingNamesItsLongestSleep) {
  EXPECT_EQ(parse_poll_offload("max-sleep=5m").value().max_sleep, 5min);
  EXPECT_EQ(parse_poll_offload("max-sleep=1h").value().max_sleep, 1h);
  for (const char* text : {"", "true", "5m", "max-sleep", "max-sleep=", "max-sleep=0s", "max-sleep=999ms", "max-sleep=2h", "max-sleep=5m ", "maxSleep=5m", "max-sleep=5124096h"}) EXPECT_FALSE(parse_poll_offload(text)) << text;
}

TEST(Waking, AnnotationsAreReadWithThePod) {
  const auto manifest = parse_manifest(pod_with("{dormouse.io/timer-slack: 30s, dormouse.io/poll-offload: max-sleep=2m}"), "p.yaml", "default");
  ASSERT_TRUE(manifest) << manifest.error().message;
  EXPECT_EQ(manifest->pods.at(0).timer_slack_max, 30s);
  EXPECT_EQ(manifest->pods.at(0).poll_offload, PollOffload{2min});
  const auto plain = parse_manifest(pod_with("{}"), "p.yaml", "default");
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->pods.at(0).timer_slack_max, kTimerSlackDefault);
  EXPECT_EQ(plain->pods.at(0).poll_offload, std::nullopt);
}

TEST(Waking, AMistakeIsToldWithItsLine) {
  const auto slack = parse_manifest(pod_with("dormouse.io/timer-slack: often"), "p.yaml", "default");
  ASSERT_FALSE(slack);
  EXPECT_THAT(slack.error().message, HasSubstr("p.yaml:6:"));
  EXPECT_THAT(slack.error().message, HasSubstr("not a duration"));
  const auto offload = parse_manifest(pod_with("dormouse.io/poll-offload: \"yes\""), "p.yaml", "default");
  ASSERT_FALSE(offload);
  EXPECT_THAT(offload.error().message, HasSubstr("max-sleep=5m"));
}

TEST(ManagedFields, AreKeptUnlessTheAnnotationSaysPrune) {
  const auto prunes = [](std::string_view annotation) { return parse_manifest(pod_with(annotation), "p.yaml", "default").value().pods.at(0).prune_managed_fields; };
  EXPECT_TRUE(prunes("dormouse.io/managed-fields: prune"));
  EXPECT_FALSE(prunes("dormouse.io/managed-fields: keep"));
  EXPECT_FALSE(prunes("{}"));
  const auto wrong = parse_manifest(pod_with("dormouse.io/managed-fields: drop"), "p.yaml", "default");
  ASSERT_FALSE(wrong);
  EXPECT_THAT(wrong.error().message, HasSubstr("p.yaml:6: metadata.annotations.dormouse.io/managed-fields \"drop\" is neither keep nor prune"));
}

}  // namespace
}  // namespace dormouse::pods
