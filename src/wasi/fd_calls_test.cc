// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "wasi/test_guest.h"

namespace dormouse::wasi {
namespace {

using test::TestGuest;

constexpr Rights kAllOfFile = rights::kRegularFile;
constexpr std::uint64_t kInt64Max = 0x7fff'ffff'ffff'ffff;

struct FdCalls : testing::Test {
  // A far address, and one where 8 bytes do not fit.
  std::uint32_t end() const { return static_cast<std::uint32_t>(guest.memory_bytes.size()); }
  Fd file(Rights base = kAllOfFile) {
    guest.put_file("file", "0123456789");
    return guest.must_open("file", 0, base);
  }
  Errno seek(Fd fd, std::int64_t delta, Whence whence) { return guest.call("fd_seek", fd, delta, static_cast<std::uint32_t>(whence), at = guest.take(8)); }
  std::uint64_t position() { return guest.load<std::uint64_t>(at); }
  TestGuest guest;
  std::uint32_t at = 0;
};

TEST_F(FdCalls, NumbersThatAreNotOpenAreBadf) {
  for (const Fd fd : {Fd{99}, Fd{5}, ~Fd{0}, Fd{1} << 31}) {
    EXPECT_EQ(guest.call("fd_advise", fd, 0, 0, 0), Errno::BadF);
    EXPECT_EQ(guest.call("fd_allocate", fd, 0, 1), Errno::BadF);
    EXPECT_EQ(guest.call("fd_close", fd), Errno::BadF);
    EXPECT_EQ(guest.call("fd_datasync", fd), Errno::BadF);
    EXPECT_EQ(guest.call("fd_sync", fd), Errno::BadF);
    EXPECT_EQ(guest.call("fd_fdstat_get", fd, 64), Errno::BadF);
    EXPECT_EQ(guest.call("fd_fdstat_set_flags", fd, 0), Errno::BadF);
    EXPECT_EQ(guest.call("fd_fdstat_set_rights", fd, 0, 0), Errno::BadF);
    EXPECT_EQ(guest.call("fd_filestat_get", fd, 64), Errno::BadF);
    EXPECT_EQ(guest.call("fd_filestat_set_size", fd, 0), Errno::BadF);
    EXPECT_EQ(guest.call("fd_filestat_set_times", fd, 0, 0, 0), Errno::BadF);
    EXPECT_EQ(guest.call("fd_prestat_get", fd, 64), Errno::BadF);
    EXPECT_EQ(guest.call("fd_prestat_dir_name", fd, 64, 8), Errno::BadF);
    EXPECT_EQ(guest.call("fd_renumber", fd, 1), Errno::BadF);
    EXPECT_EQ(guest.call("fd_renumber", 1, fd), Errno::BadF);
    EXPECT_EQ(guest.call("fd_seek", fd, 0, 0, 64), Errno::BadF);
    EXPECT_EQ(guest.call("fd_tell", fd, 64), Errno::BadF);
  }
}

TEST_F(FdCalls, SeekAndTellKnowTheirBounds) {
  const Fd fd = file();
  EXPECT_EQ(seek(fd, 4, Whence::Set), Errno::Success);
  EXPECT_EQ(seek(fd, 2, Whence::Current), Errno::Success);
  EXPECT_EQ(position(), 6u);
  EXPECT_EQ(seek(fd, -3, Whence::End), Errno::Success);
  EXPECT_EQ(position(), 7u);
  EXPECT_EQ(seek(fd, -8, Whence::Current), Errno::Inval);
  EXPECT_EQ(seek(fd, kInt64Max, Whence::Current), Errno::Inval);
  EXPECT_EQ(seek(fd, INT64_MIN, Whence::End), Errno::Inval);
  EXPECT_EQ(guest.call("fd_seek", fd, 0, 3, at), Errno::Inval);
  EXPECT_EQ(guest.call("fd_seek", fd, 1, 0, end() - 7), Errno::Fault);
  EXPECT_EQ(guest.call("fd_tell", fd, at), Errno::Success);
  EXPECT_EQ(position(), 7u);
  EXPECT_EQ(guest.call("fd_tell", fd, end() - 7), Errno::Fault);
  EXPECT_EQ(seek(fd, kInt64Max, Whence::Set), Errno::Success);
  EXPECT_EQ(guest.read(fd, 10).text, "");
  EXPECT_EQ(guest.write(fd, "x").error, Errno::FBig);
}

TEST_F(FdCalls, TellNeedsLessThanSeek) {
  const Fd tells = file(rights::kFdTell);
  EXPECT_EQ(seek(tells, 0, Whence::Current), Errno::Success);
  EXPECT_EQ(seek(tells, 1, Whence::Current), Errno::NotCapable);
  EXPECT_EQ(guest.call("fd_tell", tells, at), Errno::Success);
  const Fd seeks = file(rights::kFdSeek);
  EXPECT_EQ(guest.call("fd_tell", seeks, at), Errno::Success);
  const Fd neither = file(rights::kFdRead);
  EXPECT_EQ(seek(neither, 0, Whence::Current), Errno::NotCapable);
  EXPECT_EQ(guest.call("fd_tell", neither, at), Errno::NotCapable);
}

TEST_F(FdCalls, FoldersAndStreamsHaveTheErrnosOfTheirKind) {
  const Fd stream = guest.must_open("net/kube");
  EXPECT_EQ(seek(TestGuest::kRoot, 0, Whence::Set), Errno::IsDir);
  EXPECT_EQ(seek(stream, 0, Whence::Set), Errno::SPipe);
  EXPECT_EQ(seek(1, 0, Whence::Set), Errno::SPipe);
  EXPECT_EQ(guest.call("fd_tell", 0, at), Errno::SPipe);
  EXPECT_EQ(guest.call("fd_allocate", TestGuest::kRoot, 0, 1), Errno::IsDir);
  EXPECT_EQ(guest.call("fd_allocate", stream, 0, 1), Errno::SPipe);
  EXPECT_EQ(guest.call("fd_advise", stream, 0, 1, 0), Errno::SPipe);
  EXPECT_EQ(guest.call("fd_filestat_set_size", TestGuest::kRoot, 0), Errno::IsDir);
  EXPECT_EQ(guest.call("fd_filestat_set_size", stream, 0), Errno::Inval);
  EXPECT_EQ(guest.call("fd_filestat_set_times", stream, 0, 0, 0), Errno::Inval);
  EXPECT_EQ(guest.call("fd_sync", stream), Errno::Inval);
  EXPECT_EQ(guest.call("fd_datasync", 1), Errno::Inval);
  EXPECT_EQ(guest.call("fd_sync", TestGuest::kRoot), Errno::Success);
}

TEST_F(FdCalls, RightsCanOnlyBeGivenUp) {
  const Fd fd = file(rights::kFdRead | rights::kFdSeek);
  EXPECT_EQ(guest.fdstat(fd).rights_base, rights::kFdRead | rights::kFdSeek);
  EXPECT_EQ(guest.call("fd_fdstat_set_rights", fd, rights::kFdRead | rights::kFdWrite, 0), Errno::NotCapable);
  EXPECT_EQ(guest.call("fd_fdstat_set_rights", fd, rights::kFdRead, rights::kFdRead), Errno::NotCapable);
  EXPECT_EQ(guest.call("fd_fdstat_set_rights", fd, rights::kFdSeek, 0), Errno::Success);
  EXPECT_EQ(guest.call("fd_fdstat_set_rights", fd, rights::kFdSeek | rights::kFdRead, 0), Errno::NotCapable);
  EXPECT_EQ(guest.read(fd, 1).error, Errno::NotCapable);
}

TEST_F(FdCalls, EachFunctionNeedsItsRight) {
  const Fd fd = file(0);
  EXPECT_EQ(guest.call("fd_advise", fd, 0, 0, 0), Errno::NotCapable);
  EXPECT_EQ(guest.call("fd_allocate", fd, 0, 1), Errno::NotCapable);
  EXPECT_EQ(guest.call("fd_datasync", fd), Errno::NotCapable);
  EXPECT_EQ(guest.call("fd_sync", fd), Errno::NotCapable);
  EXPECT_EQ(guest.call("fd_fdstat_set_flags", fd, 0), Errno::NotCapable);
  EXPECT_EQ(guest.call("fd_filestat_get", fd, guest.take(64)), Errno::NotCapable);
  EXPECT_EQ(guest.call("fd_filestat_set_size", fd, 0), Errno::NotCapable);
  EXPECT_EQ(guest.call("fd_filestat_set_times", fd, 0, 0, 0), Errno::NotCapable);
  EXPECT_EQ(guest.read(fd, 1).error, Errno::NotCapable);
  EXPECT_EQ(guest.write(fd, "x").error, Errno::NotCapable);
  const Fd folder = guest.open_folder(".", 0);
  EXPECT_EQ(guest.call("fd_readdir", folder, guest.take(64), 64, 0, guest.take(4)), Errno::NotCapable);
}

TEST_F(FdCalls, FlagsAreKeptAndAppendAppends) {
  const Fd fd = file();
  EXPECT_EQ(guest.call("fd_fdstat_set_flags", fd, 32), Errno::Inval);
  EXPECT_EQ(guest.call("fd_fdstat_set_flags", fd, kFdflagsAppend | kFdflagsSync), Errno::Success);
  EXPECT_EQ(guest.fdstat(fd).flags, kFdflagsAppend | kFdflagsSync);
  EXPECT_EQ(guest.write(fd, "end").bytes, 3u);
  EXPECT_EQ(guest.fd_stat(fd).size, 13u);
  EXPECT_EQ(guest.call("fd_tell", fd, at = guest.take(8)), Errno::Success);
  EXPECT_EQ(position(), 13u);
}

TEST_F(FdCalls, SizeTimesAllocationAndAdvice) {
  const Fd fd = file();
  EXPECT_EQ(guest.call("fd_filestat_set_size", fd, 4), Errno::Success);
  EXPECT_EQ(guest.fd_stat(fd).size, 4u);
  EXPECT_EQ(guest.call("fd_filestat_set_size", fd, ~std::uint64_t{0}), Errno::FBig);
  EXPECT_EQ(guest.call("fd_allocate", fd, 2, 8), Errno::Success);
  EXPECT_EQ(guest.fd_stat(fd).size, 10u);
  EXPECT_EQ(guest.call("fd_allocate", fd, 0, 0), Errno::Inval);
  EXPECT_EQ(guest.call("fd_allocate", fd, ~std::uint64_t{0}, 1), Errno::Inval);
  EXPECT_EQ(guest.call("fd_allocate", fd, kInt64Max, kInt64Max), Errno::FBig);
  EXPECT_EQ(guest.call("fd_allocate", fd, 0, std::uint64_t{1} << 40), Errno::NoSpc);
  EXPECT_EQ(guest.call("fd_filestat_set_times", fd, 11, 22, kFstflagsAtim | kFstflagsMtim), Errno::Success);
  EXPECT_EQ(guest.fd_stat(fd).accessed, 11u);
  EXPECT_EQ(guest.fd_stat(fd).modified, 22u);
  EXPECT_EQ(guest.call("fd_filestat_set_times", fd, 0, 0, kFstflagsMtimNow), Errno::Success);
  EXPECT_EQ(guest.fd_stat(fd).accessed, 11u);
  EXPECT_EQ(guest.fd_stat(fd).modified, static_cast<Timestamp>(guest.clock.realtime().count()));
  for (const std::uint32_t bad : {kFstflagsAtim | kFstflagsAtimNow, kFstflagsMtim | kFstflagsMtimNow, 16u}) EXPECT_EQ(guest.call("fd_filestat_set_times", fd, 0, 0, bad), Errno::Inval);
  EXPECT_EQ(guest.call("fd_advise", fd, 0, 10, 5), Errno::Success);
  EXPECT_EQ(guest.call("fd_advise", fd, 0, 10, 6), Errno::Inval);
  EXPECT_EQ(guest.call("fd_advise", fd, ~std::uint64_t{0}, 10, 0), Errno::Inval);
  EXPECT_EQ(guest.call("fd_filestat_get", fd, end() - 63), Errno::Fault);
  EXPECT_EQ(guest.call("fd_fdstat_get", fd, end() - 23), Errno::Fault);
}

TEST_F(FdCalls, PreopensTellTheirNames) {
  const std::uint32_t prestat = guest.take(8), name = guest.take(8);
  EXPECT_EQ(guest.call("fd_prestat_get", 3, prestat), Errno::Success);
  EXPECT_EQ(guest.load<Prestat>(prestat).name_length, 1u);
  EXPECT_EQ(guest.call("fd_prestat_dir_name", 3, name, 1), Errno::Success);
  EXPECT_EQ(guest.text_at(name, 1), "/");
  EXPECT_EQ(guest.call("fd_prestat_dir_name", 3, name, 0), Errno::NameTooLong);
  EXPECT_EQ(guest.call("fd_prestat_dir_name", 3, end(), 1), Errno::Fault);
  EXPECT_EQ(guest.call("fd_prestat_get", 3, end() - 7), Errno::Fault);
  EXPECT_EQ(guest.call("fd_prestat_get", 2, prestat), Errno::BadF);
  EXPECT_EQ(guest.call("fd_prestat_get", guest.open_folder("."), prestat), Errno::BadF);
}

TEST_F(FdCalls, StandardStreamsAreCharacterDevices) {
  for (const Fd fd : {0u, 1u, 2u}) {
    EXPECT_EQ(guest.fdstat(fd).filetype, Filetype::CharacterDevice);
    EXPECT_EQ(guest.fd_stat(fd).filetype, Filetype::CharacterDevice);
    // What wasi-libc's isatty() looks at.
    EXPECT_NE(guest.fdstat(fd).rights_base & (rights::kFdSeek | rights::kFdTell), 0u);
  }
  TestGuest terminal({.terminal = true});
  EXPECT_EQ(terminal.fdstat(1).rights_base & (rights::kFdSeek | rights::kFdTell), 0u);
}

TEST_F(FdCalls, NumbersAreTheLowestFree) {
  const Fd a = file(), b = file(), c = file();
  EXPECT_EQ(a, 4u);
  EXPECT_EQ(b, 5u);
  EXPECT_EQ(guest.call("fd_close", a), Errno::Success);
  EXPECT_EQ(guest.call("fd_close", c), Errno::Success);
  EXPECT_EQ(file(), a);
  EXPECT_EQ(file(), c);
}

TEST(Descriptors, AreLimited) {
  TestGuest guest({.descriptors_max = 40});
  for (Fd fd = 4; fd < 40; ++fd) EXPECT_EQ(guest.must_open("net/kube"), fd);
  EXPECT_EQ(guest.open("net/kube").error, Errno::MFile);
  EXPECT_EQ(guest.network.dialled.size(), 36u);
  EXPECT_EQ(guest.open("new", kOflagsCreat).error, Errno::MFile);
  EXPECT_EQ(guest.stat("new").error, Errno::NoEnt);
  EXPECT_EQ(guest.process->counters().open_streams, 36u);
  EXPECT_EQ(guest.call("fd_close", 20), Errno::Success);
  EXPECT_EQ(guest.must_open("net/kube"), 20u);
}

TEST(Descriptors, AreCharged) {
  TestGuest guest({.limit_bytes = 64 * 1024, .descriptors_max = 65'536});
  Errno error = Errno::Success;
  int opened = 0;
  for (; error == Errno::Success && opened < 10'000; ++opened) {
    guest.forget();
    error = guest.open(".", kOflagsDirectory, 0).error;
  }
  EXPECT_EQ(error, Errno::NoMem);
  EXPECT_LT(opened, 1000);
}

}  // namespace
}  // namespace dormouse::wasi
