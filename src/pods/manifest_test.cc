// SPDX-License-Identifier: Apache-2.0
#include "pods/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pods/quantity.h"

namespace dormouse::pods {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::string_view kPod = R"(apiVersion: v1
kind: Pod
metadata: {name: greeter, labels: {app: x}}
spec:
  serviceAccountName: greeter
  volumes:
  - {name: config, configMap: {name: settings, items: [{key: a, path: sub/a}]}}
  - {name: scratch, emptyDir: {sizeLimit: 1Mi}}
  containers:
  - name: main
    image: ./greeter.wasm
    args: [--fast, "2"]
    env:
    - {name: PLAIN, value: v}
    - name: ME
      valueFrom: {fieldRef: {fieldPath: metadata.name}}
    resources: {limits: {memory: 64Mi, cpu: 250m}}
    volumeMounts:
    - {name: config, mountPath: /etc/config, readOnly: true}
)";

std::string error_of(std::string_view text) {
  const auto parsed = parse_manifest(text, "x.yaml", "default");
  return parsed ? "(no error)" : parsed.error().message;
}

std::string replaced(std::string_view what, std::string_view with) {
  std::string text(kPod);
  const std::size_t at = text.find(what);
  EXPECT_NE(at, std::string::npos) << what;
  return text.replace(at, what.size(), with);
}

TEST(Manifest, ReadsAPod) {
  const auto parsed = parse_manifest(kPod, "x.yaml", "ns");
  ASSERT_TRUE(parsed) << parsed.error().message;
  ASSERT_EQ(parsed->pods.size(), 1U);
  const Pod& pod = parsed->pods[0];
  EXPECT_EQ(pod.name, "greeter");
  EXPECT_EQ(pod.name_space, "ns");
  EXPECT_EQ(pod.service_account, "greeter");
  EXPECT_EQ(pod.origin, "x.yaml:1");
  const Container& container = pod.containers.at(0);
  EXPECT_THAT(container.args, ElementsAre("--fast", "2"));
  EXPECT_EQ(container.memory_limit_bytes, 64U << 20);
  EXPECT_EQ(container.cpu_limit_millis, 250U);
  EXPECT_EQ(std::get<FieldRef>(container.env.at(1).value).path, "metadata.name");
  EXPECT_EQ(std::get<ConfigMapVolume>(pod.volumes.at(0).source).items.at(0).path, "sub/a");
}

TEST(Manifest, ExpandsADeploymentIntoItsReplicas) {
  const auto parsed = parse_manifest(R"(apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: ./a.wasm}]}
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Pod, metadata: {name: single}, spec: {containers: [{name: c, image: ./a.wasm}]}}
)", "x.yaml", "default");
  ASSERT_TRUE(parsed) << parsed.error().message;
  std::vector<std::string> names;
  for (const Pod& pod : parsed->pods) names.push_back(pod.name);
  EXPECT_THAT(names, ElementsAre("web-0", "web-1", "single"));
}

TEST(Manifest, TellsWhereAnUnknownFieldIsAndWhatWasMeant) {
  EXPECT_EQ(error_of(replaced("serviceAccountName: greeter", "serviceAcountName: greeter")),
            "x.yaml:5: unknown field spec.serviceAcountName; did you mean \"serviceAccountName\"?");
  EXPECT_EQ(error_of(replaced("    args: [--fast, \"2\"]", "    arg: []")), "x.yaml:12: unknown field spec.containers[0].arg; did you mean \"args\"?");
  EXPECT_THAT(error_of(replaced("kind: Pod", "kind: Pods")), HasSubstr("did you mean Pod?"));
  EXPECT_THAT(error_of(replaced("fieldPath: metadata.name", "fieldPath: metadata.nam")), HasSubstr("did you mean \"metadata.name\"?"));
}

TEST(Manifest, CountsLinesThroughAllDocuments) {
  const std::string two = std::string(kPod) + "---  # next\n" + replaced("serviceAccountName: greeter", "serviceAcountName: greeter");
  EXPECT_THAT(error_of(two), HasSubstr("x.yaml:25: unknown field spec.serviceAcountName"));
  const auto parsed = parse_manifest("---\n...\n---\n", "x.yaml", "default");
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_TRUE(parsed->pods.empty());
}

TEST(Manifest, TellsAllErrorsOfAFileAtOnce) {
  const std::string message = error_of("apiVersion: v1\nkind: Pod\nmetadata: {name: A_b}\nspec: {restartPolicy: Sometimes, containers: []}\n");
  EXPECT_THAT(message, HasSubstr("x.yaml:3: metadata.name \"A_b\" is not a valid name"));
  EXPECT_THAT(message, HasSubstr("x.yaml:4: spec.restartPolicy \"Sometimes\" must be"));
  EXPECT_THAT(message, HasSubstr("x.yaml:4: spec.containers must name at least one container"));
}

TEST(Manifest, RefusesWhatWouldMislead) {
  EXPECT_THAT(error_of(replaced("serviceAccountName: greeter", "initContainers: []")), HasSubstr("x.yaml:5: spec.initContainers is not supported"));
  EXPECT_THAT(error_of(replaced("emptyDir: {sizeLimit: 1Mi}", "hostPath: {path: /}")), HasSubstr("cannot be mounted"));
  EXPECT_THAT(error_of(replaced("name: config, mountPath", "name: konfig, mountPath")), HasSubstr("which spec.volumes does not have"));
  EXPECT_THAT(error_of(replaced("path: sub/a", "path: ../a")), HasSubstr("without '..'"));
  EXPECT_THAT(error_of(replaced("memory: 64Mi", "memory: 64Mx")), HasSubstr("is not a quantity"));
}

TEST(Manifest, NotesWhatHasNoEffect) {
  const auto parsed = parse_manifest(replaced("    args: [--fast, \"2\"]", "    livenessProbe: {exec: {command: [ls]}}"), "x.yaml", "default");
  ASSERT_TRUE(parsed) << parsed.error().message;
  ASSERT_EQ(parsed->notes.size(), 1U);
  EXPECT_THAT(parsed->notes[0], HasSubstr("x.yaml:12: spec.containers[0].livenessProbe is not called"));
}

TEST(Manifest, SurvivesHostileYaml) {
  EXPECT_THAT(error_of("a: [1, 2"), HasSubstr("x.yaml:"));
  EXPECT_THAT(error_of(","), HasSubstr("x.yaml:1: not valid YAML: unexpected text"));
  EXPECT_THAT(error_of("a: b\n}"), HasSubstr("not valid YAML"));
  EXPECT_THAT(error_of("- just\n- a list\n"), HasSubstr("must be a mapping"));
  EXPECT_THAT(error_of(std::string(100'000, '[')), HasSubstr("not valid YAML"));
  EXPECT_THAT(error_of("a: &a [*a, *a]\napiVersion: v1\nkind: Pod\n"), HasSubstr("unknown field a"));
  // A billion laughs: the aliases share nodes and nobody walks them.
  std::string bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n";
  for (int i = 1; i < 30; ++i) bomb += fmt::format("a{0}: &a{0} [*a{1},*a{1},*a{1},*a{1},*a{1},*a{1},*a{1},*a{1},*a{1}]\n", i, i - 1);
  EXPECT_THAT(error_of(bomb), HasSubstr("unknown field a0"));
  EXPECT_THAT(error_of(std::string(kManifestBytesMax + 1, ' ')), HasSubstr("larger than"));
  EXPECT_THAT(error_of(replaced("name: greeter", "name: greeter, name: other")), HasSubstr("metadata.name is given twice"));
}

TEST(Manifest, MustBeUtf8) {
  EXPECT_EQ(error_of("a: b\nc: \xc3\xa4\xff\n"), "x.yaml:2:6: not UTF-8: a byte 0xff; save the file as UTF-8 text");
  EXPECT_EQ(error_of("a: b\nc: \x07\n"), "x.yaml:2:4: a control character 0x07; save the file as UTF-8 text");
  EXPECT_EQ(error_of(std::string_view("\0\0\0a", 4)), "x.yaml:1:1: a control character 0x00; save the file as UTF-8 text (it seems to be UTF-16)");
  EXPECT_THAT(error_of("\xc0\x80"), HasSubstr("x.yaml:1:1: not UTF-8"));
  EXPECT_THAT(error_of("# only a comment \xed\xa0\x80\n"), HasSubstr("x.yaml:1:18: not UTF-8"));
  EXPECT_THAT(error_of(std::string_view("\xff\xfe" "a\0", 4)), HasSubstr("seems to be UTF-16"));
  EXPECT_TRUE(parse_manifest(replaced("name: PLAIN, value: v", "name: PLAIN, value: \xf0\x9f\x90\xad"), "x.yaml", "default"));
}

TEST(Manifest, AHostIpIsAnAddress) {
  EXPECT_THAT(error_of(replaced("    image: ./greeter.wasm", "    image: ./greeter.wasm\n    ports: [{containerPort: 80, hostPort: 80, hostIP: localhost}]")),
              HasSubstr("x.yaml:12: spec.containers[0].ports[0].hostIP \"localhost\" is not an IP address"));
}

TEST(Quantity, ReadsWhatKubernetesReads) {
  EXPECT_EQ(parse_quantity("128Mi").value(), 128U << 20);
  EXPECT_EQ(parse_quantity("1G").value(), 1'000'000'000U);
  EXPECT_EQ(parse_quantity("1.5Gi").value(), 1'610'612'736U);
  EXPECT_EQ(parse_quantity("1e3").value(), 1000U);
  EXPECT_EQ(parse_quantity("100m").value(), 1U);
  EXPECT_EQ(parse_quantity_millis("100m").value(), 100U);
  EXPECT_EQ(parse_quantity_millis("0.5").value(), 500U);
  EXPECT_EQ(parse_quantity_millis("2").value(), 2000U);
  for (const char* bad : {"", "-1", "1 Gi", "Gi", "1e", "1e99", "0x10", "9223372036854775808", "8Ei", "1.2.3", "99999999999999999999999"}) {
    EXPECT_FALSE(parse_quantity(bad)) << bad;
  }
}

constexpr std::string_view kGreeterMetadata = "metadata: {name: greeter, labels: {app: x}}";

std::string annotated(std::string_view annotation) {
  return replaced(kGreeterMetadata, fmt::format("metadata:\n  name: greeter\n  annotations:\n    example.com/x: \"y\"\n    {}", annotation));
}

TEST(Manifest, ReadsHowAPodSleeps) {
  const auto parsed = parse_manifest(annotated("dormouse.io/sleep: idle=30s"), "x.yaml", "ns");
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ(parsed->pods.at(0).sleep, (SleepMode{SleepMode::Kind::Idle, std::chrono::seconds(30)}));
  EXPECT_FALSE(parse_manifest(kPod, "x.yaml", "ns")->pods.at(0).sleep.has_value());
}

TEST(Manifest, RefusesAWayToSleepThatDoesNotExistWithItsLineAndTheChoices) {
  const std::string error = error_of(annotated("dormouse.io/sleep: idle"));
  EXPECT_THAT(error, HasSubstr("x.yaml:7: metadata.annotations.dormouse.io/sleep \"idle\" is not a way to sleep: give never, immediately, idle=DURATION"));
}

TEST(Manifest, RefusesAMisspeltAnnotationOfOurs) {
  EXPECT_THAT(error_of(annotated("dormouse.io/slep: never")), HasSubstr("did you mean \"dormouse.io/sleep\"?"));
  EXPECT_EQ(error_of(annotated("example.com/slep: never")), "(no error)");
}

TEST(Manifest, RefusesOurAnnotationOnADeploymentWhereItWouldDoNothing) {
  EXPECT_THAT(error_of("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a, annotations: {dormouse.io/sleep: never}}\nspec: {template: {spec: {containers: [{name: a, image: a.wasm}]}}}\n"),
              HasSubstr("move it to spec.template.metadata.annotations"));
}

}  // namespace
}  // namespace dormouse::pods
