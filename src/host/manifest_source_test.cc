// SPDX-License-Identifier: Apache-2.0
#include "host/manifest_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace dormouse::host {
namespace {

using ::testing::HasSubstr;

class ManifestSourceTest : public ::testing::Test {
 protected:
  ManifestSourceTest() : folder_(std::filesystem::path(::testing::TempDir()) / ("dormouse-manifests-" + std::to_string(::getpid()))) { std::filesystem::create_directories(folder_); }
  ~ManifestSourceTest() override { std::filesystem::remove_all(folder_); }
  std::string write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name) << text;
    return folder_ / name;
  }
  static std::string pod(const std::string& name, const std::string& image) {
    return "apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + "}\nspec: {containers: [{name: c, image: " + image + "}]}\n";
  }
  const std::filesystem::path folder_;
};

TEST_F(ManifestSourceTest, FindsImagesBesideTheirManifest) {
  write("a.yaml", pod("a", "op.wasm"));
  write("b.yml", pod("b", "/elsewhere/op.wasm"));
  write("notes.txt", "not a manifest");
  const auto loaded = load_pods({folder_}, "ns");
  ASSERT_TRUE(loaded) << loaded.error().message;
  ASSERT_EQ(loaded->pods.size(), 2U);
  EXPECT_EQ(loaded->pods[0].containers[0].image, folder_ / "op.wasm");
  EXPECT_EQ(loaded->pods[1].containers[0].image, "/elsewhere/op.wasm");
  EXPECT_EQ(loaded->pods[0].name_space, "ns");
}

TEST_F(ManifestSourceTest, TellsTheMistakesOfAllFiles) {
  const std::string first = write("a.yaml", pod("a", "registry.example/op:v1")), second = write("b.yaml", "kind: Pod\n");
  const auto loaded = load_pods({first, second, folder_ / "missing.yaml"}, "ns");
  ASSERT_FALSE(loaded);
  EXPECT_THAT(loaded.error().message, HasSubstr("a.yaml:1: container c: image \"registry.example/op:v1\" is a registry reference"));
  EXPECT_THAT(loaded.error().message, HasSubstr("b.yaml:1: apiVersion is required"));
  EXPECT_THAT(loaded.error().message, HasSubstr("missing.yaml: no such file"));
}

TEST_F(ManifestSourceTest, OnePodStandsInOnePlace) {
  const std::string first = write("a.yaml", pod("a", "op.wasm")), second = write("b.yaml", pod("a", "op.wasm"));
  EXPECT_THAT(load_pods({first, second}, "ns").error().message, HasSubstr("the pod ns/a is given twice"));
}

TEST_F(ManifestSourceTest, RefusesAHostPortThatTwoManifestsName) {
  const std::string first = write("a.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: c, image: x.wasm, ports: [{containerPort: 1, hostPort: 9443}]}]}\n");
  const std::string second = write("b.yaml", "---\napiVersion: v1\nkind: Pod\nmetadata: {name: b}\nspec: {containers: [{name: c, image: x.wasm, ports: [{containerPort: 1, hostPort: 9443, hostIP: 127.0.0.1}]}]}\n");
  const auto loaded = load_pods({first, second}, "default");
  ASSERT_FALSE(loaded);
  EXPECT_THAT(loaded.error().message, HasSubstr("hostPort 9443"));
  EXPECT_THAT(loaded.error().message, HasSubstr("b.yaml:2"));
  EXPECT_THAT(loaded.error().message, HasSubstr("a.yaml:1"));
}

}  // namespace
}  // namespace dormouse::host
