// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <set>

#include "wasi/test_guest.h"

namespace dormouse::wasi {
namespace {

using test::TestGuest;

std::uint32_t end_of(const TestGuest& guest) { return static_cast<std::uint32_t>(guest.memory_bytes.size()); }

TEST(Imports, Are46OfPreview1AndOnlyPollParks) {
  ASSERT_EQ(Process::imports().size(), 1u);
  EXPECT_EQ(Process::imports()[0].name, "wasi_snapshot_preview1");
  std::set<std::string_view> names;
  for (const wasm::Import& import : Process::imports()[0].imports) {
    names.insert(import.name);
    EXPECT_EQ(import.parks, import.name == "poll_oneoff");
    EXPECT_EQ(import.results, import.name == "proc_exit" ? "" : "i");
  }
  EXPECT_EQ(names.size(), 46u);
  EXPECT_EQ(test::find_import("fd_seek").parameters, "iIii");
  EXPECT_EQ(test::find_import("path_open").parameters, "iiiiiIIii");
  EXPECT_EQ(test::find_import("path_filestat_set_times").parameters, "iiiiIIi");
  EXPECT_EQ(test::find_import("fd_pread").parameters, "iiiIi");
  EXPECT_EQ(test::find_import("sched_yield").parameters, "");
}

TEST(Arguments, AndEnvironmentArriveWhole) {
  TestGuest guest({.arguments = {"program", "", "the \"second\""}, .environment = {"A=b", "EMPTY="}});
  const std::uint32_t count = guest.take(4), size = guest.take(4), pointers = guest.take(12), bytes = guest.take(64);
  EXPECT_EQ(guest.call("args_sizes_get", count, size), Errno::Success);
  EXPECT_EQ(guest.load<std::uint32_t>(count), 3u);
  EXPECT_EQ(guest.load<std::uint32_t>(size), 22u);
  EXPECT_EQ(guest.call("args_get", pointers, bytes), Errno::Success);
  EXPECT_EQ(guest.load<std::uint32_t>(pointers), bytes);
  EXPECT_EQ(guest.load<std::uint32_t>(pointers + 8), bytes + 9);
  EXPECT_EQ(guest.text_at(bytes, 22), std::string("program\0\0the \"second\"\0", 22));
  EXPECT_EQ(guest.call("environ_sizes_get", count, size), Errno::Success);
  EXPECT_EQ(guest.load<std::uint32_t>(count), 2u);
  EXPECT_EQ(guest.call("environ_get", pointers, bytes), Errno::Success);
  EXPECT_EQ(guest.text_at(bytes, 11), std::string("A=b\0EMPTY=\0", 11));
  for (const char* name : {"args_get", "environ_get"}) {
    EXPECT_EQ(guest.call(name, end_of(guest) - 4, bytes), Errno::Fault);
    EXPECT_EQ(guest.call(name, pointers, end_of(guest) - 4), Errno::Fault);
  }
  for (const char* name : {"args_sizes_get", "environ_sizes_get"}) {
    EXPECT_EQ(guest.call(name, end_of(guest) - 3, size), Errno::Fault);
    EXPECT_EQ(guest.call(name, count, end_of(guest) - 3), Errno::Fault);
  }
}

TEST(Clocks, TellTheHostsTimeAndNoOther) {
  TestGuest guest;
  const std::uint32_t at = guest.take(8);
  EXPECT_EQ(guest.call("clock_time_get", 0, 0, at), Errno::Success);
  EXPECT_EQ(guest.load<Timestamp>(at), static_cast<Timestamp>(guest.clock.realtime().count()));
  EXPECT_EQ(guest.call("clock_time_get", 1, ~std::uint64_t{0}, at), Errno::Success);
  EXPECT_EQ(guest.load<Timestamp>(at), static_cast<Timestamp>(guest.clock.monotonic().count()));
  for (const std::uint32_t id : {2u, 3u, 4u, ~0u}) {
    EXPECT_EQ(guest.call("clock_time_get", id, 0, at), Errno::Inval);
    EXPECT_EQ(guest.call("clock_res_get", id, at), Errno::Inval);
  }
  EXPECT_EQ(guest.call("clock_res_get", 0, at), Errno::Success);
  EXPECT_GT(guest.load<Timestamp>(at), 0u);
  EXPECT_EQ(guest.call("clock_time_get", 1, 0, end_of(guest) - 7), Errno::Fault);
  EXPECT_EQ(guest.call("clock_res_get", 1, end_of(guest) - 7), Errno::Fault);
}

TEST(Random, FillsExactlyWhatWasAskedFor) {
  TestGuest guest;
  const std::uint32_t at = guest.take(64);
  EXPECT_EQ(guest.call("random_get", at, 32), Errno::Success);
  EXPECT_NE(guest.text_at(at, 32), std::string(32, '\0'));
  EXPECT_EQ(guest.text_at(at + 32, 32), std::string(32, '\0'));
  EXPECT_EQ(guest.call("random_get", at, 0), Errno::Success);
  EXPECT_EQ(guest.call("random_get", end_of(guest), 1), Errno::Fault);
  TestGuest seeded({.random = [](std::span<std::byte> bytes) { std::fill(bytes.begin(), bytes.end(), std::byte{'r'}); }});
  EXPECT_EQ(seeded.call("random_get", at, 4), Errno::Success);
  EXPECT_EQ(seeded.text_at(at, 5), std::string("rrrr\0", 5));
}

TEST(Process, ExitsWithItsCode) {
  TestGuest guest;
  const auto result = guest.call_raw("proc_exit", {33});
  EXPECT_EQ(result.verdict, wasm::Verdict::Exit);
  EXPECT_EQ(static_cast<std::uint32_t>(result.value), 33u);
  EXPECT_EQ(guest.call("sched_yield"), Errno::Success);
}

TEST(Process, RaisesSignalsAsAProcessWould) {
  TestGuest guest;
  EXPECT_EQ(guest.call("proc_raise", 0), Errno::Success);
  EXPECT_EQ(guest.call("proc_raise", 13), Errno::Success);  // SIGPIPE
  EXPECT_EQ(guest.call("proc_raise", 18), Errno::NotSup);   // SIGSTOP
  EXPECT_EQ(guest.call("proc_raise", 31), Errno::Inval);
  EXPECT_EQ(guest.call("proc_raise", ~0u), Errno::Inval);
  const auto aborted = guest.call_raw("proc_raise", {6});
  EXPECT_EQ(aborted.verdict, wasm::Verdict::Exit);
  EXPECT_EQ(static_cast<std::uint32_t>(aborted.value), 134u);
  const Fd fd = guest.must_open("run/signals", 0, rights::kFdRead);
  EXPECT_EQ(guest.call("proc_raise", 15), Errno::Success);
  EXPECT_EQ(guest.read(fd, 9).text, "\x0f");
  EXPECT_EQ(guest.call_raw("proc_raise", {9}).verdict, wasm::Verdict::Exit);
}

TEST(Process, CountsWhatItsGuestDoes) {
  TestGuest guest;
  guest.put_file("file", "12345");
  EXPECT_EQ(guest.read(guest.must_open("file"), 3).text, "123");
  const Process::Counters counters = guest.process->counters();
  EXPECT_EQ(counters.opens, 2u);
  EXPECT_EQ(counters.writes, 1u);
  EXPECT_EQ(counters.written_bytes, 5u);
  EXPECT_EQ(counters.reads, 1u);
  EXPECT_EQ(counters.read_bytes, 3u);
  EXPECT_EQ(counters.open_descriptors, 5u);
}

TEST(Process, AnAccountWithoutRoomIsTheGuestsTroubleNotTheHosts) {
  TestGuest guest({.limit_bytes = 300});
  EXPECT_EQ(guest.write(1, "x").error, Errno::BadF);
  EXPECT_EQ(guest.open("file", kOflagsCreat).error, Errno::BadF);
}

}  // namespace
}  // namespace dormouse::wasi
