// SPDX-License-Identifier: Apache-2.0
#include "wasi/tree_builder.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "wasi/path_resolution.h"

namespace dormouse::wasi {
namespace {

class TreeBuilder : public testing::Test {
 protected:
  TreeBuilder() { std::filesystem::create_directories(host_); }
  ~TreeBuilder() override { std::filesystem::remove_all(host_); }
  void host_file(const std::string& name, std::string_view content) { std::ofstream(host_ / name) << content; }
  std::string content(const std::shared_ptr<Directory>& root, std::string_view path) {
    const auto place = resolve({root}, path, LastLink::Follow);
    if (!place || as_file(place->inode.get()) == nullptr) return "(none)";
    std::string text(as_file(place->inode.get())->size_bytes(), '?');
    as_file(place->inode.get())->read(0, std::as_writable_bytes(std::span(text)));
    return text;
  }
  std::string error(const std::string& path, CopyLimits limits = {}) {
    const auto copied = copy_host_folder(path, *volume_, limits);
    return copied ? "" : copied.error().message;
  }

  const std::filesystem::path host_ = std::filesystem::temp_directory_path() / ("dormouse-tree-" + std::to_string(::getpid()));
  ManualClock clock_;
  MemoryAccount account_{1 << 20};
  std::shared_ptr<Volume> volume_ = Volume::create({.clock = clock_, .account = &account_});
};

TEST_F(TreeBuilder, BuildsFromData) {
  auto root = volume_->make_root();
  ASSERT_TRUE(put_file(root, "/etc/hostname", "pod\n"));
  ASSERT_TRUE(put_file(root, "etc/hostname", "other\n"));
  ASSERT_TRUE(put_symlink(root, "link", "etc/hostname"));
  EXPECT_EQ(content(root, "link"), "other\n");
  EXPECT_FALSE(put_file(root, "etc", "x"));
  EXPECT_FALSE(put_file(root, "etc/hostname/x", "x"));
  EXPECT_FALSE(put_file(root, "/", "x"));
  EXPECT_FALSE(put_file(root, "a/../b", "x"));
  EXPECT_FALSE(put_file(root, "a/\xff", "x"));
  EXPECT_EQ(put_file(root, "big", std::string(2 << 20, 'x')).error().code, ErrorCode::ResourceExhausted);
}

TEST_F(TreeBuilder, CopiesAFolderOfTheHost) {
  std::filesystem::create_directories(host_ / "sub/deep");
  host_file("file", "content");
  host_file("sub/deep/inner", "inner");
  std::filesystem::create_symlink("sub/deep/inner", host_ / "link");
  std::filesystem::create_symlink("/etc/passwd", host_ / "absolute");
  std::filesystem::create_symlink("../../../../../../etc/passwd", host_ / "out");
  ASSERT_EQ(::mkfifo((host_ / "pipe").c_str(), 0600), 0);
  const auto root = copy_host_folder(host_.string(), *volume_);
  ASSERT_TRUE(root) << root.error().message;
  EXPECT_EQ(content(*root, "file"), "content");
  EXPECT_EQ(content(*root, "link"), "inner");
  EXPECT_EQ((*root)->lookup("pipe").inode, nullptr);
  // Links that lead out are there, and lead nowhere.
  EXPECT_EQ((*root)->lookup("absolute").inode->kind(), Inode::Kind::Symlink);
  EXPECT_EQ(resolve({*root}, "absolute", LastLink::Follow).error(), Errno::NotCapable);
  EXPECT_EQ(resolve({*root}, "out", LastLink::Follow).error(), Errno::NotCapable);
  struct stat stat {};
  ASSERT_EQ(::stat((host_ / "file").c_str(), &stat), 0);
  EXPECT_EQ((*root)->lookup("file").inode->stat().modified / 1'000'000'000, static_cast<Timestamp>(stat.st_mtime));
}

TEST_F(TreeBuilder, TheHostsFilesAreNotTheGuests) {
  host_file("file", "before");
  const auto root = copy_host_folder(host_.string(), *volume_);
  host_file("file", "after!");
  EXPECT_EQ(content(*root, "file"), "before");
  std::static_pointer_cast<File>((*root)->lookup("file").inode)->write(0, std::as_bytes(std::span("guest", 5)));
  std::string on_host;
  std::ifstream(host_ / "file") >> on_host;
  EXPECT_EQ(on_host, "after!");
}

TEST_F(TreeBuilder, LimitsAndFailuresSayWhatAndWhere) {
  EXPECT_NE(error((host_ / "none").string()).find("No such file"), std::string::npos);
  host_file("file", "content");
  EXPECT_NE(error((host_ / "file").string()).find("Not a directory"), std::string::npos);
  EXPECT_NE(error(host_.string(), {.bytes_max = 3}).find("more than 3 bytes"), std::string::npos);
  EXPECT_NE(error(host_.string(), {.entries_max = 0}).find("more than 0 files"), std::string::npos);
  std::filesystem::create_directories(host_ / "a/b/c");
  EXPECT_NE(error(host_.string(), {.depth_max = 2}).find("deeper than 2"), std::string::npos);
  host_file("large", std::string(2 << 20, 'x'));
  EXPECT_NE(error(host_.string()).find("memory limit"), std::string::npos);
  std::filesystem::remove(host_ / "large");
  host_file("bad\xffname", "");
  EXPECT_NE(error(host_.string()).find("not UTF-8"), std::string::npos);
  EXPECT_EQ(account_.used_bytes(), 0u);
}

}  // namespace
}  // namespace dormouse::wasi
