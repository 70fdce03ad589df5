// SPDX-License-Identifier: Apache-2.0
#include "host/pod_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "wasi/tree_builder.h"

namespace dormouse::host {
namespace {

using ::testing::HasSubstr;

// What a path below `root` leads to; null if nothing does.
std::shared_ptr<wasi::Inode> at(std::shared_ptr<wasi::Directory> root, std::string_view path) {
  std::shared_ptr<wasi::Inode> inode = std::move(root);
  while (!path.empty()) {
    const std::size_t slash = path.find('/');
    auto* folder = wasi::as_directory(inode.get());
    if (folder == nullptr) return nullptr;
    inode = folder->lookup(path.substr(0, slash)).inode;
    if (!inode) return nullptr;
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
  }
  return inode;
}

std::string content(const std::shared_ptr<wasi::Inode>& inode) {
  auto* file = wasi::as_file(inode.get());
  if (file == nullptr) return "(no file)";
  std::string text(file->size_bytes(), '\0');
  file->read(0, std::as_writable_bytes(std::span(text)));
  return text;
}

class PodFilesTest : public ::testing::Test {
 protected:
  PodFilesTest() {
    pod_.name = "p";
    pod_.name_space = "ns";
    pod_.labels = {{"app", "x"}};
    pod_.containers.resize(1);
    pod_.containers[0].image = "/op.wasm";
  }
  void mount(pods::Volume volume, std::string path, bool read_only = false, std::string sub_path = {}) {
    pod_.containers[0].mounts.push_back({volume.name, std::move(path), std::move(sub_path), read_only});
    pod_.volumes.push_back(std::move(volume));
  }
  PodFiles& files() {
    if (!files_) files_ = std::make_unique<PodFiles>(pod_, clock_);
    return *files_;
  }
  Result<PodFiles::Root> make() { return files().make_root(pod_.containers[0], lookup_, account_); }
  std::shared_ptr<wasi::Directory> root() {
    auto made = make();
    EXPECT_TRUE(made) << made.error().message;
    return made ? made->directory : nullptr;
  }

  const ManualClock clock_;
  pods::Pod pod_;
  std::shared_ptr<MemoryAccount> account_ = std::make_shared<MemoryAccount>(1 << 20);
  ConfigData settings_{{"colour", "blue"}, {"size", "9"}};
  bool settings_there_ = true;
  const ConfigLookup lookup_ = [this](bool secret, const std::string& name) { return !secret && name == "settings" && settings_there_ ? &settings_ : nullptr; };
  std::unique_ptr<PodFiles> files_;
};

TEST_F(PodFilesTest, HoldsWhatAnInClusterClientLooksFor) {
  const auto root = this->root();
  EXPECT_EQ(content(at(root, "var/run/secrets/kubernetes.io/serviceaccount/namespace")), "ns");
  EXPECT_EQ(at(root, "var/run/secrets/kubernetes.io/serviceaccount/token"), nullptr);
  EXPECT_THAT(content(at(root, "etc/kubeconfig")), HasSubstr("server: \"http://kube\""));
  EXPECT_EQ(content(at(root, "etc/hostname")), "p\n");
  EXPECT_TRUE(wasi::as_directory(at(root, "net").get())->is_network());
  ASSERT_NE(at(root, "run/signals"), nullptr);
}

TEST_F(PodFilesTest, AConfigMapChangesAsAWholeUnderTheGuest) {
  mount({"v", pods::ConfigMapVolume{"settings", {}, false}}, "/etc/config");
  const auto root = this->root();
  EXPECT_EQ(content(at(root, "etc/config/colour")), "blue");
  const auto open_before = at(root, "etc/config/colour");
  settings_ = {{"colour", "red"}};
  files().refresh(lookup_);
  EXPECT_EQ(content(at(root, "etc/config/colour")), "red");
  EXPECT_EQ(at(root, "etc/config/size"), nullptr);
  EXPECT_EQ(content(open_before), "blue");
}

TEST_F(PodFilesTest, AConfigMapThatHasGoneLeavesItsFiles) {
  mount({"v", pods::ConfigMapVolume{"settings", {}, false}}, "/etc/config");
  const auto root = this->root();
  settings_there_ = false;
  files().refresh(lookup_);
  EXPECT_EQ(content(at(root, "etc/config/colour")), "blue");
}

TEST_F(PodFilesTest, SaysWhichObjectOrKeyIsMissing) {
  mount({"v", pods::SecretVolume{"gone", {}, false}}, "/etc/secret");
  EXPECT_EQ(make().error().message, "volume v: Secret \"gone\" does not exist");
  pod_.volumes[0].source = pods::ConfigMapVolume{"settings", {{"kolour", "k", {}}}, false};
  EXPECT_EQ(make().error().message, "volume v: ConfigMap \"settings\" has no key \"kolour\"");
  pod_.volumes[0].source = pods::SecretVolume{"gone", {}, true};
  EXPECT_TRUE(make());
}

TEST_F(PodFilesTest, AnEmptyDirOutlivesARunAndIsCharged) {
  mount({"scratch", pods::EmptyDir{}}, "/data");
  const auto first = root();
  ASSERT_TRUE(wasi::put_file(first, "/data/kept", std::string(100'000, 'x')));
  EXPECT_GT(account_->used_bytes(), 100'000U);
  EXPECT_EQ(content(at(root(), "data/kept")).size(), 100'000U);
  EXPECT_FALSE(wasi::put_file(first, "/data/too-large", std::string(2 << 20, 'x')));
}

TEST_F(PodFilesTest, MountsInsideMountsLieOnTop) {
  mount({"inner", pods::DownwardVolume{{{"labels", pods::FieldRef{"metadata.labels"}}}}}, "/data/info");
  mount({"outer", pods::EmptyDir{}}, "/data");
  EXPECT_EQ(content(at(root(), "data/info/labels")), "app=\"x\"\n");
}

TEST_F(PodFilesTest, ASubPathIsOnePartOfAVolume) {
  mount({"v", pods::ConfigMapVolume{"settings", {}, false}}, "/etc/colour.txt", true, "colour");
  EXPECT_EQ(content(at(root(), "etc/colour.txt")), "blue");
  pod_.containers[0].mounts[0].sub_path = "nothing";
  EXPECT_THAT(make().error().message, HasSubstr("has no \"nothing\""));
}

TEST_F(PodFilesTest, NothingStaysChargedWhenAllIsGone) {
  mount({"scratch", pods::EmptyDir{}}, "/data");
  ASSERT_TRUE(wasi::put_file(root(), "/data/x", "y"));
  files_.reset();
  EXPECT_EQ(account_->used_bytes(), 0U);
}

}  // namespace
}  // namespace dormouse::host
