// SPDX-License-Identifier: Apache-2.0
#include "wasi/path_resolution.h"

#include <gtest/gtest.h>

#include "base/utf8.h"
#include "wasi/tree_builder.h"

namespace dormouse::wasi {
namespace {

class PathResolution : public testing::Test {
 protected:
  PathResolution() {
    EXPECT_TRUE(make_directories(root_, "inside/deep"));
    EXPECT_TRUE(put_file(root_, "inside/file", "content"));
    EXPECT_TRUE(put_file(root_, "outside", "not to be reached"));
    inside_ = {std::static_pointer_cast<Directory>(root_->lookup("inside").inode)};
  }
  void link(std::string_view path, std::string_view target) { EXPECT_TRUE(put_symlink(root_, path, target)); }
  // Success, or the error, of a walk from the folder "inside".
  Errno walk(std::string_view path, LastLink last_link = LastLink::Follow) {
    const auto resolved = resolve(inside_, path, last_link);
    return resolved ? Errno::Success : resolved.error();
  }
  std::shared_ptr<Inode> inode(std::string_view path, LastLink last_link = LastLink::Follow) {
    const auto resolved = resolve(inside_, path, last_link);
    return resolved ? resolved->inode : nullptr;
  }

  ManualClock clock_;
  std::shared_ptr<Volume> volume_ = Volume::create({.clock = clock_});
  std::shared_ptr<Directory> root_ = volume_->make_root();
  PathStart inside_;
};

TEST_F(PathResolution, WalksDotsAndSlashes) {
  EXPECT_EQ(inode("file")->kind(), Inode::Kind::File);
  EXPECT_EQ(inode("./deep//..///./file")->kind(), Inode::Kind::File);
  EXPECT_EQ(inode("."), inside_.directory);
  EXPECT_EQ(inode("deep/.."), inside_.directory);
  EXPECT_EQ(inode("deep///"), inode("deep"));
  EXPECT_EQ(inode("missing"), nullptr);
  EXPECT_EQ(walk("missing"), Errno::Success);
  EXPECT_EQ(walk("missing/x"), Errno::NoEnt);
  EXPECT_EQ(walk("file/x"), Errno::NotDir);
  EXPECT_EQ(walk("file/"), Errno::NotDir);
  EXPECT_EQ(walk("file/."), Errno::NotDir);
}

TEST_F(PathResolution, NeverLeavesItsStart) {
  for (const char* path : {"..", "../", "../outside", "deep/../..", "deep/../../outside", "./..", "deep/.././../inside", "/", "/inside", "//etc"}) {
    EXPECT_EQ(walk(path), Errno::NotCapable) << path;
    EXPECT_EQ(walk(path, LastLink::KeepAlways), Errno::NotCapable) << path;
  }
}

TEST_F(PathResolution, LinksDoNotLeaveItEither) {
  link("inside/up", "..");
  link("inside/up-and-over", "../outside");
  link("inside/absolute", "/outside");
  link("inside/deep/twice", "../..");
  link("inside/hidden", "deep/twice/outside");
  for (const char* path : {"up", "up/", "up/outside", "up-and-over", "absolute", "absolute/", "deep/twice", "deep/twice/", "hidden"}) EXPECT_EQ(walk(path), Errno::NotCapable) << path;
  // Looked at, not followed.
  EXPECT_EQ(inode("up", LastLink::Keep)->kind(), Inode::Kind::Symlink);
  // A slash after it follows it, into the same sandbox.
  EXPECT_EQ(walk("up/", LastLink::Keep), Errno::NotCapable);
  EXPECT_EQ(walk("absolute/", LastLink::Keep), Errno::NotCapable);
}

TEST_F(PathResolution, TrailingSlashOfALinkIsNoWayOut) {
  link("inside/folder", "deep");
  link("inside/to-file", "file");
  EXPECT_EQ(inode("folder/", LastLink::Keep), inode("deep"));
  EXPECT_EQ(walk("to-file/", LastLink::Keep), Errno::NotDir);
  EXPECT_EQ(walk("folder/", LastLink::KeepAlways), Errno::NotDir);
  EXPECT_EQ(inode("folder", LastLink::KeepAlways)->kind(), Inode::Kind::Symlink);
}

TEST_F(PathResolution, LoopsEnd) {
  link("inside/self", "self");
  link("inside/a", "b");
  link("inside/b", "a/x");
  EXPECT_EQ(walk("self"), Errno::Loop);
  EXPECT_EQ(walk("self/x", LastLink::Keep), Errno::Loop);
  EXPECT_EQ(walk("a"), Errno::Loop);
  EXPECT_EQ(walk("self", LastLink::Keep), Errno::Success);
}

TEST_F(PathResolution, FortyLinksAreFollowedAndNoMore) {
  link("inside/l0", "file");
  for (int i = 1; i <= 40; ++i) link("inside/l" + std::to_string(i), "l" + std::to_string(i - 1));
  EXPECT_EQ(walk("l39"), Errno::Success);
  EXPECT_EQ(walk("l40"), Errno::Loop);
}

TEST_F(PathResolution, LinksThatGrowTheirPathMeetALimit) {
  std::string target = "grow";
  while (target.size() < 4000) target += "/./././.";
  link("inside/grow", target);
  EXPECT_EQ(walk("grow"), Errno::NameTooLong);
}

TEST_F(PathResolution, DanglingLinksNameThePlaceTheyLeadTo) {
  link("inside/dangling", "deep/new");
  const auto resolved = resolve(inside_, "dangling", LastLink::Follow);
  ASSERT_TRUE(resolved);
  EXPECT_EQ(resolved->inode, nullptr);
  EXPECT_EQ(resolved->name, "new");
  EXPECT_EQ(resolved->parent, inode("deep"));
}

TEST_F(PathResolution, RefusesWhatIsNoPath) {
  using namespace std::string_view_literals;
  EXPECT_EQ(walk(""), Errno::NoEnt);
  EXPECT_EQ(walk("file\0"sv), Errno::Inval);
  EXPECT_EQ(walk("a\0b"sv), Errno::Inval);
  EXPECT_EQ(walk("\xff"), Errno::IlSeq);
  EXPECT_EQ(walk(std::string(256, 'n')), Errno::NameTooLong);
  EXPECT_EQ(walk(std::string(255, 'n')), Errno::Success);
  std::string long_path = "./";
  while (long_path.size() < kPathBytesMax) long_path += "./";
  EXPECT_EQ(walk(long_path.substr(0, kPathBytesMax)), Errno::Success);
  EXPECT_EQ(walk(long_path + "x"), Errno::NameTooLong);
}

TEST_F(PathResolution, Utf8IsCheckedStrictly) {
  for (const char* good : {"", "a", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x90\xad", "\xed\x9f\xbf", "\xee\x80\x80", "\xf4\x8f\xbf\xbf"}) EXPECT_TRUE(is_utf8(good)) << good;
  for (const char* bad : {"\x80", "\xc0\xaf", "\xc1\xbf", "\xc3", "\xe0\x9f\xbf", "\xe2\x82", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "a\xffz", "\xf0\x9f\x90"}) {
    EXPECT_FALSE(is_utf8(bad)) << bad;
  }
}

TEST_F(PathResolution, AReadOnlyMountMakesAllBelowItReadOnlyButNotWhatIsAbove) {
  auto other = Volume::create({.clock = clock_, .device = 2})->make_root();
  ASSERT_TRUE(put_file(other, "folder/file", "x"));
  ASSERT_TRUE(put_mount(root_, "inside/mounted", std::make_shared<Mount>(other, true)));
  EXPECT_TRUE(resolve(inside_, "mounted/folder/file", LastLink::Follow)->read_only);
  EXPECT_TRUE(resolve(inside_, "mounted/new", LastLink::Follow)->read_only);
  EXPECT_TRUE(resolve(inside_, "mounted", LastLink::Follow)->read_only);
  EXPECT_FALSE(resolve(inside_, "mounted/folder/../../file", LastLink::Follow)->read_only);
  EXPECT_FALSE(resolve(inside_, "file", LastLink::Follow)->read_only);
}

TEST_F(PathResolution, NetworkNamesAreDestinations) {
  (*make_directories(root_, "inside/net"))->become_network();
  const auto target = [this](std::string_view path) {
    const auto resolved = resolve(inside_, path, LastLink::Follow);
    return resolved && resolved->network ? resolved->name : "";
  };
  EXPECT_EQ(target("net/kube"), "kube");
  EXPECT_EQ(target("net/tcp/host:80"), "tcp/host:80");
  EXPECT_EQ(target("net//./tcp/x/../host:80"), "tcp/host:80");
  EXPECT_EQ(target("net/tcp/../kube"), "kube");
  EXPECT_EQ(target("net/listen/8080"), "listen/8080");
  EXPECT_EQ(walk("net/kube/x"), Errno::NotDir);
  EXPECT_EQ(walk("net/kube/"), Errno::NotDir);
  EXPECT_EQ(walk("net/tcp/a/b"), Errno::NotDir);
  EXPECT_EQ(walk("net/../../outside"), Errno::NotCapable);
  EXPECT_EQ(inode("net/../file"), inode("file"));
  EXPECT_EQ(inode("net/x/../../file"), inode("file"));
  EXPECT_EQ(inode("net/.."), inside_.directory);
  EXPECT_NE(as_directory(inode("net").get()), nullptr);
  EXPECT_EQ(inode("net/."), inode("net"));
  const PathStart net{std::static_pointer_cast<Directory>(inode("net"))};
  EXPECT_EQ(resolve(net, "kube", LastLink::Follow)->name, "kube");
  EXPECT_EQ(resolve(net, "..", LastLink::Follow).error(), Errno::NotCapable);
}

}  // namespace
}  // namespace dormouse::wasi
