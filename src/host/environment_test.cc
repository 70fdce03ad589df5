// SPDX-License-Identifier: Apache-2.0
#include "host/environment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dormouse::host {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

const ConfigData kSettings{{"colour", "blue"}, {"size", "9"}};
const ConfigData* lookup(bool secret, const std::string& name) { return !secret && name == "settings" ? &kSettings : nullptr; }

pods::Pod example() {
  pods::Pod pod;
  pod.name = "p";
  pod.name_space = "ns";
  pod.labels = {{"app", "x"}, {"q", "\"quoted\""}};
  pod.containers.resize(1);
  pod.containers[0].image = "/dir/op.wasm";
  return pod;
}

std::vector<std::string> environment(const pods::Pod& pod) {
  const auto lines = container_environment(pod, pod.containers[0], lookup, 64 << 20);
  EXPECT_TRUE(lines) << lines.error().message;
  return lines.value_or(std::vector<std::string>{});
}

TEST(Environment, HasWhatAnInClusterClientLooksFor) {
  const auto lines = environment(example());
  EXPECT_THAT(lines, Contains("KUBERNETES_SERVICE_HOST=kube"));
  EXPECT_THAT(lines, Contains("HOSTNAME=p"));
}

TEST(Environment, TakesValuesFromTheirSources) {
  pods::Pod pod = example();
  pod.containers[0].env_from = {{"S_", "settings", false, false}};
  pod.containers[0].env = {{"HOME", std::string("/h")},
                           {"C", pods::ConfigMapKey{{"settings", "colour", false}}},
                           {"MISSING", pods::SecretKey{{"none", "k", true}}},
                           {"NS", pods::FieldRef{"metadata.namespace"}},
                           {"APP", pods::FieldRef{"metadata.labels['app']"}},
                           {"MEM", pods::ResourceRef{"limits.memory", 1 << 20}},
                           {"BOTH", std::string("$(C)-$(NS)-$(UNKNOWN)-$$(C)-$")}};
  const auto lines = environment(pod);
  for (const char* line : {"S_colour=blue", "S_size=9", "HOME=/h", "C=blue", "NS=ns", "APP=x", "MEM=64", "BOTH=blue-ns-$(UNKNOWN)-$(C)-$"}) EXPECT_THAT(lines, Contains(line));
  EXPECT_THAT(lines, Not(Contains(HasSubstr("MISSING"))));
}

TEST(Environment, SaysWhatIsMissing) {
  pods::Pod pod = example();
  pod.containers[0].env = {{"C", pods::ConfigMapKey{{"settings", "kolour", false}}}};
  EXPECT_EQ(container_environment(pod, pod.containers[0], lookup, 0).error().message, "environment variable C: ConfigMap \"settings\" has no key \"kolour\"");
  pod.containers[0].env = {{"C", pods::SecretKey{{"s", "k", false}}}};
  EXPECT_EQ(container_environment(pod, pod.containers[0], lookup, 0).error().message, "environment variable C: Secret \"s\" does not exist");
}

TEST(Environment, GivesAllLabelsAsTheDownwardApiDoes) { EXPECT_EQ(pod_field(example(), "metadata.labels"), "app=\"x\"\nq=\"\\\"quoted\\\"\"\n"); }

TEST(Arguments, AreCommandAndArgsExpanded) {
  pods::Container container;
  container.image = "/dir/op.wasm";
  container.args = {"--name=$(N)", "$$(N)"};
  EXPECT_THAT(container_arguments(container, {"N=v=w"}), ElementsAre("/op", "--name=v=w", "$(N)"));
  container.command = {"/manager"};
  EXPECT_THAT(container_arguments(container, {}), ElementsAre("/manager", "--name=$(N)", "$(N)"));
}

}  // namespace
}  // namespace dormouse::host
