// SPDX-License-Identifier: Apache-2.0
// The looks that are made in a guest's stead: as whom, what of, and what ends them.

#include "gateway/poll_offload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gateway/fake_upstream.h"

namespace dormouse::gateway {
namespace {

using namespace std::chrono_literals;
using Kind = wasi::WakeCause::Kind;

struct PollOffloadTest : testing::Test {
  PollOffloadTest() {
    offload->set_wake([this] { ++wakes; });
  }
  ~PollOffloadTest() override { offload->stop(); }

  static kube::Request request() { return {.method = "GET", .target = "/api/v1/namespaces/ns/configmaps/a", .headers = {{"accept", "application/json"}}}; }
  // What a session would tell of one look of the guest's.
  void guest_looks(std::string_view body, int status = 200) {
    PollOffload::Seen seen(*offload, request(), parse_request_info("GET", request().target));
    seen.head(status, {{"content-type", "application/json"}, {"date", fmt::to_string(++dates)}});
    seen.body(std::as_bytes(std::span(body)));
    seen.whole();
  }
  // Its timer is due. Whether it is left asleep.
  bool due() {
    clock.advance(5s);
    if (offload->on_deadline(clock.monotonic())) return true;
    offload->on_wake(Kind::Timer, clock.monotonic());
    return false;
  }
  void cycle(std::string_view body) {
    EXPECT_FALSE(due());
    guest_looks(body);
    offload->on_park(clock.monotonic(), {.kube = 2, .other = 0});
  }
  // Until the host looks for the first time.
  void begin() {
    for (int i = 0; i < 3; ++i) cycle("same");
    ASSERT_TRUE(due());
    settle();
    ASSERT_EQ(upstream.streams.size(), 1u);
  }
  void settle() {
    loop.restart();
    while (loop.poll_one() > 0) {
    }
  }
  void answer(std::string_view body, int status = 200) {
    auto& stream = upstream.last();
    stream.respond(status, {{"content-type", "application/json"}, {"date", fmt::to_string(++dates)}});
    for (const char c : body) stream.data(std::string_view(&c, 1));
    stream.end();
    settle();
  }

  boost::asio::io_context loop;
  ManualClock clock;
  FakeUpstream upstream;
  FakeIdentity identity;
  std::shared_ptr<PollOffload> offload =
      std::make_shared<PollOffload>(PollOffload::Options{.loop = loop, .clock = clock, .upstream = upstream, .identity = &identity, .max_sleep = 5min});
  int wakes = 0, dates = 0;
};

TEST_F(PollOffloadTest, LooksAsTheGuestWithTheGuestsOwnRequest) {
  begin();
  const kube::Request& sent = upstream.last().request;
  EXPECT_EQ(sent.method, "GET");
  EXPECT_EQ(sent.target, request().target);
  EXPECT_EQ(sent.headers, request().headers);
  EXPECT_EQ(sent.bearer, "guest-token");
  EXPECT_FALSE(sent.has_body);
}

TEST_F(PollOffloadTest, TheSameAnswerSparesTheGuestAndIsLookedForAgain) {
  begin();
  clock.advance(6s);  // So the next look is due at once.
  answer("same");
  EXPECT_EQ(upstream.last().credited_bytes, 0u);
  EXPECT_EQ(upstream.streams.size(), 2u);
  EXPECT_EQ(upstream.streams[0]->credited_bytes, 4u);
  answer("same");
  EXPECT_EQ(wakes, 0);
  EXPECT_EQ(offload->counters().looks, 2u);
  EXPECT_EQ(offload->counters().absorbed, 2u);
  EXPECT_TRUE(offload->on_deadline(clock.monotonic()));
}

TEST_F(PollOffloadTest, AnotherAnswerWakesTheGuest) {
  begin();
  answer("other");
  EXPECT_EQ(wakes, 1);
  EXPECT_FALSE(offload->on_deadline(clock.monotonic()));
  EXPECT_EQ(offload->counters().changed, 1u);
  EXPECT_EQ(upstream.open_streams(), 0u);
}

TEST_F(PollOffloadTest, ARightThatIsGoneWakesTheGuest) {
  begin();
  answer("same", 403);
  EXPECT_EQ(wakes, 1);
  EXPECT_EQ(offload->counters().changed, 1u);
}

TEST_F(PollOffloadTest, AFailureWakesTheGuest) {
  begin();
  upstream.last().fail();
  EXPECT_EQ(wakes, 1);
  EXPECT_EQ(offload->counters().failed, 1u);
  EXPECT_FALSE(offload->on_deadline(clock.monotonic()));
}

TEST_F(PollOffloadTest, AnAnswerThatIsCutWakesTheGuest) {
  begin();
  upstream.last().respond(200, {{"content-type", "application/json"}});
  upstream.last().data("sa");
  upstream.last().fail();
  EXPECT_EQ(wakes, 1);
}

TEST_F(PollOffloadTest, ARejectedTokenIsReplacedOnce) {
  begin();
  upstream.last().respond(401);
  settle();
  ASSERT_EQ(upstream.streams.size(), 2u);
  EXPECT_EQ(upstream.last().request.bearer, "guest-token+");
  answer("same");
  EXPECT_EQ(wakes, 0);
  EXPECT_EQ(offload->counters().absorbed, 1u);
}

TEST_F(PollOffloadTest, WithoutATokenTheGuestLooksForItself) {
  identity.token = fail(ErrorCode::NotFound, "no such account");
  for (int i = 0; i < 3; ++i) cycle("same");
  ASSERT_TRUE(due());
  settle();
  EXPECT_TRUE(upstream.streams.empty());
  EXPECT_EQ(wakes, 1);
  EXPECT_EQ(offload->counters().failed, 1u);
}

TEST_F(PollOffloadTest, AnEventMeanwhileDropsTheLook) {
  begin();
  offload->on_wake(Kind::Watch, clock.monotonic());
  settle();
  EXPECT_EQ(upstream.open_streams(), 0u);
  EXPECT_EQ(wakes, 0);
  EXPECT_EQ(offload->counters().absorbed, 0u);
}

TEST_F(PollOffloadTest, StoppedItTouchesNothingMore) {
  begin();
  offload->stop();
  EXPECT_EQ(upstream.open_streams(), 0u);
  settle();
  EXPECT_EQ(wakes, 0);
}

TEST_F(PollOffloadTest, WhatTheGuestNeverGotWholeIsNoLook) {
  for (int i = 0; i < 20; ++i) {
    EXPECT_FALSE(due());
    PollOffload::Seen seen(*offload, request(), parse_request_info("GET", request().target));
    seen.head(200, {});
    seen.spoiled();
    offload->on_park(clock.monotonic(), {.kube = 2, .other = 0});
  }
}

}  // namespace
}  // namespace dormouse::gateway
