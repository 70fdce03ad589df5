// SPDX-License-Identifier: Apache-2.0
// poll_oneoff with random subscriptions over streams in random states: a park must have a reason, and events must be of
// subscriptions that there are.

#include <algorithm>

#include "wasi/test_guest.h"

using namespace dormouse;
using namespace dormouse::wasi;
using dormouse::wasi::test::TestGuest;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  TestGuest guest({.limit_bytes = 1 << 20, .memory_bytes = 64 * 1024});
  guest.network.capacity_bytes = 8;
  guest.network.connect_at_once = false;
  for (int i = 0; i < 3; ++i) (void)guest.must_open("net/kube");
  (void)guest.must_open("net/listen/80");
  (void)guest.must_open("run/signals", 0, rights::kFdRead);
  guest.put_file("file", "text");
  (void)guest.must_open("file", 0, rights::kRegularFile);
  constexpr std::size_t kRecord = sizeof(Subscription) + 1;
  std::vector<Subscription> subscriptions;
  while (size > 0) {
    const std::uint8_t action = data[0];
    ++data;
    --size;
    const auto channel = guest.network.channels[action / 16 % 3];
    switch (action % 16) {
      case 0: channel->host_connected(); break;
      case 1: (void)channel->host_write(test::bytes_of("abc")); break;
      case 2: channel->host_fail(Errno::ConnReset); break;
      case 3: channel->host_end(); break;
      case 4: (void)guest.write(4 + action / 16 % 3, "123456789"); break;
      case 5: (void)guest.read(4 + action / 16 % 3, 2); break;
      case 6: (void)guest.process->deliver_signal(1); break;
      case 7: (void)guest.network.connect(80); break;
      case 8: guest.clock.advance(Nanoseconds(std::int64_t{1} << (action / 16 * 2))); break;
      case 9: {
        std::byte buffer[3];
        (void)channel->host_read(buffer);
        break;
      }
      case 10: (void)guest.call("sock_shutdown", 4 + action / 16 % 3, 1 + action / 64 % 3); break;
      default: {
        if (size < kRecord || subscriptions.size() > 100) break;
        Subscription subscription;
        std::memcpy(&subscription, data, sizeof(subscription));
        if (action >= 128) {
          subscription.type = static_cast<Eventtype>(action % 3);
          if (subscription.type != Eventtype::Clock) subscription.fd %= 16;
          else subscription.clock.id = static_cast<ClockId>(action / 8 % 3);
        }
        data += sizeof(subscription);
        size -= sizeof(subscription);
        subscriptions.push_back(subscription);
      }
    }
    if (action % 16 != 15) continue;
    guest.forget();
    auto polled = guest.poll(subscriptions);
    for (int resumes = 0; polled.parked; ++resumes) {
      CHECK(!guest.process->ready());
      const auto deadline = guest.process->deadline();
      if (!deadline || resumes > 2) {
        guest.process->state().park.active = false;
        break;
      }
      CHECK(*deadline > guest.clock.monotonic());
      guest.clock.advance(std::min<Nanoseconds>(*deadline - guest.clock.monotonic(), std::chrono::hours(100'000)));
      polled = guest.resume();
      if (resumes == 0 && *deadline <= guest.clock.monotonic()) CHECK(!polled.parked);
    }
    CHECK(polled.parked || polled.error != Errno::Success || !polled.events.empty());
    CHECK(polled.events.size() <= subscriptions.size());
    for (const Event& event : polled.events) {
      const auto asked = std::find_if(subscriptions.begin(), subscriptions.end(), [&](const Subscription& s) { return s.userdata == event.userdata && s.type == event.type; });
      CHECK(asked != subscriptions.end());
    }
    subscriptions.clear();
  }
  return 0;
}
