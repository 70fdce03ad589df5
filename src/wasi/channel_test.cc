// SPDX-License-Identifier: Apache-2.0
#include "wasi/channel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "wasi/test_guest.h"

namespace dormouse::wasi {
namespace {

using test::bytes_of;

class ChannelTest : public testing::Test {
 protected:
  std::string guest_reads(std::size_t length = 100, bool peek = false) {
    std::string text(length, '?');
    const Channel::Transfer transfer = channel_.guest_read(std::as_writable_bytes(std::span(text)), peek);
    last_ = transfer.error;
    return text.substr(0, transfer.bytes);
  }
  std::string host_reads(std::size_t length = 100) {
    std::string text(length, '?');
    return text.substr(0, channel_.host_read(std::as_writable_bytes(std::span(text))));
  }

  MemoryAccount account_{1 << 20};
  Channel channel_{account_, 10'000};
  Errno last_ = Errno::Success;
};

TEST_F(ChannelTest, CarriesBytesBothWaysOnceConnected) {
  EXPECT_EQ(channel_.guest_write(bytes_of("early")).error, Errno::Again);
  EXPECT_TRUE(channel_.readiness().connecting);
  EXPECT_EQ(channel_.readiness().writable_bytes, 0u);
  channel_.host_connected();
  EXPECT_EQ(channel_.readiness().writable_bytes, 10'000u);
  EXPECT_EQ(channel_.guest_write(bytes_of("request")).bytes, 7u);
  EXPECT_EQ(host_reads(3), "req");
  EXPECT_EQ(host_reads(), "uest");
  EXPECT_EQ(host_reads(), "");
  EXPECT_EQ(channel_.host_write(bytes_of("response")), 8u);
  EXPECT_EQ(channel_.readiness().readable_bytes, 8u);
  EXPECT_EQ(guest_reads(4, true), "resp");
  EXPECT_EQ(guest_reads(4), "resp");
  EXPECT_EQ(guest_reads(), "onse");
  EXPECT_EQ(guest_reads(), "");
  EXPECT_EQ(last_, Errno::Again);
}

TEST_F(ChannelTest, AnIdleChannelHoldsNoMemory) {
  EXPECT_EQ(account_.used_bytes(), 0u);
  channel_.host_connected();
  EXPECT_EQ(channel_.host_write(bytes_of("x")), 1u);
  EXPECT_EQ(account_.used_bytes(), 4096u);
  EXPECT_EQ(guest_reads(), "x");
  EXPECT_EQ(account_.used_bytes(), 0u);
}

TEST_F(ChannelTest, AFullQueueIsBackPressure) {
  channel_.host_connected();
  const std::string much(30'000, 'm');
  EXPECT_EQ(channel_.host_write(bytes_of(much)), 10'000u);
  EXPECT_EQ(channel_.host_write(bytes_of(much)), 0u);
  EXPECT_EQ(channel_.host_writable_bytes(), 0u);
  EXPECT_EQ(guest_reads(1000).size(), 1000u);
  EXPECT_EQ(channel_.host_writable_bytes(), 1000u);
  EXPECT_EQ(channel_.guest_write(bytes_of(much)).bytes, 10'000u);
  EXPECT_EQ(channel_.guest_write(bytes_of(much)).error, Errno::Again);
}

TEST_F(ChannelTest, TheEndComesAfterWhatIsQueued) {
  channel_.host_connected();
  EXPECT_EQ(channel_.host_write(bytes_of("last")), 4u);
  channel_.host_end();
  EXPECT_TRUE(channel_.readiness().hangup);
  EXPECT_EQ(guest_reads(), "last");
  EXPECT_EQ(guest_reads(), "");
  EXPECT_EQ(last_, Errno::Success);
  // Half closed: the guest may still write.
  EXPECT_EQ(channel_.guest_write(bytes_of("more")).bytes, 4u);
  channel_.guest_shutdown_write();
  EXPECT_FALSE(channel_.host_at_end());
  EXPECT_EQ(host_reads(), "more");
  EXPECT_TRUE(channel_.host_at_end());
  EXPECT_EQ(channel_.guest_write(bytes_of("x")).error, Errno::Pipe);
}

TEST_F(ChannelTest, AFailureDropsWhatIsQueuedAndStays) {
  channel_.host_connected();
  EXPECT_EQ(channel_.host_write(bytes_of("x")), 1u);
  EXPECT_EQ(channel_.guest_write(bytes_of("x")).bytes, 1u);
  channel_.host_fail(Errno::ConnReset);
  channel_.host_fail(Errno::TimedOut);
  EXPECT_EQ(account_.used_bytes(), 0u);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(guest_reads(), "");
    EXPECT_EQ(last_, Errno::ConnReset);
    EXPECT_EQ(channel_.guest_write(bytes_of("x")).error, Errno::ConnReset);
  }
}

TEST_F(ChannelTest, AFailedDialIsReadyAndThenFails) {
  channel_.host_fail(Errno::ConnRefused);
  EXPECT_FALSE(channel_.readiness().connecting);
  EXPECT_TRUE(channel_.readiness().failed);
  EXPECT_EQ(channel_.guest_write(bytes_of("x")).error, Errno::ConnRefused);
}

TEST_F(ChannelTest, WhatTheGuestWroteBeforeItClosedArrives) {
  channel_.host_connected();
  EXPECT_EQ(channel_.guest_write(bytes_of("bye")).bytes, 3u);
  EXPECT_EQ(channel_.host_write(bytes_of("ignored")), 7u);
  channel_.guest_close();
  EXPECT_TRUE(channel_.guest_gone());
  EXPECT_EQ(account_.used_bytes(), 4096u);
  EXPECT_FALSE(channel_.host_at_end());
  EXPECT_EQ(host_reads(), "bye");
  EXPECT_TRUE(channel_.host_at_end());
  EXPECT_EQ(channel_.host_write(bytes_of("nobody")), 6u);
  EXPECT_EQ(account_.used_bytes(), 0u);
}

TEST_F(ChannelTest, TellsTheHostOnceUntilItLooks) {
  int told = 0;
  channel_.set_host_notify([&] { ++told; });
  channel_.host_connected();
  (void)channel_.guest_write(bytes_of("a"));
  (void)channel_.guest_write(bytes_of("b"));
  EXPECT_EQ(told, 1);
  (void)host_reads();
  (void)channel_.guest_write(bytes_of("c"));
  EXPECT_EQ(told, 2);
  // Room is told only when it was wanted.
  EXPECT_EQ(channel_.host_write(bytes_of("d")), 1u);
  (void)guest_reads();
  EXPECT_EQ(told, 2);
  const std::string much(20'000, 'm');
  EXPECT_EQ(channel_.host_write(bytes_of(much)), 10'000u);
  (void)guest_reads(100);
  (void)guest_reads(100);
  EXPECT_EQ(told, 3);
  EXPECT_EQ(channel_.host_writable_bytes(), 200u);
  (void)guest_reads(100);
  EXPECT_EQ(told, 4);
  channel_.guest_shutdown_write();
  EXPECT_EQ(told, 5);
  channel_.guest_close();
  channel_.guest_close();
  EXPECT_EQ(told, 6);
}

TEST_F(ChannelTest, WakesTheGuestForWhatItMayWaitFor) {
  int woken = 0;
  channel_.set_guest_waker([&] { ++woken; });
  channel_.host_connected();
  EXPECT_EQ(woken, 1);
  EXPECT_EQ(channel_.host_write(bytes_of("x")), 1u);
  EXPECT_EQ(woken, 2);
  // Room is no news to a guest that was never short of it.
  (void)channel_.guest_write(bytes_of("x"));
  (void)host_reads();
  EXPECT_EQ(woken, 2);
  const std::string much(20'000, 'm');
  (void)channel_.guest_write(bytes_of(much));
  (void)host_reads();
  (void)host_reads();
  EXPECT_EQ(woken, 3);
  channel_.host_end();
  EXPECT_EQ(woken, 4);
  channel_.host_fail(Errno::ConnReset);
  EXPECT_EQ(woken, 5);
  channel_.guest_close();
  EXPECT_EQ(woken, 5);
}

TEST(Channel, AFullAccountIsNoMemForTheGuest) {
  MemoryAccount account(4096);
  Channel channel(account);
  channel.host_connected();
  EXPECT_TRUE(account.try_charge(100));
  EXPECT_EQ(channel.guest_write(bytes_of("x")).error, Errno::NoMem);
  account.release(100);
  EXPECT_EQ(channel.guest_write(bytes_of("x")).bytes, 1u);
  const std::string much(10'000, 'm');
  EXPECT_EQ(channel.guest_write(bytes_of(much)).bytes, 4096u - 16 - 1);
}

// Otherwise guest and host would wait for each other for ever.
TEST(Channel, AFullAccountFailsAStreamThatHasNothingToRead) {
  MemoryAccount account(4096);
  Channel channel(account), other(account);
  int woken = 0;
  channel.set_guest_waker([&] { ++woken; });
  channel.host_connected();
  other.host_connected();
  const std::string much(10'000, 'm');
  // Something is there to be read: it will make room.
  EXPECT_EQ(other.host_write(bytes_of(much)), 4080u);
  EXPECT_EQ(other.host_write(bytes_of(much)), 0u);
  EXPECT_FALSE(other.readiness().failed);
  EXPECT_EQ(channel.host_write(bytes_of("x")), 0u);
  EXPECT_EQ(woken, 2);
  std::byte byte;
  EXPECT_EQ(channel.guest_read({&byte, 1}).error, Errno::NoMem);
}

// TSan: the two ends on two threads, every byte in order.
TEST(Channel, TwoThreadsExchangeBytesInOrder) {
  constexpr std::size_t kTotal = 1 << 18;
  MemoryAccount account(1 << 20);
  {
    Channel channel(account, 3000);
    std::atomic<int> host_news{0}, guest_news{0};
    channel.set_host_notify([&] { ++host_news; host_news.notify_one(); });
    channel.set_guest_waker([&] { ++guest_news; guest_news.notify_one(); });
    // Echoes what the guest sends.
    std::thread host([&] {
      channel.host_connected();
      std::vector<std::byte> held;
      std::byte buffer[700];
      for (;;) {
        const int news = host_news;
        const std::size_t got = held.empty() ? channel.host_read(buffer) : 0;
        held.insert(held.end(), buffer, buffer + got);
        const std::size_t taken = held.empty() ? 0 : channel.host_write(held);
        held.erase(held.begin(), held.begin() + static_cast<std::ptrdiff_t>(taken));
        if (held.empty() && channel.host_at_end()) break;
        if (got == 0 && taken == 0) host_news.wait(news);
      }
      channel.host_end();
    });
    std::size_t sent = 0, received = 0;
    bool ended = false;
    std::mt19937 random(1);
    while (!ended) {
      const int news = guest_news;
      bool moved = false;
      if (sent < kTotal) {
        std::byte bytes[1000];
        const std::size_t length = std::min<std::size_t>(kTotal - sent, 1 + random() % sizeof(bytes));
        for (std::size_t i = 0; i < length; ++i) bytes[i] = static_cast<std::byte>((sent + i) * 31 >> 3);
        const Channel::Transfer wrote = channel.guest_write({bytes, length});
        sent += wrote.bytes;
        moved = wrote.bytes > 0;
        if (sent == kTotal) channel.guest_shutdown_write();
      }
      std::byte bytes[900];
      const Channel::Transfer read = channel.guest_read(bytes);
      for (std::size_t i = 0; i < read.bytes; ++i) ASSERT_EQ(bytes[i], static_cast<std::byte>((received + i) * 31 >> 3));
      received += read.bytes;
      ended = read.error == Errno::Success && read.bytes == 0;
      if (!moved && read.bytes == 0 && !ended) guest_news.wait(news);
    }
    host.join();
    EXPECT_EQ(received, kTotal);
  }
  EXPECT_EQ(account.used_bytes(), 0u);
}

// TSan: either end may go while the other is at work.
TEST(Channel, EitherEndMayGoFirst) {
  MemoryAccount account(1 << 20);
  for (int round = 0; round < 50; ++round) {
    auto channel = std::make_shared<Channel>(account);
    std::atomic<int> news{0};
    channel->set_guest_waker([&] { ++news; });
    std::thread host([channel] {
      channel->set_host_notify([] {});
      channel->host_connected();
      for (int i = 0; i < 20; ++i) {
        (void)channel->host_write(bytes_of("response"));
        std::byte buffer[8];
        (void)channel->host_read(buffer);
      }
      channel->host_fail(Errno::ConnReset);
    });
    for (int i = 0; i < 20; ++i) {
      (void)channel->guest_write(bytes_of("request"));
      (void)channel->readiness();
    }
    channel->guest_close();
    channel.reset();
    host.join();
  }
  EXPECT_EQ(account.used_bytes(), 0u);
}

}  // namespace
}  // namespace dormouse::wasi
