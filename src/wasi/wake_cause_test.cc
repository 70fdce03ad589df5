// SPDX-License-Identifier: Apache-2.0
// Why a guest wakes, and whether it then did anything that others could notice.

#include "wasi/wake_cause.h"

#include <gtest/gtest.h>

#include "wasi/test_guest.h"

namespace dormouse::wasi {
namespace {

using namespace std::chrono_literals;
using test::bytes_of;
using test::TestGuest;
using Kind = WakeCause::Kind;

struct WakeCauses : testing::Test {
  Fd dial(Kind kind = Kind::Watch, std::string what = "watch pods") {
    const Fd fd = guest.must_open("net/kube");
    channel = guest.network.channels.back();
    channel->set_purpose(kind, std::make_shared<const std::string>(std::move(what)));
    return fd;
  }
  std::uint64_t active_calls(auto&& during) {
    const auto before = guest.process->counters();
    during();
    return guest.process->counters().activity - before.activity;
  }
  TestGuest guest;
  std::shared_ptr<Channel> channel;
};

TEST_F(WakeCauses, NothingHasHappenedToAGuestThatWaits) {
  EXPECT_FALSE(guest.process->wake_cause());
  const Fd fd = dial();
  ASSERT_TRUE(guest.poll({TestGuest::on_fd(Eventtype::FdRead, fd), TestGuest::on_clock(ClockId::Monotonic, 1'000'000)}).parked);
  EXPECT_FALSE(guest.process->wake_cause());
}

TEST_F(WakeCauses, TheOwnDeadlineIsATimer) {
  ASSERT_TRUE(guest.poll({TestGuest::on_clock(ClockId::Monotonic, 1'000'000)}).parked);
  guest.clock.advance(1ms);
  ASSERT_TRUE(guest.process->wake_cause());
  EXPECT_EQ(guest.process->wake_cause()->kind, Kind::Timer);
}

TEST_F(WakeCauses, AStreamSaysWhatItCarriesAndComesBeforeTheTimer) {
  const Fd fd = dial(Kind::Watch, "watch greetings in team-a");
  ASSERT_TRUE(guest.poll({TestGuest::on_clock(ClockId::Monotonic, 1'000'000), TestGuest::on_fd(Eventtype::FdRead, fd)}).parked);
  guest.clock.advance(1s);
  channel->host_write(bytes_of("event"));
  const auto cause = guest.process->wake_cause();
  ASSERT_TRUE(cause);
  EXPECT_EQ(cause->kind, Kind::Watch);
  EXPECT_FALSE(cause->room);
  EXPECT_EQ(*cause->what, "watch greetings in team-a");
}

TEST_F(WakeCauses, AStreamThatCanBeReadIsToldBeforeOneThatCanBeWritten) {
  const Fd full = dial(Kind::Egress, "tcp far.example:5432");
  const auto first = channel;
  const std::string much(Channel::kCapacityBytes, 'x');
  while (first->guest_write(bytes_of(much)).error == Errno::Success) {
  }
  guest.process->state().find(full)->write_edge = true;
  const Fd read = dial(Kind::Answer, "get pods/a");
  ASSERT_TRUE(guest.poll({TestGuest::on_fd(Eventtype::FdWrite, full), TestGuest::on_fd(Eventtype::FdRead, read)}).parked);
  std::vector<std::byte> room(4096);
  first->host_read(room);
  ASSERT_TRUE(guest.process->wake_cause());
  EXPECT_EQ(guest.process->wake_cause()->kind, Kind::Egress);
  EXPECT_TRUE(guest.process->wake_cause()->room);
  channel->host_write(bytes_of("x"));
  EXPECT_EQ(guest.process->wake_cause()->kind, Kind::Answer);
  EXPECT_FALSE(guest.process->wake_cause()->room);
}

TEST_F(WakeCauses, ConnectionsAndSignalsAreTheirOwnCauses) {
  const Fd port = guest.must_open("net/listen/8080"), signals = guest.must_open("run/signals");
  ASSERT_TRUE(guest.poll({TestGuest::on_fd(Eventtype::FdRead, port), TestGuest::on_fd(Eventtype::FdRead, signals)}).parked);
  ASSERT_TRUE(guest.process->deliver_signal(15));
  EXPECT_EQ(guest.process->wake_cause()->kind, Kind::Signal);
  guest.network.connect(8080);
  EXPECT_EQ(guest.process->wake_cause()->kind, Kind::Inbound);
}

TEST_F(WakeCauses, TheHostMakesATextOnlyWhenItsBytesAreTheOnesThatWake) {
  const Fd fd = dial();
  EXPECT_TRUE(channel->wakes_next());
  channel->host_write(bytes_of("ab"));
  EXPECT_FALSE(channel->wakes_next());
  EXPECT_EQ(guest.read(fd, 1).text, "a");
  EXPECT_FALSE(channel->wakes_next());
  EXPECT_EQ(guest.read(fd, 1).text, "b");
  EXPECT_TRUE(channel->wakes_next());
}

TEST_F(WakeCauses, ClocksRandomNumbersAndPollsAreNoActivity) {
  const std::uint32_t at = guest.take(64);
  EXPECT_EQ(active_calls([&] {
              guest.call("clock_time_get", 1, 0, at);
              guest.call("random_get", at, 16);
              guest.call("sched_yield");
              guest.call("fd_fdstat_get", 1, at);
              guest.poll({TestGuest::on_clock(ClockId::Monotonic, 0)});
            }),
            0u);
}

TEST_F(WakeCauses, WhatOthersCanNoticeOrTheGuestCanLearnIsActivity) {
  EXPECT_EQ(active_calls([&] { guest.write(1, "a line\n"); }), 1u);
  EXPECT_EQ(active_calls([&] { guest.stat("tmp"); }), 1u);
  EXPECT_EQ(active_calls([&] { guest.open("nowhere"); }), 1u);
  const auto before = guest.process->counters();
  const Fd fd = dial();
  EXPECT_EQ(guest.read(fd, 1).error, Errno::Again);
  EXPECT_EQ(guest.process->counters().activity - before.activity, 2u);
}

TEST_F(WakeCauses, ActivityOnKubernetesStreamsIsToldApart) {
  const Fd kube = dial(Kind::Answer), other = dial(Kind::Egress);
  const auto before = guest.process->counters();
  guest.write(kube, "GET /");
  guest.read(kube, 1);
  guest.fd_stat(kube);
  guest.call("sock_shutdown", kube, 2);
  guest.call("fd_close", kube);
  guest.write(other, "x");
  guest.call("fd_close", other);
  const auto after = guest.process->counters();
  EXPECT_EQ(after.activity - before.activity, 7u);
  EXPECT_EQ(after.kube_activity - before.kube_activity, 5u);
}

}  // namespace
}  // namespace dormouse::wasi
