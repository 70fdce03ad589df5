// SPDX-License-Identifier: Apache-2.0
// What other WASI hosts were attacked with, one test each; the names say what must not work.

#include <gtest/gtest.h>

#include "wasi/test_guest.h"

namespace dormouse::wasi {
namespace {

using test::TestGuest;

// Elsewhere a panic, and a leaked descriptor.
TEST(Security, RenumberOntoItselfOrRoundAndRoundLeaksAndBreaksNothing) {
  TestGuest guest;
  const Fd target = guest.must_open("target", kOflagsCreat);
  EXPECT_EQ(guest.call("fd_renumber", target, target), Errno::Success);
  EXPECT_EQ(guest.write(target, "x").bytes, 1u);
  std::weak_ptr<Channel> last;
  for (int i = 0; i < 1000; ++i) {
    guest.forget();
    const Fd stream = guest.must_open("net/kube");
    ASSERT_EQ(stream, target + 1);
    last = guest.network.channels.back();
    guest.network.channels.clear();
    ASSERT_EQ(guest.call("fd_renumber", stream, target), Errno::Success);
    ASSERT_EQ(guest.call("fd_close", stream), Errno::BadF);
  }
  EXPECT_EQ(guest.process->counters().open_streams, 1u);
  EXPECT_EQ(guest.process->counters().open_descriptors, 5u);
  EXPECT_EQ(guest.call("fd_renumber", TestGuest::kRoot, target), Errno::Success);
  EXPECT_TRUE(last.expired());
  // The preopened folder has moved with all that it is.
  const std::uint32_t prestat = guest.take(8);
  EXPECT_EQ(guest.call("fd_prestat_get", TestGuest::kRoot, prestat), Errno::BadF);
  EXPECT_EQ(guest.call("fd_prestat_get", target, prestat), Errno::Success);
  EXPECT_EQ(guest.call("fd_renumber", target, 1), Errno::Success);
  EXPECT_EQ(guest.call("fd_renumber", 2, ~Fd{0}), Errno::BadF);
}

// path_open with TRUNC truncated what could only be read.
TEST(Security, TruncNeedsTheRightAndAWritablePlace) {
  TestGuest guest;
  guest.put_file("file", "content");
  const Fd folder = guest.open_folder(".", rights::kDirectory & ~rights::kPathFilestatSetSize);
  EXPECT_EQ(guest.open("file", kOflagsTrunc, rights::kFdRead, 0, 0, folder).error, Errno::NotCapable);
  EXPECT_EQ(guest.open("file", kOflagsTrunc, TestGuest::kReadWrite, 0, 0, folder).error, Errno::NotCapable);
  EXPECT_EQ(guest.open("file", kOflagsTrunc | kOflagsCreat, 0, 0, 0, folder).error, Errno::NotCapable);
  EXPECT_EQ(guest.stat("file").stat.size, 7u);
  auto tree = Volume::create({.clock = guest.clock, .device = 2})->make_root();
  ASSERT_TRUE(put_file(tree, "key", "value"));
  ASSERT_TRUE(put_mount(guest.root, "mounted", std::make_shared<Mount>(tree, true)));
  EXPECT_EQ(guest.open("mounted/key", kOflagsTrunc, 0).error, Errno::RoFs);
  EXPECT_EQ(guest.open("mounted/key", kOflagsTrunc | kOflagsCreat, rights::kFdRead).error, Errno::RoFs);
  EXPECT_EQ(guest.stat("mounted/key").stat.size, 5u);
}

// Only one of the two folders' rights was looked at.
TEST(Security, LinkAndRenameNeedTheirRightOnBothSides) {
  TestGuest guest;
  guest.put_file("file", "content");
  const Fd no_source = guest.open_folder(".", rights::kDirectory & ~(rights::kPathLinkSource | rights::kPathRenameSource));
  const Fd no_target = guest.open_folder(".", rights::kDirectory & ~(rights::kPathLinkTarget | rights::kPathRenameTarget));
  EXPECT_EQ(guest.link("file", "new", no_source, TestGuest::kRoot), Errno::NotCapable);
  EXPECT_EQ(guest.link("file", "new", TestGuest::kRoot, no_target), Errno::NotCapable);
  EXPECT_EQ(guest.rename("file", "new", no_source, TestGuest::kRoot), Errno::NotCapable);
  EXPECT_EQ(guest.rename("file", "new", TestGuest::kRoot, no_target), Errno::NotCapable);
  EXPECT_EQ(guest.stat("new").error, Errno::NoEnt);
  EXPECT_EQ(guest.link("file", "new", no_target, no_source), Errno::Success);
}

// A second name in a writable place would make a read-only file writable.
TEST(Security, AHardLinkDoesNotCarryAFileOutOfAReadOnlyMount) {
  TestGuest guest;
  auto shared = guest.volume->make_root();
  ASSERT_TRUE(put_file(shared, "key", "value"));
  ASSERT_TRUE(put_mount(guest.root, "read-only", std::make_shared<Mount>(shared, true)));
  ASSERT_TRUE(put_mount(guest.root, "writable", std::make_shared<Mount>(shared)));
  EXPECT_EQ(guest.link("read-only/key", "mine"), Errno::RoFs);
  EXPECT_EQ(guest.rename("read-only/key", "mine"), Errno::RoFs);
  const Fd inside = guest.open_folder("read-only");
  EXPECT_EQ(guest.link("key", "mine", inside, TestGuest::kRoot), Errno::RoFs);
  EXPECT_EQ(guest.open("key", 0, TestGuest::kReadWrite, 0, 0, inside).error, Errno::RoFs);
  EXPECT_EQ(guest.open("writable/key").error, Errno::Success);
}

// A slash after a link made the host follow it where it was not to be followed.
TEST(Security, ATrailingSlashIsNoWayOutOfAFolder) {
  TestGuest guest;
  guest.put_file("outside", "secret");
  ASSERT_EQ(guest.make_folder("inside"), Errno::Success);
  ASSERT_EQ(guest.symlink("..", "inside/up"), Errno::Success);
  ASSERT_EQ(guest.symlink("../outside", "inside/over"), Errno::Success);
  const Fd inside = guest.open_folder("inside");
  for (const std::uint32_t lookup : {0u, 1u}) {
    for (const char* path : {"up/", "up//", "up/.", "up/outside", "up/../outside", "over/", "./up/", ".././outside/"}) {
      EXPECT_EQ(guest.open(path, 0, 0, 0, 0, inside, lookup).error, Errno::NotCapable) << path;
      EXPECT_EQ(guest.stat(path, lookup, inside).error, Errno::NotCapable) << path;
    }
  }
  EXPECT_EQ(guest.rename("up/", "new", inside, inside), Errno::NotDir);
  EXPECT_EQ(guest.remove_folder("up/", inside), Errno::NotDir);
  EXPECT_EQ(guest.unlink("up/", inside), Errno::NotDir);
}

// A folder moved out from under a walk cannot widen it: ".." goes back the way that was come.
TEST(Security, AMovedFolderDoesNotLeadOut) {
  TestGuest guest;
  ASSERT_EQ(guest.make_folder("jail"), Errno::Success);
  ASSERT_EQ(guest.make_folder("jail/deep"), Errno::Success);
  const Fd deep = guest.open_folder("jail/deep");
  ASSERT_EQ(guest.rename("jail/deep", "deep"), Errno::Success);
  EXPECT_EQ(guest.stat("..", 0, deep).error, Errno::NotCapable);
  EXPECT_EQ(guest.stat("../jail", 0, deep).error, Errno::NotCapable);
}

// A guest's number must not size the host's memory or time.
TEST(Security, CountsOfTheGuestAllocateNothing) {
  TestGuest guest;
  const Fd fd = guest.must_open("file", kOflagsCreat);
  ASSERT_EQ(guest.symlink("file", "link"), Errno::Success);
  const std::uint32_t link = guest.put("link");
  const std::uint64_t before = guest.account.used_bytes();
  const std::uint32_t size = guest.take(4);
  for (const std::uint32_t count : {~0u, 0x2000'0000u, 0x8000'0000u}) {
    EXPECT_EQ(guest.call("fd_read", fd, 16, count, size), Errno::Fault);
    EXPECT_EQ(guest.call("fd_write", fd, 16, count, size), Errno::Fault);
    EXPECT_EQ(guest.call("fd_pread", fd, 16, count, 0, size), Errno::Fault);
    EXPECT_EQ(guest.call("fd_pwrite", fd, 16, count, 0, size), Errno::Fault);
    EXPECT_EQ(guest.call("fd_readdir", TestGuest::kRoot, 16, count, 0, size), Errno::Fault);
    EXPECT_EQ(guest.call("random_get", 16, count), Errno::Fault);
    EXPECT_EQ(guest.call("path_open", TestGuest::kRoot, 0, 16, count, 0, 0, 0, 0, size), Errno::Fault);
    EXPECT_EQ(guest.call("path_readlink", TestGuest::kRoot, link, 4, 16, count, size), Errno::Fault);
  }
  // More vectors than 1024, all of them good.
  EXPECT_EQ(guest.call("fd_write", fd, 0, 1025, size), Errno::Inval);
  EXPECT_EQ(guest.account.used_bytes(), before);
}

// A thousand vectors over the same memory are gigabytes in one call.
TEST(Security, OneCallMovesABoundedNumberOfBytes) {
  TestGuest guest({.memory_bytes = 1 << 20});
  for (std::uint32_t i = 0; i < 1024; ++i) ASSERT_TRUE(guest.memory().store(i * 8, Iovec{0, 1 << 20}));
  const std::uint32_t size = 500'000;
  ASSERT_EQ(guest.call("fd_write", 1, 0, 1024, size), Errno::Success);
  EXPECT_EQ(guest.load<std::uint32_t>(size), 32u << 20);
  EXPECT_EQ(guest.out.bytes_written, 32u << 20);
  // A file's holes are no less work.
  const Fd fd = guest.must_open("sparse", kOflagsCreat, rights::kRegularFile);
  ASSERT_EQ(guest.call("fd_filestat_set_size", fd, std::uint64_t{1} << 40), Errno::Success);
  for (std::uint32_t i = 0; i < 1024; ++i) ASSERT_TRUE(guest.memory().store(i * 8, Iovec{16'384, (1 << 20) - 16'384}));
  ASSERT_EQ(guest.call("fd_read", fd, 0, 1024, size), Errno::Success);
  EXPECT_EQ(guest.load<std::uint32_t>(size), 32u << 20);
}

// What is read may land on the list of vectors itself.
TEST(Security, AReadThatOverwritesItsOwnVectorsStaysInside) {
  TestGuest guest;
  const std::uint32_t list = guest.take(16);
  Iovec far[2] = {{0xffff'ff00u, 0xffu}, {0xffff'fff0u, 0xffff'ffffu}};
  std::string bytes(reinterpret_cast<const char*>(far), sizeof(far));
  guest.put_file("file", bytes + bytes);
  const Fd fd = guest.must_open("file");
  ASSERT_TRUE(guest.memory().store(list, Iovec{list, 16}));
  ASSERT_TRUE(guest.memory().store(list + 8, Iovec{guest.take(16), 16}));
  const std::uint32_t size = guest.take(4);
  EXPECT_EQ(guest.call("fd_read", fd, list, 2, size), Errno::Success);
  EXPECT_EQ(guest.load<std::uint32_t>(size), 16u);
}

TEST(Security, FourGibibytesOfRandomnessAreRefused) {
  TestGuest guest;
  // As a guest with a full memory would ask; the memory is never touched, for the wish is refused first.
  wasm::Value values[2] = {};
  values[1].u64 = 0xffff'ffff;
  const wasm::Memory whole(guest.memory_bytes.data(), std::uint64_t{1} << 32);
  EXPECT_EQ(test::find_import("random_get").call(guest.process.get(), whole, values), wasm::Verdict::Return);
  EXPECT_EQ(static_cast<Errno>(values[0].u64), Errno::Inval);
}

// The three bytes behind a dirent's type came from the host's stack.
TEST(Security, PaddingIsZeroEverywhere) {
  TestGuest guest;
  guest.put_file("file", "");
  std::fill(guest.memory_bytes.begin() + 100'000, guest.memory_bytes.end(), std::byte{0xee});
  const auto zero = [&](std::uint32_t address, std::size_t from, std::size_t to) {
    for (std::size_t i = from; i < to; ++i) EXPECT_EQ(guest.memory_bytes[address + i], std::byte{0}) << i;
  };
  const std::uint32_t at = 100'000;
  ASSERT_EQ(guest.call("fd_readdir", TestGuest::kRoot, at, 1000, 0, 64), Errno::Success);
  const std::uint32_t used = guest.load<std::uint32_t>(64);
  for (std::uint32_t entry = 0; entry < used; entry += static_cast<std::uint32_t>(sizeof(Dirent)) + guest.load<Dirent>(at + entry).name_length) zero(at + entry, 21, 24);
  ASSERT_EQ(guest.call("fd_fdstat_get", TestGuest::kRoot, at), Errno::Success);
  zero(at, 1, 2);
  zero(at, 4, 8);
  ASSERT_EQ(guest.call("fd_filestat_get", TestGuest::kRoot, at), Errno::Success);
  zero(at, 17, 24);
  ASSERT_EQ(guest.call("fd_prestat_get", TestGuest::kRoot, at), Errno::Success);
  zero(at, 1, 4);
  ASSERT_TRUE(guest.memory().store(64, TestGuest::on_clock(ClockId::Monotonic, 0)));
  ASSERT_EQ(guest.call("poll_oneoff", 64, at, 1, 200), Errno::Success);
  zero(at, 11, 32);
}

TEST(Security, FilesPastTheMemoryLimitAreNospcAndDeletingGivesSpaceBack) {
  TestGuest guest({.limit_bytes = 256 * 1024});
  const std::string kilobytes(16 * 1024, 'x');
  const Fd fd = guest.must_open("file", kOflagsCreat);
  Errno error = Errno::Success;
  for (int i = 0; i < 100 && error == Errno::Success; ++i) {
    guest.forget();
    error = guest.write(fd, kilobytes).error;
  }
  EXPECT_EQ(error, Errno::NoSpc);
  guest.forget();
  EXPECT_EQ(guest.make_folder(std::string(200, 'n')), guest.account.limit_bytes() - guest.account.used_bytes() > 1000 ? Errno::Success : Errno::NoSpc);
  EXPECT_EQ(guest.call("fd_close", fd), Errno::Success);
  EXPECT_EQ(guest.unlink("file"), Errno::Success);
  EXPECT_LT(guest.account.used_bytes(), 16'000u);
}

// Names alone must not be free of charge.
TEST(Security, EndlesslyManyEmptyFilesMeetTheLimit) {
  TestGuest guest({.limit_bytes = 256 * 1024});
  Errno error = Errno::Success;
  int made = 0;
  for (; error == Errno::Success && made < 10'000; ++made) {
    guest.forget();
    error = guest.make_folder("folder" + std::to_string(made));
  }
  EXPECT_EQ(error, Errno::NoSpc);
  EXPECT_LT(made, 600);
}

// A process that ends leaves nothing, whatever it had open; the waker that the network still holds reaches nobody.
TEST(Security, NothingOfAProcessIsUsedAfterItsEnd) {
  TestGuest guest;
  (void)guest.must_open("net/kube");
  (void)guest.must_open("net/listen/80");
  (void)guest.must_open("run/signals", 0, rights::kFdRead);
  const auto channel = guest.network.channels[0];
  ASSERT_TRUE(guest.poll({TestGuest::on_fd(Eventtype::FdRead, 4)}).parked);
  guest.process.reset();
  EXPECT_TRUE(channel->guest_gone());
  EXPECT_TRUE(guest.network.ports.empty());
  EXPECT_EQ(channel->host_write(test::bytes_of("x")), 1u);
  channel->host_fail(Errno::ConnReset);
  EXPECT_EQ(guest.wakes, 0);
  guest.root.reset();
  guest.volume.reset();
  EXPECT_EQ(guest.account.used_bytes(), 0u);
}

}  // namespace
}  // namespace dormouse::wasi
