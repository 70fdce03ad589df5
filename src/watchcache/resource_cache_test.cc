// SPDX-License-Identifier: Apache-2.0
#include "watchcache/resource_cache.h"

#include <gtest/gtest.h>

#include "watchcache/frames.h"
#include "watchcache/test_support.h"

namespace dormouse::watchcache {
namespace {

using namespace std::chrono_literals;
using testing::drain;
using testing::json_pod;
using testing::Listener;
using testing::make;
using testing::pods;
using testing::protobuf_pod;
using Pending = Watch::Pending;

constexpr std::string_view kWeb = R"("app":"web")";

std::string event(std::string_view type, std::string_view object) { return fmt::format("{{\"type\":\"{}\",\"object\":{}}}\n", type, object); }
std::string bookmark(Revision revision, bool end = false) {
  return fmt::format("{{\"type\":\"BOOKMARK\",\"object\":{{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{{\"resourceVersion\":\"{}\"{}}}}}}}\n", revision,
                     end ? R"(,"annotations":{"k8s.io/initial-events-end":"true"})" : "");
}
bool is_expired(std::string_view text) { return text.starts_with(R"({"type":"ERROR")") && text.find(R"("reason":"Expired")") != std::string_view::npos && text.find(R"("code":410)") != std::string_view::npos; }

class ResourceCacheTest : public ::testing::Test {
 protected:
  ResourceCacheTest() { cache.learn_type("Pod", "v1"); }
  void begin(std::vector<std::string> objects, Revision revision) { cache.replace(all(std::move(objects)), revision); }
  std::vector<ObjectPtr> all(std::vector<std::string> objects) {
    std::vector<ObjectPtr> made;
    for (const std::string& object : objects) made.push_back(make(cache, object));
    return made;
  }
  void put(const std::string& object) { ASSERT_TRUE(cache.put(make(cache, object))); }
  void remove(const std::string& object) { ASSERT_TRUE(cache.remove(make(cache, object))); }
  std::unique_ptr<Watch> watch(std::optional<Revision> from, std::string_view selector = "", bool bookmarks = false) {
    return cache.watch({.selection = {.labels = *LabelSelector::parse(selector)}, .from = from, .bookmarks = bookmarks}, 0s, listener);
  }
  std::unique_ptr<Watch> watch_list(bool bookmarks = true) { return cache.watch({.initial_events = true, .bookmarks = bookmarks, .timeout_seconds = 600}, 0s, listener); }

  ResourceCache cache{{.key = pods(), .log_events_max = 4}};
  Listener listener;
};

TEST_F(ResourceCacheTest, AWatchGetsWhatComesAfterItsRevisionAndNothingTwice) {
  begin({json_pod("n", "a", 3)}, 10);
  put(json_pod("n", "a", 11));
  const auto from_list = watch(10), from_now = watch(11), from_later = watch(12);
  EXPECT_EQ(drain(*from_list), event("MODIFIED", json_pod("n", "a", 11)));
  EXPECT_EQ(drain(*from_now), "");
  put(json_pod("n", "b", 12));
  remove(json_pod("n", "a", 13));
  EXPECT_EQ(drain(*from_now), event("ADDED", json_pod("n", "b", 12)) + event("DELETED", json_pod("n", "a", 13)));
  EXPECT_EQ(drain(*from_later), event("DELETED", json_pod("n", "a", 13)));
}

TEST_F(ResourceCacheTest, ARevisionThatIsNotHeldGets410AsAnEvent) {
  begin({}, 10);
  const auto before = watch(9);
  EXPECT_EQ(before->pending(), Pending::Event);
  EXPECT_TRUE(is_expired(drain(*before)));
  EXPECT_TRUE(before->over());
  for (Revision r = 11; r <= 16; ++r) put(json_pod("n", "a", r));
  EXPECT_TRUE(is_expired(drain(*watch(11))));
  EXPECT_EQ(drain(*watch(12)).find("ERROR"), std::string::npos);
}

TEST_F(ResourceCacheTest, WhoDoesNotReadEndsWith410AndCostsNobodyElse) {
  begin({}, 10);
  const auto slow = watch(10), quick = watch(10);
  for (Revision r = 11; r <= 15; ++r) {
    put(json_pod("n", "a", r));
    EXPECT_FALSE(drain(*quick).empty());
  }
  EXPECT_TRUE(is_expired(drain(*slow)));
  EXPECT_TRUE(slow->over());
  EXPECT_FALSE(quick->over());
  EXPECT_EQ(cache.counters().expired_slow, 1U);
}

TEST_F(ResourceCacheTest, AnEventHalfReadIsReadToItsEndBeforeTheEnd) {
  begin({}, 10);
  const auto slow = watch(10);
  put(json_pod("n", "a", 11));
  std::string text(20, '\0');
  ASSERT_EQ(slow->read(text), 20U);
  EXPECT_FALSE(slow->at_boundary());
  cache.reset(nullptr);
  text += drain(*slow);
  EXPECT_EQ(text, event("ADDED", json_pod("n", "a", 11)));
  EXPECT_TRUE(slow->over());
}

TEST_F(ResourceCacheTest, EnteringASelectionIsAddedAndLeavingIsDeletedWithTheFormerStateAtTheNewRevision) {
  begin({json_pod("n", "a", 3, kWeb), json_pod("n", "b", 4)}, 10);
  const auto web = watch(10, "app=web");
  put(json_pod("n", "b", 11, kWeb));
  put(json_pod("n", "a", 12, R"("app":"db")"));
  put(json_pod("n", "a", 13, R"("app":"db2")"));
  EXPECT_EQ(drain(*web), event("ADDED", json_pod("n", "b", 11, kWeb)) + event("DELETED", json_pod("n", "a", 12, kWeb)));
  remove(json_pod("n", "a", 14, R"("app":"db2")"));
  EXPECT_EQ(drain(*web), "");
}

TEST_F(ResourceCacheTest, AnEventOutsideOfTheSelectionWakesNobody) {
  begin({}, 10);
  const auto web = watch(10, "app=web");
  for (Revision r = 11; r < 40; ++r) put(json_pod("n", "a", r));
  EXPECT_TRUE(listener.told.empty());
  put(json_pod("n", "b", 40, kWeb));
  EXPECT_EQ(listener.told, std::vector{Pending::Event});
  EXPECT_EQ(drain(*web), event("ADDED", json_pod("n", "b", 40, kWeb)));
}

TEST_F(ResourceCacheTest, InitialEventsAreSortedByKeyAndEndWithTheBookmark) {
  begin({json_pod("n", "b", 4), json_pod("n-1", "a", 3), json_pod("n", "a", 5)}, 10);
  const auto reader = watch_list();
  put(json_pod("n", "a", 11));
  EXPECT_EQ(drain(*reader), event("ADDED", json_pod("n-1", "a", 3)) + event("ADDED", json_pod("n", "a", 5)) + event("ADDED", json_pod("n", "b", 4)) + bookmark(10, true) +
                                event("MODIFIED", json_pod("n", "a", 11)));
  EXPECT_EQ(drain(*watch_list(false)).find("BOOKMARK"), std::string::npos);
}

TEST_F(ResourceCacheTest, BookmarksComeEachMinuteAndAreTrueWhenTheyAreRead) {
  begin({}, 10);
  const auto reader = watch_list();
  drain(*reader);
  ASSERT_TRUE(cache.progress(20));
  ASSERT_EQ(cache.deadline(), Nanoseconds(60s));
  cache.on_timer(60s);
  EXPECT_EQ(listener.told.back(), Pending::Bookmark);
  ASSERT_TRUE(cache.progress(30));
  EXPECT_EQ(drain(*reader), bookmark(30));
  EXPECT_EQ(drain(*reader), "");
  EXPECT_EQ(cache.deadline(), Nanoseconds(120s));
  // One that has not read its events gets no bookmark ahead of them.
  put(json_pod("n", "a", 31));
  cache.on_timer(120s);
  put(json_pod("n", "a", 32));
  EXPECT_EQ(drain(*reader), event("ADDED", json_pod("n", "a", 31)) + event("MODIFIED", json_pod("n", "a", 32)) + bookmark(32));
}

TEST_F(ResourceCacheTest, ABookmarkReadFromWithinACallbackIsNotAheadOfTheEventBehindIt) {
  begin({}, 10);
  const auto first = watch(10), second = watch(10, "", true);
  cache.on_timer(60s);
  struct Reader final : Watch::Listener {
    Watch* other = nullptr;
    std::string text;
    void on_watch_pending(Watch&, Pending) override { if (other != nullptr) text += drain(*other); }
  } reader;
  const auto nosy = cache.watch({.from = 10}, 0s, reader);
  ASSERT_TRUE(cache.progress(11));
  cache.on_timer(121s);
  const auto last = cache.watch({.from = 11, .bookmarks = true}, 0s, listener);
  reader.other = last.get();
  cache.on_timer(200s);
  put(json_pod("n", "a", 12));
  EXPECT_TRUE(reader.text.starts_with(event("ADDED", json_pod("n", "a", 12)))) << reader.text;
}

TEST_F(ResourceCacheTest, NoBookmarkIsAtOrBelowTheRevisionThatAWatchBeganWith) {
  begin({}, 10);
  const auto reader = watch(15, "", true);
  cache.on_timer(60s);
  EXPECT_EQ(drain(*reader), "");
  ASSERT_TRUE(cache.progress(16));
  cache.on_timer(120s);
  EXPECT_EQ(drain(*reader), bookmark(16));
}

TEST_F(ResourceCacheTest, ATimeoutEndsTheStreamAfterALastBookmark) {
  begin({}, 10);
  const auto reader = cache.watch({.from = 10, .bookmarks = true, .timeout_seconds = 30}, 0s, listener);
  ASSERT_TRUE(cache.progress(12));
  cache.on_timer(28s);
  EXPECT_EQ(listener.told, std::vector{Pending::Bookmark});
  cache.on_timer(30s);
  EXPECT_EQ(listener.told.back(), Pending::TimedOut);
  EXPECT_FALSE(reader->over());
  EXPECT_EQ(drain(*reader), bookmark(12));
  EXPECT_TRUE(reader->over());
  const auto plain = cache.watch({.from = 12, .timeout_seconds = 5}, 30s, listener);
  put(json_pod("n", "a", 13));
  cache.on_timer(35s);
  EXPECT_EQ(drain(*plain), event("ADDED", json_pod("n", "a", 13)));
  EXPECT_TRUE(plain->over());
}

TEST_F(ResourceCacheTest, WithoutATimeoutAWatchLivesForHalfAnHourToAnHour) {
  begin({}, 10);
  const auto reader = watch(10);
  EXPECT_GE(*cache.deadline(), Nanoseconds(1800s));
  EXPECT_LE(*cache.deadline(), Nanoseconds(3600s));
}

TEST_F(ResourceCacheTest, ARelistTellsWhatHasChangedAtItsOwnRevisionsInTheirOrder) {
  begin({json_pod("n", "a", 3), json_pod("n", "b", 4)}, 10);
  const auto reader = watch(10), before = watch(10);
  cache.replace(all({json_pod("n", "a", 15), json_pod("n", "b", 4), json_pod("n", "c", 12)}), 20);
  EXPECT_EQ(drain(*reader), event("ADDED", json_pod("n", "c", 12)) + event("MODIFIED", json_pod("n", "a", 15)));
  put(json_pod("n", "b", 21));
  EXPECT_EQ(drain(*reader), event("MODIFIED", json_pod("n", "b", 21)));
  // Who held a revision from before goes on; who would begin in between may have seen what nobody here has.
  EXPECT_EQ(drain(*watch(10)), drain(*before));
  EXPECT_TRUE(is_expired(drain(*watch(15))));
  EXPECT_EQ(drain(*watch(20)), event("MODIFIED", json_pod("n", "b", 21)));
}

TEST_F(ResourceCacheTest, ARelistThatMissesAnObjectEndsThoseWhoHadIt) {
  begin({json_pod("n", "a", 3, kWeb), json_pod("n", "b", 4)}, 10);
  const auto web = watch(10, "app=web"), other = watch(10, "app!=web"), future = watch(15);
  cache.replace(all({json_pod("n", "b", 12)}), 20);
  EXPECT_TRUE(is_expired(drain(*web)));
  EXPECT_EQ(drain(*other), event("MODIFIED", json_pod("n", "b", 12)));
  EXPECT_FALSE(other->over());
  EXPECT_TRUE(is_expired(drain(*future)));
}

TEST_F(ResourceCacheTest, AnObjectReplacedUnseenEndsThoseWhoHadTheOldOne) {
  begin({json_pod("n", "a", 3, kWeb, "u1")}, 10);
  const auto web = watch(10, "app=web"), other = watch(10, "app!=web");
  cache.replace(all({json_pod("n", "a", 12, R"("app":"db")", "u2")}), 20);
  EXPECT_TRUE(is_expired(drain(*web)));
  EXPECT_EQ(drain(*other), event("ADDED", json_pod("n", "a", 12, R"("app":"db")", "u2")));
}

TEST_F(ResourceCacheTest, AListThatContradictsWhatWasKnownEndsEverybody) {
  begin({json_pod("n", "a", 3)}, 10);
  const auto reader = watch(10);
  cache.replace(all({json_pod("n", "a", 2)}), 8);
  EXPECT_TRUE(is_expired(drain(*reader)));
  EXPECT_EQ(cache.revision(), 8U);
  const auto second = watch(8);
  cache.replace(all({json_pod("n", "a", 2), json_pod("n", "b", 5)}), 12);
  EXPECT_TRUE(is_expired(drain(*second)));
}

TEST_F(ResourceCacheTest, TheStreamNeitherRepeatsNorGoesBack) {
  begin({json_pod("n", "a", 3)}, 10);
  put(json_pod("n", "a", 11));
  EXPECT_FALSE(cache.put(make(cache, json_pod("n", "a", 11))));
  EXPECT_FALSE(cache.put(make(cache, json_pod("n", "b", 7))));
  EXPECT_FALSE(cache.remove(make(cache, json_pod("n", "a", 11))));
  EXPECT_FALSE(cache.progress(10));
  EXPECT_TRUE(cache.progress(11));
  EXPECT_EQ(cache.size(), 1U);
}

TEST_F(ResourceCacheTest, AListIsTheStoredBytesAndAnImmutableSnapshot) {
  begin({json_pod("n", "b", 4, "", "u", false), json_pod("m", "a", 3)}, 10);
  const auto list = cache.list({}), one = cache.list({.selection = {.namespace_name = "m"}});
  const std::uint64_t size = list->size();
  put(json_pod("n", "b", 11));
  const std::string text = drain(*list);
  EXPECT_EQ(text, fmt::format("{{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\":{{\"resourceVersion\":\"10\"}},\"items\":[{},{}]}}\n", json_pod("m", "a", 3, "", "u", false),
                              json_pod("n", "b", 4, "", "u", false)));
  EXPECT_EQ(text.size(), size);
  EXPECT_EQ(one->size(), drain(*one).size());
  auto pruned = cache.list({.prune_managed_fields = true});
  const std::uint64_t pruned_size = pruned->size();
  const std::string without = drain(*pruned);
  EXPECT_EQ(without.find("managedFields"), std::string::npos);
  EXPECT_EQ(without.size(), pruned_size);
  EXPECT_TRUE(cache.fits({}, 2));
  EXPECT_FALSE(cache.fits({}, 1));
  EXPECT_EQ(cache.encode(*cache.find("n", "b"), false), json_pod("n", "b", 11) + "\n");
  EXPECT_EQ(cache.find("n", "x"), nullptr);
}

TEST_F(ResourceCacheTest, ItemsOfCustomResourcesKeepTheirType) {
  begin({R"({"apiVersion":"x.io/v1","kind":"Foo","metadata":{"name":"a","resourceVersion":"3"}})"}, 10);
  EXPECT_NE(drain(*cache.list({})).find(R"([{"apiVersion":"x.io/v1","kind":"Foo","metadata")"), std::string::npos);
}

TEST_F(ResourceCacheTest, ColdObjectsShrinkAndReadersSeeNoDifference) {
  std::vector<std::string> objects;
  for (int i = 0; i < 50; ++i) objects.push_back(json_pod("n", fmt::format("p{:02}", i), static_cast<Revision>(i + 1), "", "u", true, std::string(5'000, 'x')));
  begin(objects, 100);
  const std::string before = drain(*cache.list({}));
  const auto reading = cache.list({});
  std::string text(300, '\0');
  reading->read(text);
  const std::uint64_t freed = cache.compress_cold(~0ULL);
  EXPECT_GT(freed, 45U * 5'000);
  EXPECT_EQ(drain(*cache.list({})), before);
  EXPECT_EQ(text + drain(*reading), before);
  EXPECT_EQ(drain(*watch_list()).substr(0, 20), event("ADDED", "{}").substr(0, 20));
}

TEST_F(ResourceCacheTest, AWaitEndsWithItsRevisionOrItsTime) {
  begin({}, 10);
  std::vector<std::string> told;
  const auto early = cache.wait_for(12, 3s, [&](bool fresh) { told.push_back(fresh ? "early" : "early late"); });
  const auto late = cache.wait_for(20, 3s, [&](bool fresh) { told.push_back(fresh ? "late" : "late late"); });
  auto gone = cache.wait_for(11, 3s, [&](bool) { told.push_back("gone"); });
  gone.reset();
  ASSERT_TRUE(cache.progress(12));
  EXPECT_EQ(told, std::vector<std::string>{"early"});
  EXPECT_EQ(cache.deadline(), Nanoseconds(3s));
  cache.on_timer(3s);
  EXPECT_EQ(told.back(), "late late");
}

TEST_F(ResourceCacheTest, AResetEndsEveryStreamAndIsForgotten) {
  begin({json_pod("n", "a", 3)}, 10);
  const auto initial = watch_list(), idle = watch(10);
  cache.reset(nullptr);
  EXPECT_EQ(drain(*initial), "");
  EXPECT_TRUE(initial->over());
  EXPECT_TRUE(idle->over());
  EXPECT_FALSE(cache.ready());
  EXPECT_EQ(cache.counters().objects, 0U);
  EXPECT_FALSE(cache.deadline().has_value());
}

TEST_F(ResourceCacheTest, AListenerMayDestroyAnyWatch) {
  begin({}, 10);
  struct Killer final : Watch::Listener {
    std::vector<std::unique_ptr<Watch>> watches;
    void on_watch_pending(Watch&, Pending) override { watches.clear(); }
  } killer;
  for (int i = 0; i < 5; ++i) killer.watches.push_back(cache.watch({.from = 10, .bookmarks = true}, 0s, killer));
  put(json_pod("n", "a", 11));
  EXPECT_EQ(cache.counters().watches_open, 0U);
  for (int i = 0; i < 5; ++i) killer.watches.push_back(cache.watch({.from = 11}, 0s, killer));
  cache.reset(nullptr);
  EXPECT_EQ(cache.counters().watches_open, 0U);
}

TEST(ProtobufCache, StreamsFramesThatReadAsTheApiServers) {
  ResourceCache cache({.key = pods(Encoding::Protobuf)});
  cache.learn_type("Pod", "v1");
  Listener listener;
  cache.replace({make(cache, protobuf_pod("n", "a", 3, {{"app", "web"}}))}, 10);
  const auto reader = cache.watch({.selection = {.labels = *LabelSelector::parse("app=web")}, .initial_events = true, .bookmarks = true}, 0s, listener);
  ASSERT_TRUE(cache.put(make(cache, protobuf_pod("n", "a", 11))));
  WatchDecoder decoder(Encoding::Protobuf);
  std::string text = drain(*reader);
  cache.reset(nullptr);
  const auto failed = cache.failed_watch(too_large_revision(5, 2), listener);
  text += drain(*failed);
  decoder.feed(text);
  auto event = decoder.next();
  EXPECT_EQ((*event)->type, WatchEvent::Type::Added);
  EXPECT_EQ((*event)->kind, "Pod");
  EXPECT_EQ((*event)->object, protobuf_pod("n", "a", 3, {{"app", "web"}}));
  event = decoder.next();
  EXPECT_EQ((*event)->type, WatchEvent::Type::Bookmark);
  EXPECT_EQ(parse_bookmark(Encoding::Protobuf, (*event)->object)->revision, 10U);
  EXPECT_TRUE(parse_bookmark(Encoding::Protobuf, (*event)->object)->initial_events_end);
  event = decoder.next();
  EXPECT_EQ((*event)->type, WatchEvent::Type::Deleted);
  EXPECT_EQ((*event)->object, protobuf_pod("n", "a", 11, {{"app", "web"}}));
  event = decoder.next();
  EXPECT_EQ((*event)->type, WatchEvent::Type::Error);
  EXPECT_TRUE(parse_status(Encoding::Protobuf, (*event)->object).too_large_revision);
}

TEST(ProtobufCache, ListsAreWholeMessages) {
  ResourceCache cache({.key = pods(Encoding::Protobuf)});
  cache.learn_type("Pod", "v1");
  cache.replace({make(cache, protobuf_pod("n", "a", 3)), make(cache, protobuf_pod("n", "b", 4))}, 10);
  const auto list = cache.list({});
  const std::uint64_t size = list->size();
  const std::string text = drain(*list);
  EXPECT_EQ(text.size(), size);
  auto body = ListBody::parse(Encoding::Protobuf, text);
  ASSERT_TRUE(body.has_value()) << body.error().message;
  EXPECT_EQ(body->kind, "PodList");
  EXPECT_EQ(body->revision, 10U);
  EXPECT_EQ(**body->next(), protobuf_pod("n", "a", 3));
  EXPECT_EQ(**body->next(), protobuf_pod("n", "b", 4));
  EXPECT_FALSE(body->next()->has_value());
}

TEST(ObjectSet, StaysSortedAndItsCopiesStayAsTheyWere) {
  const auto pool = std::make_shared<ObjectPool>(Encoding::Json, false);
  const auto pod = [&](std::uint64_t i) { return *Object::create(pool, json_pod("n", fmt::format("p{:05}", i * 7919 % 3000), 1), "", ""); };
  ObjectSet set;
  for (std::uint64_t i = 0; i < 3000; ++i) EXPECT_EQ(set.put(pod(i)), nullptr);
  const ObjectSet copy = set;
  for (std::uint64_t i = 0; i < 3000; i += 2) EXPECT_NE(set.erase(pod(i)->key()), nullptr);
  EXPECT_EQ(set.erase("n/none"), nullptr);
  for (const auto& [one, size] : {std::pair(&std::as_const(set), 1500U), std::pair(&copy, 3000U)}) {
    EXPECT_EQ(one->size(), size);
    ObjectSet::Position position;
    std::string last;
    std::size_t count = 0;
    while (const ObjectPtr* object = one->next(position)) {
      EXPECT_LT(last, (*object)->key());
      last = (*object)->key();
      ++count;
    }
    EXPECT_EQ(count, size);
  }
  EXPECT_NE(copy.find(pod(0)->key()), nullptr);
  EXPECT_EQ(set.find(pod(0)->key()), nullptr);
}

}  // namespace
}  // namespace dormouse::watchcache
