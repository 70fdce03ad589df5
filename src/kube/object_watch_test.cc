// SPDX-License-Identifier: Apache-2.0
#include "kube/object_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "kube/test_support.h"

namespace dormouse::kube {
namespace {
using testing::ElementsAre;
using testing::HasSubstr;
using namespace std::chrono_literals;

struct Told final : ObjectWatch::Sink {
  void on_object(const boost::json::object& object) override {
    events.push_back(boost::json::value_to<std::string>(object.at("data")));
    if (when_told) when_told();
  }
  void on_absent() override { events.push_back("absent"); }
  void on_trouble(const Error& error) override { events.push_back("trouble: " + error.message); }
  std::vector<std::string> events;
  std::function<void()> when_told;
};

class WatchOfOne : public testing::Test {
 protected:
  void start() {
    ObjectWatch::Options options;
    options.collection = "/api/v1/namespaces/shop/configmaps";
    options.name = "settings";
    options.backoff_min = 1ms;
    options.backoff_max = 4ms;
    options.object_bytes_max = 10'000;
    auto made = ObjectWatch::create(loop, clock, upstream, options, told);
    ASSERT_TRUE(made.has_value());
    watch = std::move(*made);
  }
  void start_with(const std::string& data) {
    start();
    upstream.answer(200, R"({"metadata":{"resourceVersion":"10"},"items":[)" + object(data, 9) + "]}");
  }
  static std::string object(const std::string& data, int version, const std::string& name = "settings") {
    return fmt::format(R"({{"metadata":{{"name":"{}","resourceVersion":"{}"}},"data":"{}"}})", name, version, data);
  }
  static std::string event(const std::string& type, const std::string& object) { return R"({"type":")" + type + R"(","object":)" + object + "}\n"; }
  void send(const std::string& bytes) { upstream.streams.at(0)->sink.on_data(std::as_bytes(std::span(bytes))); }
  void respond(int status = 200) { upstream.streams.at(0)->sink.on_response(status, {}); }
  std::string target() { return upstream.streams.at(0)->request.target; }
  boost::asio::io_context loop;
  ManualClock clock;
  ScriptedUpstream upstream;
  Told told;
  std::unique_ptr<ObjectWatch> watch;
};

TEST_F(WatchOfOne, TellsTheStateAndThenEveryChange) {
  start_with("one");
  EXPECT_EQ(target(), "/api/v1/namespaces/shop/configmaps?fieldSelector=metadata.name%3Dsettings&watch=true&allowWatchBookmarks=true&resourceVersion=10");
  respond();
  const std::string both = event("MODIFIED", object("two", 11)) + event("BOOKMARK", R"({"metadata":{"resourceVersion":"15"}})") + event("DELETED", object("two", 16)) + event("ADDED", object("three", 17));
  for (const char byte : both) send(std::string(1, byte));  // Lines are cut anywhere.
  EXPECT_THAT(told.events, ElementsAre("one", "two", "absent", "three"));
  EXPECT_EQ(upstream.consumed, both.size());
}

TEST_F(WatchOfOne, TellsThatItIsNotThere) {
  start();
  EXPECT_EQ(upstream.calls[0].request.target, "/api/v1/namespaces/shop/configmaps?fieldSelector=metadata.name%3Dsettings");
  upstream.answer(200, R"({"metadata":{"resourceVersion":"10"},"items":[]})");
  EXPECT_THAT(told.events, ElementsAre("absent"));
}

TEST_F(WatchOfOne, GoesOnFromWhereTheStreamEnded) {
  start_with("one");
  respond();
  send(event("BOOKMARK", R"({"metadata":{"resourceVersion":"15"}})"));
  clock.advance(30min);
  upstream.streams[0]->sink.on_end();
  EXPECT_THAT(target(), HasSubstr("resourceVersion=15"));
  EXPECT_THAT(told.events, ElementsAre("one"));
  // Lost instead of ended: after a back-off.
  upstream.streams[0]->sink.on_failure(Error{ErrorCode::Unavailable, "lost"}, true);
  EXPECT_EQ(upstream.streams.size(), 0U);
  run_until(loop, [&] { return upstream.streams.size() == 1; });
  EXPECT_THAT(target(), HasSubstr("resourceVersion=15"));
}

TEST_F(WatchOfOne, ListsAgainWhenItsRevisionIsGone) {
  start_with("one");
  respond();
  clock.advance(10s);
  send(event("ERROR", R"({"code":410,"message":"too old"})"));
  ASSERT_EQ(upstream.calls.size(), 1U);
  upstream.answer(200, R"({"metadata":{"resourceVersion":"20"},"items":[)" + object("two", 19) + "]}");
  EXPECT_THAT(told.events, ElementsAre("one", "two"));
  EXPECT_THAT(target(), HasSubstr("resourceVersion=20"));
  clock.advance(10s);
  respond(410);
  upstream.streams[0]->sink.on_end();
  EXPECT_EQ(upstream.calls.size(), 1U);
}

TEST_F(WatchOfOne, AServerThatAlwaysSaysGoneIsNotAskedInALoop) {
  start_with("one");
  respond();
  send(event("ERROR", R"({"code":410,"message":"too old"})"));
  EXPECT_EQ(upstream.calls.size(), 0U);
  run_until(loop, [&] { return upstream.calls.size() == 1; });
}

TEST_F(WatchOfOne, ExplainsARefusalOnceAndGoesOnTrying) {
  start();
  for (int i = 0; i < 3; ++i) {
    upstream.answer(403, R"({"message":"configmaps is forbidden: User \"u\" cannot list"})");
    run_until(loop, [&] { return upstream.calls.size() == 1; });
  }
  EXPECT_THAT(told.events, ElementsAre("trouble: /api/v1/namespaces/shop/configmaps/settings: configmaps is forbidden: User \"u\" cannot list"));
  upstream.answer(200, R"({"metadata":{"resourceVersion":"10"},"items":null})");
  EXPECT_EQ(told.events.back(), "absent");
}

TEST_F(WatchOfOne, GarbageAndEndlessLinesAreTroubleNotMemory) {
  start_with("one");
  respond();
  send("nonsense\n");
  EXPECT_THAT(told.events.back(), HasSubstr("trouble"));
  run_until(loop, [&] { return upstream.streams.size() == 1; });
  respond();
  send(std::string(10'001, 'x'));
  EXPECT_THAT(told.events.back(), HasSubstr("longer than 10000 bytes"));
  EXPECT_EQ(upstream.streams.size(), 0U);
}

TEST_F(WatchOfOne, OtherObjectsAreNotTold) {
  start_with("one");
  respond();
  send(event("MODIFIED", object("other", 11, "other")));
  EXPECT_THAT(told.events, ElementsAre("one"));
}

TEST_F(WatchOfOne, MayBeDestroyedInItsCallback) {
  told.when_told = [&] { watch.reset(); };
  start_with("one");
  EXPECT_EQ(upstream.streams.size(), 0U);
  told.when_told = nullptr;
  start_with("two");
  respond();
  told.when_told = [&] { watch.reset(); };
  send(event("MODIFIED", object("three", 11)) + event("MODIFIED", object("four", 12)));
  EXPECT_THAT(told.events, ElementsAre("one", "two", "three"));
}

TEST_F(WatchOfOne, RefusesNamesThatAreNone) {
  for (const std::string name : {"", "a/b", "a?b", "..", "a&b"}) {
    EXPECT_FALSE(ObjectWatch::create(loop, clock, upstream, {.collection = "/api", .name = name}, told)) << name;
  }
}

}  // namespace
}  // namespace dormouse::kube
