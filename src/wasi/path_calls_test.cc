// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "wasi/test_guest.h"

namespace dormouse::wasi {
namespace {

using test::TestGuest;

struct PathCalls : testing::Test {
  PathCalls() {
    guest.put_file("file", "content");
    EXPECT_EQ(guest.make_folder("folder"), Errno::Success);
  }
  std::uint32_t end() const { return static_cast<std::uint32_t>(guest.memory_bytes.size()); }
  Errno open(std::string_view path, std::uint32_t oflags = 0, Rights base = TestGuest::kReadWrite) { return guest.open(path, oflags, base).error; }
  // A read-only volume with "key" at /config.
  void mount_config() {
    auto tree = Volume::create({.clock = guest.clock, .read_only = true, .device = 7})->make_root();
    ASSERT_TRUE(put_file(tree, "key", "value"));
    ASSERT_TRUE(make_directories(tree, "folder"));
    ASSERT_TRUE(put_mount(guest.root, "config", std::make_shared<Mount>(tree)));
  }
  TestGuest guest;
};

TEST_F(PathCalls, FoldersAreMadeAndRemoved) {
  EXPECT_EQ(guest.make_folder("folder"), Errno::Exist);
  EXPECT_EQ(guest.make_folder("file"), Errno::Exist);
  EXPECT_EQ(guest.make_folder("."), Errno::Exist);
  EXPECT_EQ(guest.make_folder(""), Errno::NoEnt);
  EXPECT_EQ(guest.make_folder("folder/inner/"), Errno::Success);
  EXPECT_EQ(guest.make_folder("none/inner"), Errno::NoEnt);
  EXPECT_EQ(guest.make_folder("file/inner"), Errno::NotDir);
  EXPECT_EQ(guest.remove_folder("folder"), Errno::NotEmpty);
  EXPECT_EQ(guest.remove_folder("file"), Errno::NotDir);
  EXPECT_EQ(guest.remove_folder("file/"), Errno::NotDir);
  EXPECT_EQ(guest.remove_folder("none"), Errno::NoEnt);
  EXPECT_EQ(guest.remove_folder("folder/inner/."), Errno::Inval);
  EXPECT_EQ(guest.remove_folder("folder/inner/"), Errno::Success);
  EXPECT_EQ(guest.remove_folder("folder"), Errno::Success);
}

TEST_F(PathCalls, OpeningFollowsItsFlags) {
  EXPECT_EQ(open("none"), Errno::NoEnt);
  EXPECT_EQ(open("none/", kOflagsCreat), Errno::IsDir);
  EXPECT_EQ(guest.stat("none").error, Errno::NoEnt);
  EXPECT_EQ(open("file", kOflagsCreat | kOflagsExcl), Errno::Exist);
  EXPECT_EQ(open("new", kOflagsCreat | kOflagsExcl), Errno::Success);
  EXPECT_EQ(open("file", kOflagsDirectory, 0), Errno::NotDir);
  EXPECT_EQ(open("file/"), Errno::NotDir);
  EXPECT_EQ(open("folder"), Errno::IsDir);
  EXPECT_EQ(open("folder", kOflagsTrunc, 0), Errno::IsDir);
  EXPECT_EQ(open("folder", kOflagsDirectory, rights::kFdRead), Errno::Success);
  EXPECT_EQ(open("folder", kOflagsDirectory | kOflagsCreat, 0), Errno::Inval);
  EXPECT_EQ(open("file", 16), Errno::Inval);
  EXPECT_EQ(guest.open("file", 0, 0, 0, 32).error, Errno::Inval);
  EXPECT_EQ(guest.open("file", 0, 0, 0, 0, TestGuest::kRoot, 2).error, Errno::Inval);
  EXPECT_EQ(guest.open("file", 0, 0, 0, 0, 99).error, Errno::BadF);
  EXPECT_EQ(guest.open("file", 0, 0, 0, 0, 1).error, Errno::NotDir);
  EXPECT_EQ(open("file", kOflagsTrunc), Errno::Success);
  EXPECT_EQ(guest.stat("file").stat.size, 0u);
  EXPECT_EQ(guest.fdstat(guest.must_open("file", 0, TestGuest::kReadWrite, 0, kFdflagsAppend | kFdflagsSync)).flags, kFdflagsAppend | kFdflagsSync);
}

TEST_F(PathCalls, AnOpenFileOutlivesItsName) {
  const Fd fd = guest.must_open("file");
  EXPECT_EQ(guest.unlink("file"), Errno::Success);
  EXPECT_EQ(guest.read(fd, 99).text, "content");
  EXPECT_EQ(guest.stat("file").error, Errno::NoEnt);
}

TEST_F(PathCalls, RightsNarrowOnTheWayDown) {
  const Fd folder = guest.open_folder(".", rights::kPathOpen, rights::kFdRead);
  EXPECT_EQ(guest.open("file", 0, rights::kFdRead, 0, 0, folder).error, Errno::Success);
  EXPECT_EQ(guest.open("file", 0, TestGuest::kReadWrite, 0, 0, folder).error, Errno::NotCapable);
  EXPECT_EQ(guest.open("folder", kOflagsDirectory, 0, rights::kFdWrite, 0, folder).error, Errno::NotCapable);
  EXPECT_EQ(guest.open("new", kOflagsCreat, rights::kFdRead, 0, 0, folder).error, Errno::NotCapable);
  EXPECT_EQ(guest.open("file", 0, rights::kFdRead, 0, kFdflagsSync, folder).error, Errno::NotCapable);
  EXPECT_EQ(guest.open("file", 0, 0, 0, 0, guest.open_folder(".", 0)).error, Errno::NotCapable);
  // Rights that a folder cannot have are left out, and unknown bits are no reason to refuse.
  const Fd asked_for_all = guest.must_open("file", 0, ~Rights{0}, ~Rights{0});
  EXPECT_EQ(guest.fdstat(asked_for_all).rights_base, rights::kRegularFile);
  EXPECT_EQ(guest.fdstat(guest.open_folder("folder", rights::kDirectory | rights::kFdSeek)).rights_base, rights::kDirectory);
}

TEST_F(PathCalls, EachFunctionNeedsItsRight) {
  const Fd folder = guest.open_folder(".", 0);
  const std::uint32_t a = guest.put("file"), b = guest.put("new"), at = guest.take(64);
  EXPECT_EQ(guest.call("path_create_directory", folder, b, 3), Errno::NotCapable);
  EXPECT_EQ(guest.call("path_filestat_get", folder, 0, a, 4, at), Errno::NotCapable);
  EXPECT_EQ(guest.call("path_filestat_set_times", folder, 0, a, 4, 0, 0, 0), Errno::NotCapable);
  EXPECT_EQ(guest.call("path_readlink", folder, a, 4, at, 8, at), Errno::NotCapable);
  EXPECT_EQ(guest.remove_folder("folder", folder), Errno::NotCapable);
  EXPECT_EQ(guest.unlink("file", folder), Errno::NotCapable);
  EXPECT_EQ(guest.call("path_symlink", a, 4, folder, b, 3), Errno::NotCapable);
}

TEST_F(PathCalls, StatAndTimesFollowOnlyWhenAsked) {
  ASSERT_EQ(guest.symlink("file", "link"), Errno::Success);
  EXPECT_EQ(guest.stat("link").stat.filetype, Filetype::SymbolicLink);
  EXPECT_EQ(guest.stat("link").stat.size, 4u);
  EXPECT_EQ(guest.stat("link", kLookupflagsSymlinkFollow).stat.filetype, Filetype::RegularFile);
  EXPECT_EQ(guest.stat("link", kLookupflagsSymlinkFollow).stat.size, 7u);
  const std::uint32_t link = guest.put("link");
  EXPECT_EQ(guest.call("path_filestat_set_times", TestGuest::kRoot, 0, link, 4, 1, 2, kFstflagsMtim), Errno::Success);
  EXPECT_EQ(guest.stat("link").stat.modified, 2u);
  EXPECT_NE(guest.stat("file").stat.modified, 2u);
  EXPECT_EQ(guest.call("path_filestat_set_times", TestGuest::kRoot, 1, link, 4, 1, 3, kFstflagsMtim), Errno::Success);
  EXPECT_EQ(guest.stat("file").stat.modified, 3u);
  EXPECT_EQ(guest.call("path_filestat_set_times", TestGuest::kRoot, 0, link, 4, 1, 3, 3), Errno::Inval);
  EXPECT_EQ(guest.call("path_filestat_set_times", TestGuest::kRoot, 0, guest.put("none"), 4, 1, 3, 0), Errno::NoEnt);
  EXPECT_EQ(guest.stat("file", 2).error, Errno::Inval);
  EXPECT_EQ(guest.stat("file/").error, Errno::NotDir);
  EXPECT_EQ(guest.call("path_filestat_get", TestGuest::kRoot, 0, link, 4, end() - 63), Errno::Fault);
}

TEST_F(PathCalls, SymbolicLinks) {
  const std::uint32_t buffer = guest.put("......."), used = guest.take(4);
  ASSERT_EQ(guest.symlink("file", "link"), Errno::Success);
  EXPECT_EQ(guest.symlink("file", "link"), Errno::Exist);
  EXPECT_EQ(guest.symlink("file", "folder"), Errno::Exist);
  EXPECT_EQ(guest.symlink("file", "folder/"), Errno::Exist);
  EXPECT_EQ(guest.symlink("file", "new/"), Errno::NoEnt);
  EXPECT_EQ(guest.symlink("", "new"), Errno::NoEnt);
  EXPECT_EQ(guest.symlink("/", "new"), Errno::NotCapable);
  EXPECT_EQ(guest.symlink("\xff", "new"), Errno::IlSeq);
  EXPECT_EQ(guest.symlink(std::string_view("a\0b", 3), "new"), Errno::Inval);
  EXPECT_EQ(guest.symlink(std::string(5000, 'x'), "new"), Errno::NameTooLong);
  EXPECT_EQ(guest.call("path_readlink", TestGuest::kRoot, guest.put("link"), 4, buffer, 3, used), Errno::Success);
  EXPECT_EQ(guest.load<std::uint32_t>(used), 3u);
  EXPECT_EQ(guest.text_at(buffer, 4), "fil.");
  EXPECT_EQ(guest.call("path_readlink", TestGuest::kRoot, guest.put("file"), 4, buffer, 3, used), Errno::Inval);
  EXPECT_EQ(guest.call("path_readlink", TestGuest::kRoot, guest.put("none"), 4, buffer, 3, used), Errno::NoEnt);
  EXPECT_EQ(guest.call("path_readlink", TestGuest::kRoot, guest.put("link"), 4, end() - 3, 8, used), Errno::Fault);
  EXPECT_EQ(guest.open("link", 0, rights::kFdRead, 0, 0, TestGuest::kRoot, 0).error, Errno::Loop);
  EXPECT_EQ(guest.open("link", 0, rights::kFdRead).error, Errno::Success);
  EXPECT_EQ(guest.remove_folder("link"), Errno::NotDir);
  EXPECT_EQ(guest.unlink("link"), Errno::Success);
  EXPECT_EQ(guest.stat("file").error, Errno::Success);
  // Creating through a dangling link makes what it names; not when it must be new.
  ASSERT_EQ(guest.symlink("folder/made", "dangling"), Errno::Success);
  EXPECT_EQ(guest.open("dangling", kOflagsCreat | kOflagsExcl).error, Errno::Exist);
  EXPECT_EQ(guest.make_folder("dangling"), Errno::Exist);
  EXPECT_EQ(guest.open("dangling", kOflagsCreat).error, Errno::Success);
  EXPECT_EQ(guest.stat("folder/made").error, Errno::Success);
}

TEST_F(PathCalls, HardLinks) {
  EXPECT_EQ(guest.link("file", "folder/same"), Errno::Success);
  EXPECT_EQ(guest.stat("folder/same").stat.links, 2u);
  EXPECT_EQ(guest.stat("folder/same").stat.inode, guest.stat("file").stat.inode);
  EXPECT_EQ(guest.link("file", "folder/same"), Errno::Exist);
  EXPECT_EQ(guest.link("file", "folder"), Errno::Exist);
  EXPECT_EQ(guest.link("folder", "new"), Errno::Perm);
  EXPECT_EQ(guest.link(".", "new"), Errno::Perm);
  EXPECT_EQ(guest.link("none", "new"), Errno::NoEnt);
  EXPECT_EQ(guest.link("file", "new/"), Errno::NoEnt);
  EXPECT_EQ(guest.link("file/", "new"), Errno::NotDir);
  EXPECT_EQ(guest.link("file", "new", TestGuest::kRoot, TestGuest::kRoot, 2), Errno::Inval);
  ASSERT_EQ(guest.symlink("file", "link"), Errno::Success);
  EXPECT_EQ(guest.link("link", "of-the-link"), Errno::Success);
  EXPECT_EQ(guest.stat("of-the-link").stat.filetype, Filetype::SymbolicLink);
  EXPECT_EQ(guest.link("link", "of-the-file", TestGuest::kRoot, TestGuest::kRoot, kLookupflagsSymlinkFollow), Errno::Success);
  EXPECT_EQ(guest.stat("of-the-file").stat.links, 3u);
  EXPECT_EQ(guest.unlink("folder"), Errno::IsDir);
  EXPECT_EQ(guest.unlink("folder/"), Errno::IsDir);
  EXPECT_EQ(guest.unlink("file/"), Errno::NotDir);
  EXPECT_EQ(guest.unlink("none"), Errno::NoEnt);
  EXPECT_EQ(guest.unlink("."), Errno::IsDir);
}

TEST_F(PathCalls, Renames) {
  ASSERT_EQ(guest.make_folder("other"), Errno::Success);
  EXPECT_EQ(guest.rename("file", "folder/file"), Errno::Success);
  EXPECT_EQ(guest.rename("folder/file", "file"), Errno::Success);
  EXPECT_EQ(guest.rename("file", "file"), Errno::Success);
  EXPECT_EQ(guest.rename("file", "new/"), Errno::NotDir);
  EXPECT_EQ(guest.rename("file/", "new"), Errno::NotDir);
  EXPECT_EQ(guest.rename("other/", "new/"), Errno::Success);
  EXPECT_EQ(guest.rename("new", "folder"), Errno::Success);
  EXPECT_EQ(guest.rename("file", "folder"), Errno::IsDir);
  EXPECT_EQ(guest.rename("folder", "file"), Errno::NotDir);
  EXPECT_EQ(guest.rename("folder", "folder/inside"), Errno::Inval);
  EXPECT_EQ(guest.rename("none", "new"), Errno::NoEnt);
  EXPECT_EQ(guest.rename("file", "none/new"), Errno::NoEnt);
  EXPECT_EQ(guest.rename(".", "new"), Errno::Busy);
  EXPECT_EQ(guest.rename("folder", "."), Errno::Busy);
  EXPECT_EQ(guest.rename("file", "new", TestGuest::kRoot, 99), Errno::BadF);
}

TEST_F(PathCalls, PathsAreCheckedBeforeTheyAreRead) {
  EXPECT_EQ(guest.call("path_create_directory", TestGuest::kRoot, end() - 2, 3), Errno::Fault);
  EXPECT_EQ(guest.call("path_create_directory", TestGuest::kRoot, 16, ~0u), Errno::Fault);
  EXPECT_EQ(guest.call("path_create_directory", TestGuest::kRoot, 16, 5000), Errno::NameTooLong);
  EXPECT_EQ(guest.call("path_open", TestGuest::kRoot, 0, guest.put("made"), 4, kOflagsCreat, 0, 0, 0, end() - 3), Errno::Fault);
  EXPECT_EQ(guest.stat("made").error, Errno::NoEnt);
  EXPECT_EQ(guest.process->counters().open_descriptors, 4u);
}

TEST_F(PathCalls, NothingInAReadOnlyVolumeCanBeChanged) {
  mount_config();
  EXPECT_EQ(guest.read(guest.must_open("config/key", 0, rights::kFdRead), 99).text, "value");
  EXPECT_EQ(open("config/key"), Errno::RoFs);
  EXPECT_EQ(open("config/key", kOflagsTrunc, rights::kFdRead), Errno::RoFs);
  EXPECT_EQ(open("config/new", kOflagsCreat), Errno::RoFs);
  EXPECT_EQ(guest.make_folder("config/new"), Errno::RoFs);
  EXPECT_EQ(guest.symlink("key", "config/new"), Errno::RoFs);
  EXPECT_EQ(guest.unlink("config/key"), Errno::RoFs);
  EXPECT_EQ(guest.remove_folder("config/folder"), Errno::RoFs);
  EXPECT_EQ(guest.rename("config/key", "config/new"), Errno::RoFs);
  EXPECT_EQ(guest.rename("config/key", "new"), Errno::RoFs);
  EXPECT_EQ(guest.rename("file", "config/new"), Errno::RoFs);
  EXPECT_EQ(guest.link("file", "config/new"), Errno::RoFs);
  EXPECT_EQ(guest.call("path_filestat_set_times", TestGuest::kRoot, 0, guest.put("config/key"), 10, 0, 0, kFstflagsMtimNow), Errno::RoFs);
  // Nor through rights that came with an open for reading, nor from the folder inside.
  const Fd fd = guest.must_open("config/key", 0, rights::kRegularFile & ~rights::kFdWrite);
  EXPECT_EQ(guest.call("fd_filestat_set_size", fd, 0), Errno::RoFs);
  EXPECT_EQ(guest.call("fd_allocate", fd, 0, 100), Errno::RoFs);
  EXPECT_EQ(guest.call("fd_filestat_set_times", fd, 0, 0, kFstflagsMtimNow), Errno::RoFs);
  const Fd folder = guest.open_folder("config");
  EXPECT_EQ(guest.open("key", 0, TestGuest::kReadWrite, 0, 0, folder).error, Errno::RoFs);
  EXPECT_EQ(guest.unlink("key", folder), Errno::RoFs);
  EXPECT_EQ(guest.rename("config", "elsewhere"), Errno::RoFs);
}

TEST_F(PathCalls, NetworkNamesAreDialledOnlyByOpening) {
  guest.network.refuse = {{"nowhere", Errno::NoEnt}, {"tcp/secret:80", Errno::Acces}};
  EXPECT_EQ(open("net/kube"), Errno::Success);
  EXPECT_EQ(open("net/tcp/host:80"), Errno::Success);
  EXPECT_EQ(guest.network.dialled, (std::vector<std::string>{"kube", "tcp/host:80"}));
  EXPECT_EQ(open("net/nowhere"), Errno::NoEnt);
  EXPECT_EQ(open("net/tcp/secret:80"), Errno::Acces);
  const std::size_t dialled = guest.network.dialled.size();
  EXPECT_EQ(guest.stat("net/kube").stat.filetype, Filetype::SocketStream);
  EXPECT_EQ(guest.stat("net/tcp").stat.filetype, Filetype::Directory);
  EXPECT_EQ(open("net/kube", kOflagsDirectory, 0), Errno::NotDir);
  EXPECT_EQ(open("net/kube", kOflagsCreat | kOflagsExcl), Errno::Exist);
  EXPECT_EQ(open("net/tcp"), Errno::Acces);
  EXPECT_EQ(open("net/kube/"), Errno::NotDir);
  for (const char* port : {"net/listen/0", "net/listen/65536", "net/listen/x", "net/listen/080", "net/listen/-1", "net/listen/80x"}) EXPECT_EQ(open(port), Errno::Inval) << port;
  EXPECT_EQ(guest.unlink("net/kube"), Errno::RoFs);
  EXPECT_EQ(guest.make_folder("net/kube"), Errno::Exist);
  EXPECT_EQ(guest.rename("net/kube", "file"), Errno::RoFs);
  EXPECT_EQ(guest.rename("file", "net/kube"), Errno::RoFs);
  EXPECT_EQ(guest.link("net/kube", "new"), Errno::Perm);
  EXPECT_EQ(guest.rename("net", "folder"), Errno::Busy);
  EXPECT_EQ(guest.remove_folder("net"), Errno::Busy);
  EXPECT_EQ(guest.unlink("run/signals"), Errno::Perm);
  EXPECT_EQ(guest.rename("run/signals", "new"), Errno::Busy);
  EXPECT_EQ(guest.link("run/signals", "new"), Errno::Perm);
  EXPECT_EQ(guest.network.dialled.size(), dialled);
}

TEST_F(PathCalls, StreamsHaveSocketRightsThoughOpenAsksForAFilesOnly) {
  const Fd fd = guest.must_open("net/kube", 0, rights::kFdRead | rights::kFdWrite);
  EXPECT_EQ(guest.fdstat(fd).rights_base, rights::kStream);
  const Fd reads = guest.must_open("net/kube", 0, rights::kFdRead | rights::kFdSeek);
  EXPECT_EQ(guest.write(reads, "x").error, Errno::NotCapable);
}

TEST(SpecialNames, AreThereOnlyWithANetworkAndOnlyAtASpecialRoot) {
  TestGuest without({.network = false});
  EXPECT_EQ(without.open("net/kube").error, Errno::NoEnt);
  EXPECT_EQ(without.open("run/signals", 0, rights::kFdRead).error, Errno::Success);
  // A second run of the guest in the same tree.
  Process again({.preopens = {{"/", without.root, true}}, .standard_output = without.out, .standard_error = without.err, .account = without.account, .clock = without.clock});
  EXPECT_EQ(without.open("run/signals", 0, rights::kFdRead).error, Errno::Success);
}

}  // namespace
}  // namespace dormouse::wasi
