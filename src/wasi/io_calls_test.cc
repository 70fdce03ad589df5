// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <set>

#include "wasi/test_guest.h"

namespace dormouse::wasi {
namespace {

using test::bytes_of;
using test::TestGuest;

struct IoCalls : testing::Test {
  std::uint32_t end() const { return static_cast<std::uint32_t>(guest.memory_bytes.size()); }
  std::uint32_t vectors(std::initializer_list<Iovec> list) {
    const std::uint32_t address = guest.take(list.size() * sizeof(Iovec));
    std::uint32_t i = 0;
    for (const Iovec& vector : list) EXPECT_TRUE(guest.memory().store(address + 8 * i++, vector));
    return address;
  }
  std::uint32_t size() { return guest.load<std::uint32_t>(size_at); }
  TestGuest guest;
  std::uint32_t size_at = guest.take(4);
};

TEST_F(IoCalls, GatherAndScatter) {
  const Fd fd = guest.must_open("file", kOflagsCreat);
  EXPECT_EQ(guest.call("fd_write", fd, vectors({{guest.put("ab"), 2}, {0, 0}, {guest.put("cde"), 3}}), 3, size_at), Errno::Success);
  EXPECT_EQ(size(), 5u);
  const std::uint32_t one = guest.take(2), two = guest.take(9);
  EXPECT_EQ(guest.call("fd_pread", fd, vectors({{one, 2}, {two, 9}}), 2, 1, size_at), Errno::Success);
  EXPECT_EQ(size(), 4u);
  EXPECT_EQ(guest.text_at(one, 2), "bc");
  EXPECT_EQ(guest.text_at(two, 2), "de");
  EXPECT_EQ(guest.call("fd_pwrite", fd, vectors({{guest.put("X"), 1}}), 1, 0, size_at), Errno::Success);
  EXPECT_EQ(guest.read(fd, 1).text, "");
  EXPECT_EQ(guest.call("fd_seek", fd, 0, 0, guest.take(8)), Errno::Success);
  EXPECT_EQ(guest.read(fd, 99).text, "Xbcde");
  EXPECT_EQ(guest.call("fd_read", fd, 0, 0, size_at), Errno::Success);
  EXPECT_EQ(size(), 0u);
}

TEST_F(IoCalls, NothingMovesWhenAnyPointerIsBad) {
  guest.put_file("file", "content");
  const Fd fd = guest.must_open("file");
  const std::uint32_t buffer = guest.take(8);
  for (const char* name : {"fd_read", "fd_write"}) {
    EXPECT_EQ(guest.call(name, fd, vectors({{buffer, 2}, {end() - 1, 2}}), 2, size_at), Errno::Fault);
    EXPECT_EQ(guest.call(name, fd, vectors({{buffer, ~0u}}), 1, size_at), Errno::Fault);
    EXPECT_EQ(guest.call(name, fd, end() - 7, 1, size_at), Errno::Fault);
    EXPECT_EQ(guest.call(name, fd, 0xffff'fff0u, 4, size_at), Errno::Fault);
    EXPECT_EQ(guest.call(name, fd, vectors({{buffer, 2}}), 1, end() - 3), Errno::Fault);
  }
  EXPECT_EQ(guest.call("fd_pread", fd, vectors({{buffer, 2}}), 1, 0, end() - 3), Errno::Fault);
  EXPECT_EQ(guest.call("fd_pwrite", fd, vectors({{end(), 1}}), 1, 0, size_at), Errno::Fault);
  EXPECT_EQ(guest.read(fd, 99).text, "content");
}

TEST_F(IoCalls, PositionedAccessNeedsTheRightToSeek) {
  guest.put_file("file", "content");
  const Fd fd = guest.must_open("file", 0, rights::kFdRead | rights::kFdWrite);
  const std::uint32_t vector = vectors({{guest.take(4), 4}});
  EXPECT_EQ(guest.call("fd_pread", fd, vector, 1, 0, size_at), Errno::NotCapable);
  EXPECT_EQ(guest.call("fd_pwrite", fd, vector, 1, 0, size_at), Errno::NotCapable);
  const Fd whole = guest.must_open("file");
  EXPECT_EQ(guest.call("fd_pread", whole, vector, 1, std::uint64_t{1} << 63, size_at), Errno::Inval);
  EXPECT_EQ(guest.call("fd_pwrite", whole, vector, 1, std::uint64_t{1} << 63, size_at), Errno::Inval);
  EXPECT_EQ(guest.call("fd_pwrite", whole, vector, 1, std::uint64_t{1} << 62, size_at), Errno::FBig);
  EXPECT_EQ(guest.call("fd_pread", 0, vector, 1, 0, size_at), Errno::SPipe);
  EXPECT_EQ(guest.call("fd_pwrite", 1, vector, 1, 0, size_at), Errno::SPipe);
  for (const char* name : {"fd_pread", "fd_pwrite"}) EXPECT_EQ(guest.call(name, TestGuest::kRoot, vector, 1, 0, size_at), Errno::IsDir);
}

TEST_F(IoCalls, StandardStreamsCarryTheirText) {
  TestGuest with_input({.stdin_bytes = "line\n"});
  EXPECT_EQ(with_input.read(0, 3).text, "lin");
  EXPECT_EQ(with_input.read(0, 30).text, "e\n");
  EXPECT_EQ(with_input.read(0, 30).error, Errno::Success);
  EXPECT_EQ(guest.read(0, 1).text, "");
  EXPECT_EQ(guest.write(1, "to stdout").bytes, 9u);
  EXPECT_EQ(guest.write(2, "to stderr").bytes, 9u);
  EXPECT_EQ(guest.out.text, "to stdout");
  EXPECT_EQ(guest.err.text, "to stderr");
  EXPECT_EQ(guest.read(1, 1).error, Errno::NotCapable);
  EXPECT_EQ(guest.write(0, "x").error, Errno::NotCapable);
}

TEST_F(IoCalls, FoldersAreNeitherReadNorWritten) {
  EXPECT_EQ(guest.read(TestGuest::kRoot, 1).error, Errno::IsDir);
  EXPECT_EQ(guest.write(TestGuest::kRoot, "x").error, Errno::IsDir);
}

TEST_F(IoCalls, StreamsNeverBlock) {
  const Fd fd = guest.must_open("net/kube");
  EXPECT_EQ(guest.fdstat(fd).filetype, Filetype::SocketStream);
  EXPECT_EQ(guest.fd_stat(fd).filetype, Filetype::SocketStream);
  const auto channel = guest.network.channels[0];
  EXPECT_EQ(guest.read(fd, 10).error, Errno::Again);
  EXPECT_EQ(channel->host_write(bytes_of("answer")), 6u);
  EXPECT_EQ(guest.read(fd, 3).text, "ans");
  EXPECT_EQ(guest.read(fd, 30).text, "wer");
  channel->host_end();
  EXPECT_EQ(guest.read(fd, 30).error, Errno::Success);
  EXPECT_EQ(guest.write(fd, "request").bytes, 7u);
  EXPECT_EQ(guest.call("fd_close", fd), Errno::Success);
  EXPECT_TRUE(channel->guest_gone());
  EXPECT_EQ(guest.process->counters().open_streams, 0u);
}

TEST_F(IoCalls, AnEmptyWriteTellsWhetherTheStreamWorks) {
  const Fd fd = guest.must_open("net/kube");
  EXPECT_EQ(guest.write(fd, "").error, Errno::Success);
  guest.network.channels[0]->host_fail(Errno::HostUnreach);
  EXPECT_EQ(guest.write(fd, "").error, Errno::HostUnreach);
}

TEST_F(IoCalls, SocketCallsReceiveSendPeekAndShutDown) {
  const Fd fd = guest.must_open("net/kube");
  const auto channel = guest.network.channels[0];
  EXPECT_EQ(channel->host_write(bytes_of("answer")), 6u);
  const std::uint32_t one = guest.take(4), two = guest.take(4), flags = guest.put_value<std::uint16_t>(0xeeee);
  const std::uint32_t list = vectors({{one, 4}, {two, 4}});
  EXPECT_EQ(guest.call("sock_recv", fd, list, 2, kRiflagsRecvPeek, size_at, flags), Errno::Success);
  EXPECT_EQ(size(), 4u);
  EXPECT_EQ(guest.load<std::uint16_t>(flags), 0u);
  EXPECT_EQ(guest.call("sock_recv", fd, list, 2, kRiflagsRecvWaitall, size_at, flags), Errno::Success);
  EXPECT_EQ(size(), 6u);
  EXPECT_EQ(guest.text_at(one, 4) + guest.text_at(two, 2), "answer");
  EXPECT_EQ(guest.call("sock_recv", fd, list, 2, 0, size_at, flags), Errno::Again);
  EXPECT_EQ(guest.call("sock_recv", fd, list, 2, 4, size_at, flags), Errno::Inval);
  EXPECT_EQ(guest.call("sock_recv", fd, list, 2, 0, size_at, end() - 1), Errno::Fault);
  EXPECT_EQ(guest.call("sock_send", fd, vectors({{guest.put("ask"), 3}}), 1, 0, size_at), Errno::Success);
  EXPECT_EQ(guest.call("sock_send", fd, list, 1, 1, size_at), Errno::Inval);
  EXPECT_EQ(guest.call("sock_shutdown", fd, 0), Errno::Inval);
  EXPECT_EQ(guest.call("sock_shutdown", fd, 4), Errno::Inval);
  EXPECT_EQ(guest.call("sock_shutdown", fd, kSdflagsWr), Errno::Success);
  EXPECT_EQ(guest.write(fd, "x").error, Errno::Pipe);
  EXPECT_EQ(guest.call("sock_shutdown", fd, kSdflagsRd), Errno::Success);
  EXPECT_EQ(guest.read(fd, 1).error, Errno::Success);
  EXPECT_EQ(guest.call("sock_accept", fd, 0, size_at), Errno::Inval);
}

TEST_F(IoCalls, WhatIsNoSocketIsNotsock) {
  guest.put_file("file", "");
  for (const Fd fd : {guest.must_open("file"), Fd{1}, TestGuest::kRoot}) {
    EXPECT_EQ(guest.call("sock_recv", fd, 0, 0, 0, size_at, size_at), Errno::NotSock);
    EXPECT_EQ(guest.call("sock_send", fd, 0, 0, 0, size_at), Errno::NotSock);
    EXPECT_EQ(guest.call("sock_shutdown", fd, 1), Errno::NotSock);
    EXPECT_EQ(guest.call("sock_accept", fd, 0, size_at), Errno::NotSock);
  }
  EXPECT_EQ(guest.call("sock_recv", 99, 0, 0, 0, size_at, size_at), Errno::BadF);
  EXPECT_EQ(guest.call("sock_send", 99, 0, 0, 0, size_at), Errno::BadF);
  EXPECT_EQ(guest.call("sock_shutdown", 99, 1), Errno::BadF);
  EXPECT_EQ(guest.call("sock_accept", 99, 0, size_at), Errno::BadF);
}

TEST_F(IoCalls, AListenerAcceptsConnections) {
  const Fd listener = guest.must_open("net/listen/8080");
  EXPECT_EQ(guest.open("net/listen/8080").error, Errno::AddrInUse);
  EXPECT_EQ(guest.call("sock_accept", listener, 0, size_at), Errno::Again);
  const auto client = guest.network.connect(8080);
  EXPECT_EQ(guest.call("sock_accept", listener, 0, end() - 3), Errno::Fault);
  EXPECT_EQ(guest.call("sock_accept", listener, 32, size_at), Errno::Inval);
  EXPECT_EQ(guest.call("sock_accept", listener, kFdflagsNonblock, size_at), Errno::Success);
  const Fd accepted = size();
  EXPECT_EQ(guest.fdstat(accepted).flags, kFdflagsNonblock);
  EXPECT_EQ(client->host_write(bytes_of("GET /")), 5u);
  EXPECT_EQ(guest.read(accepted, 10).text, "GET /");
  EXPECT_EQ(guest.read(listener, 1).error, Errno::NotConn);
  EXPECT_EQ(guest.write(listener, "x").error, Errno::NotConn);
  EXPECT_EQ(guest.call("sock_shutdown", listener, 3), Errno::NotConn);
  EXPECT_EQ(guest.call("fd_close", listener), Errno::Success);
  EXPECT_TRUE(guest.network.ports.empty());
  EXPECT_EQ(guest.call("fd_close", accepted), Errno::Success);
}

TEST(Accept, AConnectionIsNotLostForWantOfANumber) {
  TestGuest guest({.descriptors_max = 6});
  const Fd listener = guest.must_open("net/listen/80");
  const Fd other = guest.open_folder(".");
  const auto client = guest.network.connect(80);
  const std::uint32_t at = guest.take(4);
  EXPECT_EQ(guest.call("sock_accept", listener, 0, at), Errno::MFile);
  EXPECT_EQ(guest.call("fd_close", other), Errno::Success);
  EXPECT_EQ(guest.call("sock_accept", listener, 0, at), Errno::Success);
}

TEST_F(IoCalls, SignalsAreBytesOfAStream) {
  EXPECT_FALSE(guest.process->deliver_signal(15));
  const Fd fd = guest.must_open("run/signals", 0, rights::kFdRead);
  const Fd second = guest.must_open("run/signals", 0, rights::kFdRead);
  EXPECT_EQ(guest.read(fd, 1).error, Errno::Again);
  EXPECT_TRUE(guest.process->deliver_signal(15));
  EXPECT_TRUE(guest.process->deliver_signal(2));
  EXPECT_EQ(guest.read(fd, 1).text, "\x0f");
  EXPECT_EQ(guest.read(fd, 9).text, "\x02");
  EXPECT_EQ(guest.read(second, 9).text, "\x0f\x02");
  EXPECT_EQ(guest.fdstat(fd).filetype, Filetype::SocketStream);
  EXPECT_EQ(guest.write(fd, "x").error, Errno::NotCapable);
  EXPECT_EQ(guest.call("fd_close", fd), Errno::Success);
  EXPECT_EQ(guest.call("fd_close", second), Errno::Success);
  EXPECT_FALSE(guest.process->deliver_signal(15));
}

TEST_F(IoCalls, SignalsThatNobodyReadsAreBounded) {
  const Fd fd = guest.must_open("run/signals", 0, rights::kFdRead);
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(guest.process->deliver_signal(1));
  EXPECT_EQ(guest.read(fd, 1000).text.size(), SignalQueue::kSignalsMax);
}

struct Listed {
  std::vector<std::string> names;
  std::vector<Dirent> entries;
};
Listed list(TestGuest& guest, Fd fd, std::uint32_t length, std::uint64_t cookie = 0) {
  Listed listed;
  for (;;) {
    guest.forget();
    const std::uint32_t buffer = guest.take(length), used_at = guest.take(4);
    EXPECT_EQ(guest.call("fd_readdir", fd, buffer, length, cookie, used_at), Errno::Success);
    const std::uint32_t used = guest.load<std::uint32_t>(used_at);
    std::uint32_t at = 0;
    while (used - at >= sizeof(Dirent)) {
      const Dirent entry = guest.load<Dirent>(buffer + at);
      if (used - at - sizeof(Dirent) < entry.name_length) break;
      listed.names.push_back(guest.text_at(buffer + at + sizeof(Dirent), entry.name_length));
      listed.entries.push_back(entry);
      cookie = entry.next;
      at += sizeof(Dirent) + entry.name_length;
    }
    if (used < length) return listed;
    if (at == 0) {
      ADD_FAILURE() << "no progress";
      return listed;
    }
  }
}

TEST_F(IoCalls, ReaddirGivesEachNameOnceWhateverTheBuffer) {
  ASSERT_EQ(guest.make_folder("folder"), Errno::Success);
  for (int i = 0; i < 50; ++i) {
    guest.forget();
    guest.put_file("folder/entry" + std::to_string(i), "");
  }
  guest.forget();
  const Fd fd = guest.open_folder("folder");
  const std::uint64_t folder = guest.stat("folder").stat.inode, root = guest.stat(".").stat.inode;
  for (const std::uint32_t length : {31u, 32u, 33u, 100u, 256u, 4000u, 65'536u}) {
    const Listed listed = list(guest, fd, length);
    EXPECT_EQ(listed.names.size(), 52u) << length;
    EXPECT_EQ(std::set(listed.names.begin(), listed.names.end()).size(), 52u);
    EXPECT_EQ(listed.names[0], ".");
    EXPECT_EQ(listed.entries[0].inode, folder);
    EXPECT_EQ(listed.names[1], "..");
    EXPECT_EQ(listed.entries[1].inode, root);
    EXPECT_EQ(listed.entries[2].filetype, Filetype::RegularFile);
    EXPECT_EQ(list(guest, fd, length, listed.entries[50].next).names, std::vector{listed.names[51]});
  }
  guest.forget();
  const std::uint32_t used = guest.take(4);
  EXPECT_EQ(guest.call("fd_readdir", fd, 0, 0, 0, used), Errno::Success);
  EXPECT_EQ(guest.load<std::uint32_t>(used), 0u);
  EXPECT_EQ(guest.call("fd_readdir", fd, 64, 10, 0, used), Errno::Success);
  EXPECT_EQ(guest.load<std::uint32_t>(used), 10u);
  EXPECT_EQ(guest.call("fd_readdir", fd, 64, 100, ~std::uint64_t{0}, used), Errno::Success);
  EXPECT_EQ(guest.load<std::uint32_t>(used), 0u);
  EXPECT_EQ(guest.call("fd_readdir", fd, end() - 10, 11, 0, used), Errno::Fault);
  EXPECT_EQ(guest.call("fd_readdir", fd, 64, 10, 0, end() - 3), Errno::Fault);
  EXPECT_EQ(guest.call("fd_readdir", 1, 64, 10, 0, used), Errno::NotDir);
}

TEST_F(IoCalls, StreamsAndPollsAllocateNothingInTheSteadyState) {
  // What the account sees; the rest is for the reader of the code.
  const Fd fd = guest.must_open("net/kube");
  const auto channel = guest.network.channels[0];
  std::byte buffer[64];
  const auto round = [&] {
    guest.forget();
    EXPECT_EQ(guest.write(fd, "request").bytes, 7u);
    EXPECT_EQ(channel->host_read(buffer), 7u);
    EXPECT_TRUE(guest.poll({TestGuest::on_fd(Eventtype::FdRead, fd)}).parked);
    EXPECT_EQ(channel->host_write(bytes_of("answer")), 6u);
    EXPECT_FALSE(guest.resume().parked);
    EXPECT_EQ(guest.read(fd, 6).text, "answer");
  };
  round();
  const std::uint64_t used = guest.account.used_bytes();
  for (int i = 0; i < 10; ++i) round();
  EXPECT_EQ(guest.account.used_bytes(), used);
}

}  // namespace
}  // namespace dormouse::wasi
