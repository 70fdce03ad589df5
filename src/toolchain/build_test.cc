// SPDX-License-Identifier: Apache-2.0
#include "toolchain/build.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "toolchain/cache.h"
#include "toolchain/subprocess.h"

namespace dormouse::toolchain {
namespace {

using ::testing::HasSubstr;

class ToolchainTest : public ::testing::Test {
 protected:
  ToolchainTest() : folder_(std::filesystem::path(::testing::TempDir()) / ("dormouse-toolchain-" + std::to_string(::getpid()))) { std::filesystem::create_directories(folder_); }
  ~ToolchainTest() override { std::filesystem::remove_all(folder_); }
  const std::filesystem::path folder_;
};

TEST_F(ToolchainTest, KnowsALanguageByItsBuildFile) {
  EXPECT_THAT(detect_language(folder_).error().message, HasSubstr("neither go.mod, Cargo.toml nor CMakeLists.txt"));
  std::ofstream(folder_ / "go.mod") << "module x\n";
  EXPECT_EQ(detect_language(folder_).value(), Language::Go);
  std::ofstream(folder_ / "Cargo.toml") << "";
  EXPECT_THAT(detect_language(folder_).error().message, HasSubstr("more than one of"));
  EXPECT_THAT(detect_language(folder_ / "none").error().message, HasSubstr("no such folder"));
}

TEST_F(ToolchainTest, UnpacksTheSdkOnceAndWhole) {
  ::setenv("DORMOUSE_CACHE", folder_.c_str(), 1);
  const auto sdk = unpacked_sdk();
  ASSERT_TRUE(sdk) << sdk.error().message;
  EXPECT_TRUE(std::filesystem::exists(*sdk + "/cpp/wasi-toolchain.cmake"));
  EXPECT_TRUE(std::filesystem::exists(*sdk + "/go/overlay/go.mod"));
  EXPECT_EQ(unpacked_sdk().value(), *sdk);
  ::unsetenv("DORMOUSE_CACHE");
}

TEST_F(ToolchainTest, ACommandsFailureNamesIt) {
  EXPECT_TRUE(run({.arguments = {"true"}}));
  EXPECT_EQ(run({.arguments = {"sh", "-c", "exit 3"}}).error().message, "`sh -c exit 3` failed with exit code 3");
  EXPECT_EQ(run({.arguments = {"no-such-program-here"}}).error().message, "no-such-program-here is not installed");
  EXPECT_EQ(capture({.arguments = {"sh", "-c", "echo $X"}, .environment = {{"X", "y"}}}).value(), "y\n");
}

}  // namespace
}  // namespace dormouse::toolchain
