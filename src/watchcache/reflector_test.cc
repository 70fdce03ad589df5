// SPDX-License-Identifier: Apache-2.0
#include "watchcache/reflector.h"

#include <gtest/gtest.h>

#include "watchcache/test_support.h"

namespace dormouse::watchcache {
namespace {

using namespace std::chrono_literals;
using testing::drain;
using testing::json_pod;
using testing::Listener;
using testing::pods;
using State = Reflector::State;
using Trouble = Reflector::Trouble;

class ReflectorTest : public ::testing::Test {
 protected:
  std::string next() {
    const auto action = reflector.take_action();
    if (!action) return "";
    if (action->kind == Reflector::Action::Kind::Cancel) return "cancel";
    EXPECT_EQ(action->accept, "application/json");
    return action->target;
  }
  void respond(int status, const Reflector::Headers& headers = {{"content-type", "application/json"}}) { reflector.on_response(status, headers, now); }
  void event(std::string_view type, std::string_view object) { reflector.on_data(fmt::format("{{\"type\":\"{}\",\"object\":{}}}\n", type, object), now); }
  void bookmark(Revision revision, bool end) {
    event("BOOKMARK", fmt::format(R"({{"kind":"Pod","apiVersion":"v1","metadata":{{"resourceVersion":"{}"{}}}}})", revision, end ? R"(,"annotations":{"k8s.io/initial-events-end":"true"})" : ""));
  }
  void status_event(int code, std::string_view reason) { event("ERROR", fmt::format(R"({{"kind":"Status","reason":"{}","message":"no","code":{}}})", reason, code)); }
  void answer_list(Revision revision, std::string_view items, std::string_view token = "") {
    respond(200);
    reflector.on_data(fmt::format(R"({{"kind":"PodList","apiVersion":"v1","metadata":{{"resourceVersion":"{}","continue":"{}"}},"items":[{}]}})", revision, token, items), now);
    reflector.on_end(now);
  }
  // Watching, from revision 10, with one pod.
  void begin() {
    reflector.start(now);
    next();
    respond(200);
    event("ADDED", json_pod("n", "a", 3));
    bookmark(10, true);
  }
  void wait() {
    ASSERT_EQ(reflector.state(), State::Waiting);
    now = *reflector.deadline();
    reflector.on_timer(now);
  }

  Nanoseconds now = 1000s;
  ResourceCache cache{{.key = pods()}};
  Reflector reflector{{.seed = 1}, cache};
};

TEST_F(ReflectorTest, ListsByWatchingAndGoesOnInTheSameStream) {
  reflector.start(now);
  EXPECT_TRUE(next().starts_with("/api/v1/pods?watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds="));
  respond(200);
  event("ADDED", json_pod("n", "a", 3));
  EXPECT_FALSE(cache.ready());
  bookmark(10, true);
  EXPECT_TRUE(cache.ready());
  EXPECT_EQ(cache.revision(), 10U);
  event("MODIFIED", json_pod("n", "a", 11));
  EXPECT_EQ(cache.revision(), 11U);
  bookmark(15, false);
  EXPECT_EQ(cache.revision(), 15U);
  event("DELETED", json_pod("n", "a", 16));
  EXPECT_EQ(cache.size(), 0U);
  EXPECT_EQ(reflector.trouble(), Trouble::None);
  EXPECT_EQ(next(), "");
}

TEST_F(ReflectorTest, FallsBackToPagesWhereTheServerKnowsNoWatchList) {
  reflector.start(now);
  next();
  respond(422);
  reflector.on_data(R"({"kind":"Status","code":422,"message":"sendInitialEvents is forbidden"})", now);
  reflector.on_end(now);
  EXPECT_EQ(next(), "/api/v1/pods?limit=500");
  answer_list(10, json_pod("n", "a", 3, "", "u", false), "t=/1");
  EXPECT_EQ(next(), "/api/v1/pods?limit=500&continue=t%3D%2F1");
  answer_list(10, json_pod("n", "b", 4, "", "u", false));
  EXPECT_EQ(cache.size(), 2U);
  EXPECT_TRUE(next().starts_with("/api/v1/pods?watch=true&allowWatchBookmarks=true&resourceVersion=10&timeoutSeconds="));
  respond(200);
  status_event(410, "Expired");
  EXPECT_EQ(next(), "cancel");
  EXPECT_EQ(next(), "/api/v1/pods?limit=500");
}

TEST_F(ReflectorTest, AskedForAtItsTimeTheWatchGoesOnFromTheLastRevision) {
  begin();
  bookmark(20, false);
  now += 601s;
  reflector.on_end(now);
  EXPECT_TRUE(next().starts_with("/api/v1/pods?watch=true&allowWatchBookmarks=true&resourceVersion=20"));
}

TEST_F(ReflectorTest, AfterABreakTheServersRevisionIsLookedAtFirst) {
  begin();
  reflector.on_failure("connection lost", now);
  EXPECT_EQ(reflector.trouble(), Trouble::Failing);
  wait();
  EXPECT_EQ(next(), "/api/v1/pods?limit=1");
  answer_list(12, "");
  EXPECT_TRUE(next().starts_with("/api/v1/pods?watch=true&allowWatchBookmarks=true&resourceVersion=10"));
  respond(200);
  EXPECT_EQ(reflector.trouble(), Trouble::None);
  now += 60s;
  reflector.on_end(now);
  EXPECT_EQ(next(), "/api/v1/pods?limit=1");
}

TEST_F(ReflectorTest, ARevisionThatHasFallenIsAnotherHistory) {
  begin();
  Listener listener;
  const auto reader = cache.watch({.from = 10}, now, listener);
  reflector.on_failure("connection lost", now);
  wait();
  next();
  answer_list(9, "");
  EXPECT_NE(drain(*reader).find("\"code\":410"), std::string::npos);
  EXPECT_FALSE(cache.ready());
  EXPECT_NE(next().find("sendInitialEvents"), std::string::npos);
  EXPECT_EQ(reflector.counters().went_back, 1U);
}

TEST_F(ReflectorTest, WhatOthersHaveObservedCountsOnlyAgainstWhatWasKnownThen) {
  begin();
  event("MODIFIED", json_pod("n", "a", 11));
  reflector.observed(10, 10, now);
  EXPECT_TRUE(cache.ready());
  reflector.observed(9, 10, now);
  EXPECT_FALSE(cache.ready());
  EXPECT_EQ(next(), "cancel");
  EXPECT_NE(next().find("sendInitialEvents"), std::string::npos);
}

TEST_F(ReflectorTest, BacksOffWithJitterAndAsLongAsTheServerAsks) {
  begin();
  Nanoseconds last{};
  for (int i = 0; i < 8; ++i) {
    reflector.on_failure("connection refused", now);
    const Nanoseconds pause = *reflector.deadline() - now;
    EXPECT_GE(pause, std::min<Nanoseconds>(800ms * (1 << i), 30s));
    EXPECT_LE(pause, std::min<Nanoseconds>(800ms * (1 << i), 30s) * 2);
    wait();
    next();
    last = pause;
  }
  respond(429, {{"retry-after", "90"}});
  reflector.on_end(now);
  EXPECT_GE(*reflector.deadline() - now, Nanoseconds(90s));
}

TEST_F(ReflectorTest, WhoeverMayNotIsSaidAndOthersCredentialsAreTriedAtOnce) {
  begin();
  now += 700s;
  reflector.on_end(now);
  next();
  respond(403);
  reflector.on_end(now);
  EXPECT_EQ(reflector.trouble(), Trouble::Denied);
  EXPECT_TRUE(cache.ready());
  reflector.credentials_changed(now);
  EXPECT_EQ(next(), "/api/v1/pods?limit=1");
}

TEST_F(ReflectorTest, OtherCredentialsReopenARunningWatchWhereItIs) {
  begin();
  event("MODIFIED", json_pod("n", "a", 11));
  reflector.credentials_changed(now);
  EXPECT_EQ(next(), "cancel");
  EXPECT_TRUE(next().starts_with("/api/v1/pods?watch=true&allowWatchBookmarks=true&resourceVersion=11"));
  event("MODIFIED", json_pod("n", "a", 12));  // Of the old one: no response has come yet.
  EXPECT_EQ(cache.revision(), 11U);
}

TEST_F(ReflectorTest, AResourceThatIsGoneEndsItsReadersCleanly) {
  begin();
  Listener listener;
  const auto reader = cache.watch({.from = 10}, now, listener);
  now += 700s;
  reflector.on_end(now);
  next();
  respond(404);
  reflector.on_end(now);
  EXPECT_EQ(reflector.trouble(), Trouble::Gone);
  EXPECT_EQ(drain(*reader), "");
  EXPECT_TRUE(reader->over());
  wait();
  EXPECT_NE(next().find("sendInitialEvents"), std::string::npos);
}

TEST_F(ReflectorTest, AnotherEncodingThanTheOneAskedForIsAFailure) {
  reflector.start(now);
  next();
  respond(200, {{"content-type", "text/html"}});
  EXPECT_EQ(reflector.state(), State::Waiting);
  EXPECT_EQ(next(), "cancel");
  wait();
  next();
  respond(406);
  reflector.on_end(now);
  EXPECT_EQ(reflector.trouble(), Trouble::NotAcceptable);
}

TEST_F(ReflectorTest, MalformedAndRepeatedEventsEndTheConnectionAndChangeNothing) {
  begin();
  for (const std::string& bad : {std::string("{}\n"), fmt::format("{{\"type\":\"MODIFIED\",\"object\":{}}}\n", json_pod("n", "a", 10)), std::string("{\"type\":\"ADDED\",\"object\":{\"metadata\":{}}}\n")}) {
    reflector.on_data(bad, now);
    EXPECT_EQ(reflector.state(), State::Waiting);
    EXPECT_EQ(next(), "cancel");
    EXPECT_EQ(cache.revision(), 10U);
    wait();
    next();
    answer_list(10, "");
    next();
    respond(200);
    now += 200s;
  }
}

TEST_F(ReflectorTest, AListThatIsCutIsNotTakenForWhole) {
  reflector.start(now);
  next();
  respond(200);
  event("ADDED", json_pod("n", "a", 3));
  reflector.on_end(now);
  EXPECT_FALSE(cache.ready());
  wait();
  next();
  respond(200);
  event("ADDED", json_pod("n", "b", 4));
  bookmark(10, true);
  EXPECT_EQ(cache.size(), 1U);
}

TEST_F(ReflectorTest, SilenceWithinAListIsAFailure) {
  reflector.start(now);
  next();
  now = *reflector.deadline();
  reflector.on_timer(now);
  EXPECT_EQ(reflector.state(), State::Waiting);
  EXPECT_EQ(next(), "cancel");
}

TEST_F(ReflectorTest, APageThatIsTooLongIsAskedForInHalves) {
  Reflector small({.watch_list = false, .page_bytes_max = 1000}, cache);
  small.start(now);
  EXPECT_EQ(small.take_action()->target, "/api/v1/pods?limit=500");
  small.on_response(200, {}, now);
  small.on_data(std::string(1001, ' '), now);
  EXPECT_EQ(small.take_action()->kind, Reflector::Action::Kind::Cancel);
  EXPECT_EQ(small.take_action()->target, "/api/v1/pods?limit=250");
}

TEST(MetadataReflector, AsksForMetadataOfObjectsInWatchesAndOfListsInLists) {
  CacheKey key = pods();
  key.metadata_only = true;
  ResourceCache cache({.key = key});
  Reflector reflector({.seed = 1, .watch_list = false}, cache);
  reflector.start(1s);
  EXPECT_EQ(reflector.take_action()->accept, "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
  reflector.on_response(200, {{"content-type", "application/json"}}, 1s);
  reflector.on_data(R"({"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"10"},"items":[]})", 1s);
  reflector.on_end(1s);
  EXPECT_EQ(reflector.take_action()->accept, "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1");
  // A connection that broke: the probe is a list.
  reflector.on_failure("gone", 2s);
  reflector.on_timer(*reflector.deadline());
  EXPECT_EQ(reflector.take_action()->accept, "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
}

TEST_F(ReflectorTest, AnExpiredPageTokenMeansLargerPages) {
  Reflector paged({.watch_list = false}, cache);
  paged.start(now);
  paged.take_action();
  paged.on_response(410, {}, now);
  paged.on_end(now);
  EXPECT_EQ(paged.take_action()->target, "/api/v1/pods?limit=2000");
}

TEST_F(ReflectorTest, SelectorsAreInEveryRequest) {
  CacheKey key = pods();
  key.namespace_name = "x";
  key.label_selector = "a in (b,c)";
  ResourceCache selected({.key = key});
  Reflector one({}, selected);
  one.start(now);
  const std::string target = one.take_action()->target;
  EXPECT_TRUE(target.starts_with("/api/v1/namespaces/x/pods?"));
  EXPECT_TRUE(target.ends_with("&labelSelector=a%20in%20%28b%2Cc%29"));
}

}  // namespace
}  // namespace dormouse::watchcache
