// SPDX-License-Identifier: Apache-2.0
// poll_oneoff, the only call that parks.

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "wasi/test_guest.h"

namespace dormouse::wasi {
namespace {

using namespace std::chrono_literals;
using test::bytes_of;
using test::TestGuest;

constexpr Timestamp kMillisecond = 1'000'000;

struct Poll : testing::Test {
  Fd dial() {
    const Fd fd = guest.must_open("net/kube");
    channel = guest.network.channels.back();
    return fd;
  }
  TestGuest guest;
  std::shared_ptr<Channel> channel;
};

TEST_F(Poll, ATimeOutOfZeroNeverParks) {
  for (const ClockId id : {ClockId::Monotonic, ClockId::Realtime}) {
    const auto polled = guest.poll({TestGuest::on_clock(id, 0, false, 77)});
    ASSERT_FALSE(polled.parked);
    ASSERT_EQ(polled.events.size(), 1u);
    EXPECT_EQ(polled.events[0].userdata, 77u);
    EXPECT_EQ(polled.events[0].type, Eventtype::Clock);
    EXPECT_EQ(polled.events[0].error, Errno::Success);
    // Nor does a moment that is past.
    EXPECT_FALSE(guest.poll({TestGuest::on_clock(id, 1, true)}).parked);
  }
  EXPECT_EQ(guest.process->counters().parks, 0u);
  EXPECT_EQ(guest.process->counters().polls, 4u);
}

TEST_F(Poll, TheDeadlineIsExactAndCountsFromTheFirstCall) {
  const Nanoseconds start = guest.clock.monotonic();
  ASSERT_TRUE(guest.poll({TestGuest::on_clock(ClockId::Monotonic, 20 * kMillisecond), TestGuest::on_clock(ClockId::Realtime, 10 * kMillisecond)}).parked);
  EXPECT_EQ(guest.process->deadline(), start + 10ms);
  EXPECT_FALSE(guest.process->ready());
  guest.clock.advance(10ms - 1ns);
  EXPECT_TRUE(guest.resume().parked);
  EXPECT_EQ(guest.process->deadline(), start + 10ms);
  guest.clock.advance(1ns);
  EXPECT_TRUE(guest.process->ready());
  const auto polled = guest.resume();
  ASSERT_EQ(polled.events.size(), 1u);
  EXPECT_EQ(guest.process->deadline(), std::nullopt);
  EXPECT_FALSE(guest.process->ready());
  EXPECT_EQ(guest.process->counters().parks, 1u);
}

TEST_F(Poll, AbsoluteTimesAreOfTheirClock) {
  const Nanoseconds now = guest.clock.monotonic(), real = guest.clock.realtime();
  ASSERT_TRUE(guest.poll({TestGuest::on_clock(ClockId::Monotonic, static_cast<Timestamp>((now + 5ms).count()), true)}).parked);
  EXPECT_EQ(guest.process->deadline(), now + 5ms);
  guest.clock.advance(5ms);
  EXPECT_EQ(guest.resume().events.size(), 1u);
  ASSERT_TRUE(guest.poll({TestGuest::on_clock(ClockId::Realtime, static_cast<Timestamp>((real + 9ms).count()), true)}).parked);
  EXPECT_EQ(guest.process->deadline(), now + 9ms);
  guest.clock.advance(4ms);
  EXPECT_EQ(guest.resume().events.size(), 1u);
}

TEST_F(Poll, TheEndOfTimeIsNotThePast) {
  for (const bool absolute : {false, true}) {
    for (const ClockId id : {ClockId::Monotonic, ClockId::Realtime}) {
      for (const Timestamp timeout : {~Timestamp{0}, ~Timestamp{0} - 1, Timestamp{1} << 63, (Timestamp{1} << 63) - 1}) {
        ASSERT_TRUE(guest.poll({TestGuest::on_clock(id, timeout, absolute)}).parked);
        EXPECT_FALSE(guest.process->ready());
        guest.process->state().park.active = false;
      }
    }
  }
}

TEST_F(Poll, ClocksThatAreNoneAreTheEventsError) {
  const auto polled = guest.poll({TestGuest::on_clock(ClockId::ProcessCpuTime, 1), TestGuest::on_clock(static_cast<ClockId>(99), 1), TestGuest::on_clock(ClockId::Monotonic, 1'000'000)});
  ASSERT_EQ(polled.events.size(), 2u);
  EXPECT_EQ(polled.events[0].error, Errno::Inval);
  EXPECT_EQ(polled.events[1].error, Errno::Inval);
}

TEST_F(Poll, FilesAndStandardStreamsAreReadyAtOnce) {
  guest.put_file("file", "0123456789");
  const Fd fd = guest.must_open("file", 0, TestGuest::kReadWrite | rights::kPollFdReadwrite);
  ASSERT_EQ(guest.read(fd, 4).text, "0123");
  const auto polled = guest.poll({TestGuest::on_fd(Eventtype::FdRead, fd, 1), TestGuest::on_fd(Eventtype::FdWrite, fd, 2), TestGuest::on_fd(Eventtype::FdRead, 0, 3),
                                  TestGuest::on_fd(Eventtype::FdWrite, 1, 4), TestGuest::on_fd(Eventtype::FdWrite, 2, 5), TestGuest::on_clock(ClockId::Monotonic, 1000)});
  ASSERT_EQ(polled.events.size(), 5u);
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(polled.events[i].userdata, i + 1);
    EXPECT_EQ(polled.events[i].error, Errno::Success);
  }
  EXPECT_EQ(polled.events[0].bytes, 6u);
  EXPECT_EQ(polled.events[2].bytes, 0u);
}

TEST_F(Poll, BadNumbersAndFoldersAreTheEventsBadf) {
  const auto polled = guest.poll({TestGuest::on_fd(Eventtype::FdRead, 99), TestGuest::on_fd(Eventtype::FdWrite, ~Fd{0}), TestGuest::on_fd(Eventtype::FdRead, TestGuest::kRoot),
                                  TestGuest::on_clock(ClockId::Monotonic, 1000)});
  ASSERT_EQ(polled.events.size(), 3u);
  for (const Event& event : polled.events) EXPECT_EQ(event.error, Errno::BadF);
}

TEST_F(Poll, AFileNeedsTheRightToBePolled) {
  const Fd fd = guest.must_open("file", kOflagsCreat, rights::kFdRead | rights::kPollFdReadwrite);
  const auto polled = guest.poll({TestGuest::on_fd(Eventtype::FdRead, fd), TestGuest::on_fd(Eventtype::FdWrite, fd)});
  ASSERT_EQ(polled.events.size(), 2u);
  EXPECT_EQ(polled.events[0].error, Errno::Success);
  EXPECT_EQ(polled.events[1].error, Errno::NotCapable);
}

TEST_F(Poll, AStreamWakesTheParkedGuestWhenBytesCome) {
  const Fd fd = dial();
  ASSERT_TRUE(guest.poll({TestGuest::on_fd(Eventtype::FdRead, fd, 5)}).parked);
  EXPECT_EQ(guest.process->deadline(), std::nullopt);
  EXPECT_EQ(guest.wakes, 0);
  EXPECT_EQ(channel->host_write(bytes_of("hello")), 5u);
  EXPECT_EQ(guest.wakes, 1);
  EXPECT_EQ(channel->host_write(bytes_of("more")), 4u);
  EXPECT_EQ(guest.wakes, 1);  // It is awake.
  EXPECT_TRUE(guest.process->ready());
  const auto polled = guest.resume();
  ASSERT_EQ(polled.events.size(), 1u);
  EXPECT_EQ(polled.events[0].userdata, 5u);
  EXPECT_EQ(polled.events[0].bytes, 9u);
  // FD_READ is level-triggered.
  EXPECT_FALSE(guest.poll({TestGuest::on_fd(Eventtype::FdRead, fd)}).parked);
  EXPECT_EQ(guest.read(fd, 9).text, "hellomore");
  EXPECT_TRUE(guest.poll({TestGuest::on_fd(Eventtype::FdRead, fd)}).parked);
}

// The owner looks with ready() and lets the guest sleep on.
TEST_F(Poll, AWakeUpForNothingDoesNotSwallowTheNext) {
  guest.network.capacity_bytes = 4;
  const Fd fd = dial();
  EXPECT_EQ(guest.write(fd, "123456").bytes, 4u);
  ASSERT_TRUE(guest.poll({TestGuest::on_fd(Eventtype::FdRead, fd)}).parked);
  std::byte buffer[4];
  EXPECT_EQ(channel->host_read(buffer), 4u);
  EXPECT_EQ(guest.wakes, 1);
  EXPECT_FALSE(guest.process->ready());
  EXPECT_EQ(channel->host_write(bytes_of("x")), 1u);
  EXPECT_EQ(guest.wakes, 2);
  EXPECT_TRUE(guest.process->ready());
}

TEST_F(Poll, AGuestThatIsNotParkedIsNotWoken) {
  dial();
  EXPECT_EQ(channel->host_write(bytes_of("hello")), 5u);
  channel->host_end();
  EXPECT_EQ(guest.wakes, 0);
}

// mio subscribes to both in every poll: with a level-triggered FD_WRITE it would never sleep.
TEST_F(Poll, WriteReadinessIsToldOnceSoThatMioDoesNotSpin) {
  const Fd fd = dial();
  const std::vector<Subscription> both = {TestGuest::on_fd(Eventtype::FdRead, fd, 1), TestGuest::on_fd(Eventtype::FdWrite, fd, 2)};
  const auto first = guest.poll(both);
  ASSERT_EQ(first.events.size(), 1u);
  EXPECT_EQ(first.events[0].userdata, 2u);
  EXPECT_EQ(guest.write(fd, "request").bytes, 7u);
  EXPECT_TRUE(guest.poll(both).parked);
  EXPECT_EQ(guest.resume().parked, true);
}

TEST_F(Poll, WriteReadinessIsToldAgainAfterAShortWriteOnceThereIsRoom) {
  guest.network.capacity_bytes = 10;
  const Fd fd = dial();
  const std::vector<Subscription> writable = {TestGuest::on_fd(Eventtype::FdWrite, fd)};
  EXPECT_FALSE(guest.poll(writable).parked);
  EXPECT_EQ(guest.write(fd, "more than ten bytes").bytes, 10u);
  ASSERT_TRUE(guest.poll(writable).parked);
  std::byte buffer[4];
  EXPECT_EQ(channel->host_read(buffer), 4u);
  EXPECT_EQ(guest.wakes, 1);
  const auto polled = guest.resume();
  ASSERT_EQ(polled.events.size(), 1u);
  EXPECT_EQ(polled.events[0].bytes, 4u);
  // And so after Again.
  EXPECT_EQ(guest.write(fd, "1234").bytes, 4u);
  EXPECT_TRUE(guest.poll(writable).parked);
  guest.process->state().park.active = false;
  EXPECT_EQ(guest.write(fd, "x").error, Errno::Again);
  ASSERT_TRUE(guest.poll(writable).parked);
  EXPECT_EQ(channel->host_read(buffer), 4u);
  EXPECT_EQ(guest.resume().events.size(), 1u);
}

TEST_F(Poll, AConnectingStreamIsNeither) {
  guest.network.connect_at_once = false;
  const Fd fd = dial();
  ASSERT_TRUE(guest.poll({TestGuest::on_fd(Eventtype::FdRead, fd), TestGuest::on_fd(Eventtype::FdWrite, fd)}).parked);
  channel->host_connected();
  EXPECT_EQ(guest.wakes, 1);
  const auto polled = guest.resume();
  ASSERT_EQ(polled.events.size(), 1u);
  EXPECT_EQ(polled.events[0].type, Eventtype::FdWrite);
}

// tokio panics on an event with an error.
TEST_F(Poll, AFailedStreamIsReadyWithoutAnErrorSoThatTokioDoesNotPanic) {
  guest.network.connect_at_once = false;
  const Fd fd = dial();
  const std::vector<Subscription> both = {TestGuest::on_fd(Eventtype::FdRead, fd), TestGuest::on_fd(Eventtype::FdWrite, fd)};
  ASSERT_TRUE(guest.poll(both).parked);
  channel->host_fail(Errno::ConnRefused);
  EXPECT_EQ(guest.wakes, 1);
  const auto polled = guest.resume();
  ASSERT_EQ(polled.events.size(), 2u);
  for (const Event& event : polled.events) {
    EXPECT_EQ(event.error, Errno::Success);
    EXPECT_EQ(event.flags, kEventrwflagsHangup);
  }
  EXPECT_EQ(guest.write(fd, "x").error, Errno::ConnRefused);
  EXPECT_EQ(guest.read(fd, 1).error, Errno::ConnRefused);
  // As writability the failure is told once.
  EXPECT_TRUE(guest.poll({TestGuest::on_fd(Eventtype::FdWrite, fd)}).parked);
}

TEST_F(Poll, AFailureIsNewsToOneWhoWasToldThatItCanWrite) {
  const Fd fd = dial();
  const std::vector<Subscription> writable = {TestGuest::on_fd(Eventtype::FdWrite, fd)};
  EXPECT_FALSE(guest.poll(writable).parked);
  ASSERT_TRUE(guest.poll(writable).parked);
  channel->host_fail(Errno::ConnReset);
  EXPECT_TRUE(guest.process->ready());
  EXPECT_EQ(guest.resume().events.size(), 1u);
}

TEST_F(Poll, TheEndOfAStreamIsReadableWithHangup) {
  const Fd fd = dial();
  ASSERT_TRUE(guest.poll({TestGuest::on_fd(Eventtype::FdRead, fd)}).parked);
  channel->host_end();
  EXPECT_EQ(guest.wakes, 1);
  const auto polled = guest.resume();
  ASSERT_EQ(polled.events.size(), 1u);
  EXPECT_EQ(polled.events[0].flags, kEventrwflagsHangup);
  EXPECT_EQ(polled.events[0].bytes, 0u);
}

TEST_F(Poll, AListenerIsReadableWhenSomeoneWaits) {
  const Fd fd = guest.must_open("net/listen/8080");
  ASSERT_TRUE(guest.poll({TestGuest::on_fd(Eventtype::FdRead, fd), TestGuest::on_fd(Eventtype::FdWrite, fd)}).parked);
  const auto client = guest.network.connect(8080);
  EXPECT_EQ(guest.wakes, 1);
  EXPECT_EQ(guest.resume().events.size(), 1u);
}

TEST_F(Poll, ASignalWakesWhoeverReadsThem) {
  const Fd fd = guest.must_open("run/signals", 0, rights::kFdRead);
  ASSERT_TRUE(guest.poll({TestGuest::on_fd(Eventtype::FdRead, fd)}).parked);
  EXPECT_TRUE(guest.process->deliver_signal(15));
  EXPECT_EQ(guest.wakes, 1);
  EXPECT_EQ(guest.resume().events.size(), 1u);
  EXPECT_EQ(guest.read(fd, 10).text, "\x0f");
}

// A poll without subscriptions is Inval by the specification; tokio asks again at once.
TEST_F(Poll, PollsOfNothingInARowDoNotSpin) {
  EXPECT_EQ(guest.poll({}).error, Errno::Inval);
  Nanoseconds pause = 1ms;
  for (int i = 0; i < 40; ++i) {
    const Nanoseconds start = guest.clock.monotonic();
    ASSERT_TRUE(guest.poll({}).parked);
    ASSERT_EQ(guest.process->deadline(), start + pause);
    EXPECT_TRUE(guest.resume().parked);
    guest.clock.advance(pause);
    EXPECT_TRUE(guest.process->ready());
    const auto polled = guest.resume();
    EXPECT_FALSE(polled.parked);
    EXPECT_EQ(polled.error, Errno::Inval);
    pause = std::min<Nanoseconds>(pause * 2, 1h);
  }
  // An ordinary poll in between forgives.
  EXPECT_FALSE(guest.poll({TestGuest::on_clock(ClockId::Monotonic, 0)}).parked);
  EXPECT_FALSE(guest.poll({}).parked);
}

TEST_F(Poll, PointersOutsideAreFaultsAndTouchNothing) {
  const auto end = static_cast<std::uint32_t>(guest.memory_bytes.size());
  const std::uint32_t good = guest.take(100);
  EXPECT_EQ(guest.call("poll_oneoff", end - 47, good, 1, good), Errno::Fault);
  EXPECT_EQ(guest.call("poll_oneoff", good, end - 31, 1, good), Errno::Fault);
  EXPECT_EQ(guest.call("poll_oneoff", good, good, 1, end - 3), Errno::Fault);
  EXPECT_EQ(guest.call("poll_oneoff", good, good, 0x05555556u, good), Errno::Fault);  // 48 times that is 32 in 32 bits.
  EXPECT_EQ(guest.call("poll_oneoff", good, good, ~0u, good), Errno::Fault);
}

TEST_F(Poll, AnUnknownTagIsInvalAndUsesUpNoEdge) {
  const Fd fd = dial();
  std::vector<Subscription> subscriptions = {TestGuest::on_fd(Eventtype::FdWrite, fd), TestGuest::on_fd(static_cast<Eventtype>(3), fd)};
  EXPECT_EQ(guest.poll(subscriptions).error, Errno::Inval);
  subscriptions.pop_back();
  EXPECT_EQ(guest.poll(subscriptions).events.size(), 1u);
}

TEST_F(Poll, EventsMayLieOverTheSubscriptions) {
  const std::uint32_t at = guest.take(3 * sizeof(Subscription));
  for (std::uint32_t i = 0; i < 3; ++i) ASSERT_TRUE(guest.memory().store(at + i * static_cast<std::uint32_t>(sizeof(Subscription)), TestGuest::on_clock(ClockId::Monotonic, 0, false, 100 + i)));
  const std::uint32_t events = guest.take(4);
  EXPECT_EQ(guest.call("poll_oneoff", at, at, 3, events), Errno::Success);
  for (std::uint32_t i = 0; i < 3; ++i) EXPECT_EQ(guest.load<Event>(at + i * static_cast<std::uint32_t>(sizeof(Event))).userdata, 100 + i);
}

// An unmetered poll was a denial of service elsewhere: count, host memory and time are bounded.
TEST(PollLimits, SubscriptionsAreBoundedAndWhatTheyCostTheHostIsCharged) {
  TestGuest guest({.limit_bytes = 1 << 20, .memory_bytes = 16 << 20});
  const std::uint32_t out = 9 << 20;
  EXPECT_EQ(guest.call("poll_oneoff", 0, out, 2 * 65'536 + 1025, 16), Errno::Inval);
  const Fd fd = guest.must_open("net/kube");
  const std::uint64_t before = guest.account.used_bytes();
  std::vector<Subscription> many(20'000, TestGuest::on_fd(Eventtype::FdRead, fd));
  ASSERT_TRUE(guest.poll(many).parked);
  EXPECT_GE(guest.account.used_bytes(), before + 20'000 * 8);
  guest.process->state().park.active = false;
  const std::uint64_t rest = guest.account.limit_bytes() - guest.account.used_bytes();
  ASSERT_TRUE(guest.account.try_charge(rest));
  const std::vector<Subscription> more(60'000, TestGuest::on_fd(Eventtype::FdRead, fd));
  guest.forget();
  EXPECT_EQ(guest.poll(more).error, Errno::NoMem);
  guest.account.release(rest);
}

TEST_F(Poll, ManyTimersGiveTheEarliestDeadline) {
  std::vector<Subscription> many;
  for (Timestamp i = 0; i < 2000; ++i) many.push_back(TestGuest::on_clock(ClockId::Monotonic, (2000 - i) * kMillisecond, false, i));
  const Nanoseconds start = guest.clock.monotonic();
  ASSERT_TRUE(guest.poll(many).parked);
  EXPECT_EQ(guest.process->deadline(), start + 1ms);
  guest.clock.advance(3ms);
  EXPECT_EQ(guest.resume().events.size(), 3u);
}

// TSan: bytes come while the guest decides to park; none may be missed.
TEST_F(Poll, NoWakeUpIsLost) {
  std::atomic<int> wakes{0};
  MemoryAccount account(1 << 20);
  test::FakeNetwork network(account);
  test::TextSink out;
  auto root = Volume::create({.clock = guest.clock})->make_root();
  Process process({.arguments = {"x"}, .preopens = {{"/", root, true}}, .standard_output = out, .standard_error = out, .network = &network, .account = account, .clock = guest.clock,
                   .wake = [&] { ++wakes; wakes.notify_one(); }});
  std::vector<std::byte> bytes(4096);
  const wasm::Memory memory(bytes.data(), bytes.size());
  const auto call = [&](std::string_view name, std::initializer_list<std::uint64_t> arguments) {
    wasm::Value values[16] = {};
    std::size_t i = 0;
    for (const std::uint64_t argument : arguments) values[i++].u64 = argument;
    const wasm::Verdict verdict = test::find_import(name).call(&process, memory, values);
    return std::pair(verdict, values[0].u64);
  };
  std::memcpy(bytes.data() + 100, "net/kube", 8);
  ASSERT_EQ(call("path_open", {3, 0, 100, 8, 0, TestGuest::kReadWrite, 0, 0, 200}).second, 0u);
  const Fd fd = *memory.load<Fd>(200);
  const auto channel = network.channels.back();
  constexpr int kRounds = 500;
  std::atomic<int> read{0};
  std::thread host([&] {
    for (int i = 0; i < kRounds; ++i) {
      ASSERT_EQ(channel->host_write(bytes_of("x")), 1u);
      for (int seen = read; seen <= i; seen = read) read.wait(seen);
    }
  });
  ASSERT_TRUE(memory.store(512, TestGuest::on_fd(Eventtype::FdRead, fd)));
  ASSERT_TRUE(memory.store(304, Iovec{320, 1}));
  for (int i = 0; i < kRounds; ++i) {
    for (;;) {
      const int seen = wakes;
      if (call("poll_oneoff", {512, 1024, 1, 2048}).first != wasm::Verdict::Park) break;
      wakes.wait(seen);
    }
    ASSERT_EQ(call("fd_read", {fd, 304, 1, 300}).second, 0u);
    ++read;
    read.notify_one();
  }
  host.join();
}

}  // namespace
}  // namespace dormouse::wasi
