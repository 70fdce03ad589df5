// SPDX-License-Identifier: Apache-2.0
#include "gateway/shared_cache.h"

#include <gtest/gtest.h>

#include <fcntl.h>

#include <deque>
#include <set>

#include <fmt/format.h>

#include "gateway/fake_upstream.h"
#include "gateway/routed_exchange.h"

namespace dormouse::gateway {
namespace {

using namespace std::chrono_literals;

std::string pod(int revision, std::string_view name = "a", std::string_view space = "ns", std::string_view more = "") {
  return fmt::format(R"({{"kind":"Pod","apiVersion":"v1","metadata":{{"name":"{}","namespace":"{}","uid":"u-{}","resourceVersion":"{}"{}}}}})", name, space, name, revision, more);
}
std::string event(std::string_view type, const std::string& object) { return fmt::format(R"({{"type":"{}","object":{}}})", type, object) + "\n"; }
std::string bookmark(int revision, bool end) {
  return event("BOOKMARK", fmt::format(R"({{"kind":"Pod","apiVersion":"v1","metadata":{{"resourceVersion":"{}"{}}}}})", revision, end ? R"(,"annotations":{"k8s.io/initial-events-end":"true"})" : ""));
}

struct Reading final : kube::ExchangeSink {
  int status = 0;
  kube::Headers headers;
  std::string text;
  bool ended = false, failed = false, take = true;
  std::size_t untaken = 0;
  std::unique_ptr<kube::Exchange> exchange;

  void on_response(int code, kube::Headers fields) override { status = code, headers = std::move(fields); }
  void on_data(std::span<const std::byte> bytes) override {
    text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (take) exchange->consumed(bytes.size());
    else untaken += bytes.size();
  }
  void on_end() override { ended = true, exchange.reset(); }
  void on_failure(const Error&, bool) override { failed = true, exchange.reset(); }
  void on_writable() override {}
};

struct SharedCacheTest : testing::Test {
  ManualClock clock;
  int null = ::open("/dev/null", O_WRONLY);
  Log log{{.fd = null}, clock};
  FakeUpstream upstream;
  std::optional<Nanoseconds> alarm;  // When the cache last asked to be called.
  std::vector<bool> told;            // Of data that begins and ends.
  std::unique_ptr<SharedCache> cache = std::make_unique<SharedCache>(clock, log, upstream, SharedCache::Options{.around_data = [this](bool begins) { told.push_back(begins); }, .wake_at = [this](Nanoseconds when) { alarm = when; }});
  std::vector<std::unique_ptr<FakeIdentity>> identities;
  std::deque<Reading> readings;
  // Who may do what: "NAME VERB"; everybody may everything that is not here.
  std::set<std::string> denied;
  std::size_t reviewed = 0;

  ~SharedCacheTest() override {
    for (Reading& reading : readings) reading.exchange.reset();
    cache.reset();
    ::close(null);
  }

  std::shared_ptr<ApiClient> client(std::string name, bool guest = true) {
    identities.push_back(std::make_unique<FakeIdentity>("token-of-" + name));
    auto made = std::make_shared<ApiClient>();
    made->name = std::move(name);
    made->identity = identities.back().get();
    made->lists_before_watching = made->may_sleep = guest;
    return made;
  }
  Reading& ask(const std::shared_ptr<ApiClient>& who, std::string target, std::string method = "GET") {
    Reading& reading = readings.emplace_back();
    reading.exchange = cache->start({.method = std::move(method), .target = std::move(target), .headers = {{"accept", "application/json"}}, .bearer = who->identity == nullptr ? std::nullopt : std::optional(*static_cast<FakeIdentity*>(who->identity)->token)}, who, reading);
    settle();
    return reading;
  }

  // Answers reviews, and lets everything happen that can happen now.
  void settle() {
    for (int i = 0; i < 10; ++i) {
      cache->on_timer();
      while (!silent && reviewed < upstream.calls.size()) {
        auto& call = upstream.calls[reviewed++];
        const std::string who = call.request.bearer->substr(std::string("token-of-").size());
        const std::size_t at = call.body.find(R"("verb":")") + 8;
        const std::string verb = call.body.substr(at, call.body.find('"', at) - at);
        const auto done = std::move(call.done);
        if (unreachable) done(fail(ErrorCode::Unavailable, "down"));
        else done(kube::Response{201, {}, fmt::format(R"({{"status":{{"allowed":{}}}}})", !denied.contains(who + " " + verb))});
      }
    }
  }
  void pass(Nanoseconds time) {
    clock.advance(time);
    settle();
  }
  // Streams to the API server whose target has this in it, and which are open.
  std::vector<FakeUpstream::Stream*> open(std::string_view part) {
    std::vector<FakeUpstream::Stream*> found;
    for (const auto& stream : upstream.streams) {
      if (stream->open() && stream->request.target.contains(part)) found.push_back(stream.get());
    }
    return found;
  }
  FakeUpstream::Stream* reflector() {
    const auto found = open("sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds");
    return found.empty() ? nullptr : found.back();
  }
  void come_up(int revision = 100, const std::string& objects = event("ADDED", pod(7))) {
    FakeUpstream::Stream* const stream = reflector();
    ASSERT_NE(stream, nullptr);
    stream->respond(200, {{"content-type", "application/json"}});
    stream->data(objects + bookmark(revision, true));
    settle();
  }
  bool unreachable = false, silent = false;  // The API server; the latter: reviews are not answered.
};

constexpr std::string_view kPods = "/api/v1/namespaces/ns/pods";
std::string watch_from(int revision) { return fmt::format("{}?watch=true&allowWatchBookmarks=true&resourceVersion={}", kPods, revision); }

TEST_F(SharedCacheTest, AnOperatorsListAndWatchCostOneUpstreamWatch) {
  const auto one = client("one");
  Reading& list = ask(one, std::string(kPods));
  ASSERT_EQ(upstream.streams.size(), 1U);
  EXPECT_EQ(upstream.streams[0]->request.bearer, "token-of-one");
  come_up();
  EXPECT_EQ(list.status, 200);
  EXPECT_TRUE(list.ended);
  EXPECT_TRUE(list.text.contains(R"("resourceVersion":"100")")) << list.text;
  EXPECT_TRUE(list.text.contains(R"("name":"a")"));
  Reading& watch = ask(one, watch_from(100));
  EXPECT_EQ(watch.status, 200);
  ASSERT_EQ(upstream.streams.size(), 1U);
  upstream.streams[0]->data(event("MODIFIED", pod(101)));
  EXPECT_EQ(watch.text, event("MODIFIED", pod(101)));
}

TEST_F(SharedCacheTest, ManyWatchersShareAStreamAndEachIsAskedForHisRights) {
  const auto one = client("one"), two = client("two");
  ask(one, std::string(kPods));
  come_up();
  Reading& first = ask(one, watch_from(100));
  Reading& second = ask(two, watch_from(100));
  upstream.streams[0]->data(event("ADDED", pod(101, "b")));
  EXPECT_EQ(first.text, second.text);
  EXPECT_FALSE(second.text.empty());
  EXPECT_EQ(upstream.open_streams(), 1U);
  EXPECT_TRUE(std::ranges::any_of(upstream.calls, [](const auto& call) { return call.request.bearer == "token-of-two" && call.body.contains(R"("verb":"watch")"); }));
}

TEST_F(SharedCacheTest, TellsOfWhatComesOnAWatchAndOfNothingElse) {
  const auto one = client("one");
  ask(one, std::string(kPods));
  come_up();
  Reading& watch = ask(one, watch_from(100));
  pass(20s);  // A review.
  EXPECT_TRUE(told.empty());
  upstream.streams[0]->data(event("ADDED", pod(101, "b")));
  EXPECT_EQ(told, (std::vector{true, false}));
  // Nobody is left whom it could wake.
  watch.exchange.reset();
  told.clear();
  upstream.streams[0]->data(event("ADDED", pod(102, "c")));
  EXPECT_TRUE(told.empty());
}

TEST_F(SharedCacheTest, WhoMayNotIsAnsweredByTheApiServerThoughAnotherHasItCached) {
  const auto one = client("one"), two = client("two");
  denied = {"two watch", "two list"};
  ask(one, std::string(kPods));
  come_up();
  ask(one, watch_from(100));
  Reading& refused = ask(two, watch_from(100));
  ASSERT_EQ(upstream.streams.size(), 2U);
  EXPECT_EQ(upstream.last().request.bearer, "token-of-two");
  upstream.streams[0]->data(event("ADDED", pod(101, "b")));
  EXPECT_EQ(refused.text, "");
  Reading& any = ask(two, std::string(kPods) + "?resourceVersion=0");
  EXPECT_EQ(upstream.streams.size(), 3U);
  EXPECT_EQ(any.text, "");
  EXPECT_EQ(cache->counters().forwarded[static_cast<std::size_t>(Forwarded::Denied)], 2U);
}

TEST_F(SharedCacheTest, WhenRightsCannotBeLearnedNothingIsServed) {
  const auto one = client("one"), two = client("two");
  ask(one, std::string(kPods));
  come_up();
  unreachable = true;
  Reading& reading = ask(two, std::string(kPods) + "?resourceVersion=0");
  EXPECT_EQ(reading.text, "");
  EXPECT_EQ(upstream.last().request.bearer, "token-of-two");
}

TEST_F(SharedCacheTest, AGuestIsNotWokenForTheEndOfAWatchUnlessItWantsIt) {
  const auto guest = client("guest"), native = client("native", false);
  ask(guest, std::string(kPods));
  come_up();
  Reading& patient = ask(guest, watch_from(100) + "&timeoutSeconds=300");
  Reading& kube_rs = ask(guest, watch_from(100) + "&timeoutSeconds=290");
  Reading& outside = ask(native, watch_from(100) + "&timeoutSeconds=300");
  upstream.streams[0]->data(bookmark(105, false));
  pass(291s);
  EXPECT_TRUE(kube_rs.ended);
  EXPECT_TRUE(kube_rs.text.ends_with(bookmark(105, false))) << kube_rs.text;
  EXPECT_FALSE(outside.ended);
  pass(10s);
  EXPECT_TRUE(outside.ended);
  EXPECT_FALSE(patient.ended);
  EXPECT_EQ(patient.text, "");
  // Once there is something to wake for, the end comes with it.
  ASSERT_TRUE(upstream.streams[0]->open());
  upstream.streams[0]->data(event("ADDED", pod(110, "b")));
  settle();
  EXPECT_TRUE(patient.text.contains(R"("name":"b")")) << patient.text;
  EXPECT_TRUE(patient.ended);
}

TEST_F(SharedCacheTest, RevokedRightsEndAnOpenWatchWithinThirtySeconds) {
  const auto one = client("one"), two = client("two");
  ask(one, std::string(kPods));
  come_up();
  Reading& first = ask(one, watch_from(100));
  Reading& second = ask(two, watch_from(100));
  denied = {"two watch"};
  for (int i = 0; i < 28; ++i) pass(1s);
  EXPECT_TRUE(second.ended);
  EXPECT_FALSE(first.ended);
  upstream.streams[0]->data(event("ADDED", pod(101, "b")));
  EXPECT_FALSE(second.text.contains("\"b\""));
  EXPECT_EQ(cache->counters().revoked, 1U);
}

TEST_F(SharedCacheTest, ADenialThatIsNotSaidAgainEndsNothing) {
  const auto one = client("one");
  ask(one, std::string(kPods));
  come_up();
  Reading& watch = ask(one, watch_from(100));
  denied = {"one watch", "one list"};
  pass(15s);
  denied.clear();
  pass(12s);
  pass(15s);
  EXPECT_FALSE(watch.ended);
  EXPECT_EQ(upstream.open_streams(), 1U);
}

TEST_F(SharedCacheTest, RightsThatAreDueAtNearlyTheSameTimeAreAskedForTogether) {
  const auto one = client("one"), two = client("two"), three = client("three");
  ask(one, std::string(kPods));
  come_up();
  ask(one, watch_from(100));
  pass(1s);
  ask(two, watch_from(100));
  pass(3s);
  ask(three, watch_from(100));
  const std::size_t before = upstream.calls.size();
  pass(11s);  // 15 s after the first, 14 after the second, 11 after the third.
  EXPECT_EQ(upstream.calls.size(), before + 2);
  pass(4s);
  EXPECT_EQ(upstream.calls.size(), before + 3);
  pass(11s);
  EXPECT_EQ(upstream.calls.size(), before + 5) << "and they stay together";
}

TEST_F(SharedCacheTest, AReviewThatIsNotAnsweredKeepsNobodyBusyAndIsOneAnswer) {
  const auto one = client("one");
  ask(one, std::string(kPods));
  come_up();
  Reading& watch = ask(one, watch_from(100));
  silent = true;
  for (int i = 0; i < 46; ++i) {
    pass(1s);
    ASSERT_GT(alarm, clock.monotonic()) << i;
  }
  // What was asked three times meanwhile is denied once.
  denied = {"one watch", "one list"};
  silent = false;
  settle();
  EXPECT_FALSE(watch.ended);
  pass(11s);
  EXPECT_FALSE(watch.ended);
  pass(1s);
  EXPECT_TRUE(watch.ended);
}

TEST_F(SharedCacheTest, ADonorThatIsDeniedForLongerThanAStartOfTheApiServerGivesWay) {
  const auto one = client("one"), two = client("two");
  ask(one, std::string(kPods));
  come_up();
  Reading& first = ask(one, watch_from(100));
  Reading& second = ask(two, watch_from(100));
  upstream.streams[0]->fail();
  // Each request with the first one's token is refused.
  for (int i = 0; i < 60 && upstream.last().request.bearer == "token-of-one"; ++i) {
    if (upstream.last().open()) {
      upstream.last().respond(403, {{"content-type", "application/json"}});
      upstream.last().end();
    }
    pass(1s);
  }
  EXPECT_EQ(upstream.last().request.bearer, "token-of-two");
  EXPECT_FALSE(first.ended);
  EXPECT_FALSE(second.ended);
}

TEST_F(SharedCacheTest, AnUnreachableApiServerEndsWatchesOnlyWhenTheLastYesIsFiveMinutesOld) {
  const auto one = client("one");
  ask(one, std::string(kPods));
  come_up();
  Reading& watch = ask(one, watch_from(100));
  unreachable = true;
  for (int i = 0; i < 13; ++i) pass(20s);
  EXPECT_FALSE(watch.ended);
  for (int i = 0; i < 3; ++i) pass(20s);
  EXPECT_TRUE(watch.ended);
}

TEST_F(SharedCacheTest, TheUpstreamWatchMovesToAnothersTokenWhenItsDonorLeaves) {
  const auto one = client("one"), two = client("two");
  ask(one, std::string(kPods));
  come_up();
  Reading& first = ask(one, watch_from(100));
  Reading& second = ask(two, watch_from(100));
  first.exchange.reset();
  settle();
  ASSERT_EQ(upstream.open_streams(), 1U);
  EXPECT_EQ(upstream.last().request.bearer, "token-of-two");
  EXPECT_TRUE(upstream.last().request.target.contains("resourceVersion=100"));
  upstream.last().respond(200, {{"content-type", "application/json"}});
  upstream.last().data(event("ADDED", pod(101, "b")));
  EXPECT_TRUE(second.text.contains("\"b\""));
}

TEST_F(SharedCacheTest, WhenNobodyIsLeftWhoMayKeepItStreamsEndCleanly) {
  const auto one = client("one"), two = client("two");
  denied = {"two list"};
  ask(one, std::string(kPods));
  come_up();
  Reading& first = ask(one, watch_from(100));
  Reading& second = ask(two, watch_from(100));
  EXPECT_EQ(second.status, 200);
  first.exchange.reset();
  settle();
  EXPECT_TRUE(second.ended);
  EXPECT_EQ(upstream.open_streams(), 0U);
}

TEST_F(SharedCacheTest, AGoneClientsTokenIsNotUsedAgain) {
  const auto one = client("one");
  ask(one, std::string(kPods));
  come_up();
  Reading& watch = ask(one, watch_from(100));
  watch.exchange.reset();
  cache->client_gone(*one);
  settle();
  upstream.streams[0]->fail();
  pass(10s);
  EXPECT_EQ(upstream.open_streams(), 0U);
  EXPECT_EQ(upstream.streams.size(), 1U);
}

TEST_F(SharedCacheTest, AnEntryOutlivesItsLastWatcherByAMinuteAndSecretsNotAtAll) {
  const auto one = client("one");
  ask(one, std::string(kPods));
  come_up();
  Reading& watch = ask(one, watch_from(100));
  watch.exchange.reset();
  pass(59s);
  EXPECT_EQ(upstream.open_streams(), 1U);
  pass(2s);
  EXPECT_EQ(upstream.open_streams(), 0U);

  Reading& secrets = ask(one, "/api/v1/secrets?watch=true&resourceVersion=5");
  EXPECT_EQ(cache->status().size(), 1U);
  secrets.exchange.reset();
  settle();
  EXPECT_EQ(cache->status().size(), 0U);
  EXPECT_EQ(upstream.open_streams(), 0U);
}

TEST_F(SharedCacheTest, ANarrowerWatchIsServedFromABroaderEntryOnlyWithWhatItSelects) {
  const auto one = client("one"), two = client("two");
  ask(one, "/api/v1/pods");
  come_up();
  ask(one, "/api/v1/pods?watch=true&resourceVersion=100");
  Reading& narrow = ask(two, watch_from(100) + "&labelSelector=app%3Dx");
  EXPECT_EQ(upstream.open_streams(), 1U);
  upstream.streams[0]->data(event("ADDED", pod(101, "b", "ns", R"(,"labels":{"app":"x"})")) + event("ADDED", pod(102, "c", "ns")) + event("ADDED", pod(103, "d", "other", R"(,"labels":{"app":"x"})")));
  EXPECT_TRUE(narrow.text.contains("\"b\""));
  EXPECT_FALSE(narrow.text.contains("\"c\""));
  EXPECT_FALSE(narrow.text.contains("\"d\""));
  EXPECT_TRUE(std::ranges::any_of(upstream.calls, [](const auto& call) {
    return call.request.bearer == "token-of-two" && call.body.contains(R"("namespace":"ns")") && call.body.contains(R"("labelSelector":{"rawSelector":"app=x"})");
  }));
}

TEST_F(SharedCacheTest, ANewestStateOfAWarmEntryComesFromTheApiServerAndGoesOnFromTheCache) {
  const auto one = client("one"), two = client("two");
  ask(one, std::string(kPods));
  come_up();
  ask(one, watch_from(100));
  Reading& fresh = ask(two, std::string(kPods) + "?watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan");
  ASSERT_EQ(upstream.open_streams(), 2U);
  EXPECT_EQ(upstream.last().request.bearer, "token-of-two");
  upstream.last().respond(200, {{"content-type", "application/json"}});
  // Two objects, the bookmark, and the beginning of an event that the cache will deliver.
  const std::string state = event("ADDED", pod(7)) + event("ADDED", pod(120, "b")) + bookmark(130, true);
  upstream.last().data(state + R"({"type":"ADDED","obj)");
  EXPECT_EQ(fresh.text, state);
  EXPECT_EQ(upstream.open_streams(), 1U);
  // The cache is behind: what has gone through already is not delivered again.
  upstream.streams[0]->data(event("ADDED", pod(120, "b")) + event("ADDED", pod(131, "c")));
  EXPECT_EQ(fresh.text, state + event("ADDED", pod(131, "c")));
  EXPECT_EQ(cache->counters().joined, 1U);
}

TEST_F(SharedCacheTest, AWatchFromBeforeTheLogIsRelayedUntilTheCacheCanGoOn) {
  const auto one = client("one");
  Reading& watch = ask(one, watch_from(50));
  // Its own stream at once, and the entry's beside.
  ASSERT_EQ(upstream.open_streams(), 2U);
  come_up(100);
  FakeUpstream::Stream* const own = open("resourceVersion=50").at(0);
  own->respond(200, {{"content-type", "application/json"}});
  own->data(event("ADDED", pod(60, "x")));
  EXPECT_EQ(upstream.open_streams(), 2U);
  own->data(bookmark(100, false).substr(0, 20));
  own->data(bookmark(100, false).substr(20));
  EXPECT_EQ(upstream.open_streams(), 1U);
  upstream.streams[0]->open() ? upstream.streams[0]->data(event("ADDED", pod(101, "b"))) : upstream.streams[1]->data(event("ADDED", pod(101, "b")));
  EXPECT_EQ(watch.text, event("ADDED", pod(60, "x")) + bookmark(100, false) + event("ADDED", pod(101, "b")));
}

TEST_F(SharedCacheTest, ARelayThatTheApiServerRefusesIsPassedOnAsItIs) {
  const auto one = client("one");
  Reading& watch = ask(one, watch_from(50));
  come_up(100);
  FakeUpstream::Stream* const own = open("resourceVersion=50").at(0);
  own->respond(200, {{"content-type", "application/json"}});
  const std::string gone = event("ERROR", R"({"kind":"Status","apiVersion":"v1","code":410,"reason":"Expired"})");
  own->data(gone);
  own->end();
  EXPECT_EQ(watch.text, gone);
  EXPECT_TRUE(watch.ended);
}

TEST_F(SharedCacheTest, WhatAClientHasWrittenItNeverReadsOlder) {
  const auto one = client("one");
  ask(one, std::string(kPods));
  come_up();
  ask(one, watch_from(100));
  Reading& write = ask(one, std::string(kPods), "POST");
  FakeUpstream::Stream& upstream_write = upstream.last();
  // While it is under way, and until the cache has it, the API server answers.
  ask(one, std::string(kPods) + "?resourceVersion=0");
  EXPECT_EQ(upstream.open_streams(), 3U);
  upstream_write.respond(201, {{"content-type", "application/json"}});
  upstream_write.data(pod(150, "new") + "\n");
  upstream_write.end();
  EXPECT_TRUE(write.ended);
  Reading& waits = ask(one, std::string(kPods) + "?resourceVersion=0");
  EXPECT_EQ(waits.status, 0);
  EXPECT_EQ(cache->counters().forwarded[static_cast<std::size_t>(Forwarded::Older)], 1U);
  upstream.streams[0]->data(event("ADDED", pod(150, "new")));
  EXPECT_TRUE(waits.text.contains("\"new\""));
  Reading& after = ask(one, std::string(kPods) + "?resourceVersion=0");
  EXPECT_EQ(upstream.open_streams(), 2U);
  EXPECT_TRUE(after.text.contains("\"new\""));
}

TEST_F(SharedCacheTest, WhatIsCompressedWhenMemoryIsShortIsReadAsItWas) {
  const auto one = client("one");
  ask(one, std::string(kPods));
  come_up();
  ask(one, watch_from(100));
  const std::string big = pod(150, "big", "ns", R"(,"annotations":{"a":")" + std::string(10'000, 'x') + "\"}");
  upstream.streams[0]->data(event("ADDED", big));
  EXPECT_EQ(cache->compress_cold(0), 0U);
  EXPECT_GT(cache->compress_cold(~std::uint64_t{0}), 9'000U);
  EXPECT_EQ(cache->compress_cold(~std::uint64_t{0}), 0U);
  EXPECT_GT(cache->status().at(0).cache.compressed_bytes, 0U);
  EXPECT_TRUE(ask(one, std::string(kPods) + "?resourceVersion=0").text.contains(std::string(10'000, 'x')));
}

TEST_F(SharedCacheTest, ATypeThatIsGoneIsForwardedSoThatTheApiServerSaysSo) {
  const auto one = client("one");
  Reading& list = ask(one, "/apis/x.example.com/v1/things");
  reflector()->respond(404, {{"content-type", "text/plain"}});
  reflector()->end();
  settle();
  EXPECT_EQ(upstream.last().request.target, "/apis/x.example.com/v1/things");
  upstream.last().respond(404);
  EXPECT_EQ(list.status, 404);
  EXPECT_EQ(cache->status().size(), 0U);
}

TEST_F(SharedCacheTest, AnEntryThatDoesNotComeUpHoldsNobodyUpForLong) {
  const auto one = client("one");
  Reading& list = ask(one, std::string(kPods));
  pass(2s);
  EXPECT_EQ(upstream.streams.size(), 1U);
  pass(1s);
  ASSERT_EQ(upstream.streams.size(), 2U);
  upstream.last().respond(200);
  EXPECT_EQ(list.status, 200);
}

TEST_F(SharedCacheTest, ANativeClientsListBeginsNothingAndAWatchDoes) {
  const auto one = client("one", false);
  ask(one, std::string(kPods));
  EXPECT_EQ(upstream.streams.size(), 1U);
  EXPECT_EQ(upstream.last().request.target, kPods);
  EXPECT_EQ(cache->status().size(), 0U);
  ask(one, watch_from(100));
  EXPECT_EQ(cache->status().size(), 1U);
}

TEST_F(SharedCacheTest, AReaderThatTakesNothingIsGivenAWindowAndNoMore) {
  const auto one = client("one");
  ask(one, std::string(kPods));
  come_up(100, "");
  Reading& watch = ask(one, watch_from(100));
  watch.take = false;
  for (int i = 0; i < 3000; ++i) upstream.streams[0]->data(event("ADDED", pod(101 + i, fmt::format("pod-{:04}", i))));
  EXPECT_EQ(watch.text.size(), RoutedExchange::kWindowBytes);
  watch.take = true;
  while (watch.untaken > 0) {
    watch.exchange->consumed(std::exchange(watch.untaken, 0));
    settle();
  }
  EXPECT_TRUE(watch.text.ends_with(event("ADDED", pod(3100, "pod-2999"))));
}

}  // namespace
}  // namespace dormouse::gateway
