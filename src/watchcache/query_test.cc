// SPDX-License-Identifier: Apache-2.0
#include "watchcache/query.h"

#include <gtest/gtest.h>

namespace dormouse::watchcache {
namespace {

using Kind = CacheAnswer::Kind;

CacheAnswer list(std::string_view query, std::optional<Revision> server = {}) { return decide(parse_query(false, query), server); }

TEST(Query, ListsFollowTheTableOfKep2340) {
  EXPECT_EQ(list("").kind, Kind::Probe);
  EXPECT_EQ(list("resourceVersion=").kind, Kind::Probe);
  EXPECT_EQ(list("limit=500").kind, Kind::Probe);
  EXPECT_EQ(list("", 7).revision, 7U);
  EXPECT_TRUE(list("", 7).consistent);
  EXPECT_EQ(list("resourceVersion=0").kind, Kind::Serve);
  EXPECT_EQ(list("resourceVersion=0").revision, 0U);
  EXPECT_EQ(list("resourceVersion=0&limit=5").kind, Kind::Serve);
  EXPECT_EQ(list("resourceVersion=9").revision, 9U);
  EXPECT_FALSE(list("resourceVersion=9").consistent);
  EXPECT_EQ(list("resourceVersion=9&resourceVersionMatch=NotOlderThan&limit=5").kind, Kind::Serve);
  EXPECT_EQ(list("resourceVersion=9&limit=5").reason, ForwardReason::Exact);
  EXPECT_EQ(list("resourceVersion=9&resourceVersionMatch=Exact").reason, ForwardReason::Exact);
  EXPECT_EQ(list("continue=abc").reason, ForwardReason::Continue);
  EXPECT_EQ(list("continue=").kind, Kind::Probe);
}

TEST(Query, WatchesBeginWhereTheApiServerBeginsThem) {
  const Query legacy = parse_query(false, "watch=true");
  EXPECT_TRUE(legacy.initial_events);
  EXPECT_EQ(decide(legacy, {}).kind, Kind::Probe);
  EXPECT_EQ(decide(legacy, 5).revision, 5U);
  EXPECT_FALSE(decide(legacy, 5).watch_from.has_value());
  EXPECT_TRUE(parse_query(false, "watch=1&resourceVersion=0").initial_events);
  EXPECT_EQ(list("watch=1&resourceVersion=0").revision, 0U);
  EXPECT_FALSE(parse_query(false, "watch=1&resourceVersion=12").initial_events);
  EXPECT_EQ(list("watch=1&resourceVersion=12").watch_from, 12U);
  EXPECT_EQ(list("watch=1&resourceVersion=12").revision, 0U);
  const std::string_view watch_list = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion=8";
  EXPECT_TRUE(parse_query(false, watch_list).initial_events);
  EXPECT_TRUE(parse_query(false, watch_list).bookmarks);
  EXPECT_EQ(list(watch_list).revision, 8U);
  EXPECT_EQ(list("watch=true&sendInitialEvents=false&resourceVersionMatch=NotOlderThan", 4).watch_from, 4U);
  EXPECT_FALSE(list("watch=true&sendInitialEvents=false&resourceVersionMatch=NotOlderThan&resourceVersion=0").watch_from.has_value());
  EXPECT_EQ(parse_query(false, "watch=true&timeoutSeconds=30").timeout_seconds, 30U);
}

TEST(Query, ForwardsWhatIsMalformedOrUnknown) {
  for (const auto* bad : {"resourceVersion=abc", "resourceVersion=-1", "resourceVersion=007", "resourceVersion=18446744073709551616", "limit=-1", "limit=x", "resourceVersionMatch=Exact",
                          "resourceVersion=1&resourceVersionMatch=Later", "sendInitialEvents=true", "watch=1&sendInitialEvents=true", "watch=1&resourceVersion=1&resourceVersionMatch=NotOlderThan",
                          "watch=1&sendInitialEvents=true&resourceVersionMatch=Exact", "labelSelector=a%20b", "labelSelector=%", "labelSelector=%zz", "a=1;b=2", "limit=1&limit=2", "timeoutSeconds=-1",
                          "timeout=soon", "labelSelector=%00", "watch=1&timeoutSeconds=99999999999"}) {
    EXPECT_EQ(parse_query(false, bad).forward, ForwardReason::Malformed) << bad;
  }
  EXPECT_EQ(parse_query(false, "shardSelector=x").forward, ForwardReason::UnknownParameter);
  EXPECT_EQ(parse_query(true, "watch=true").forward, ForwardReason::UnknownParameter);
  EXPECT_EQ(parse_query(false, "fieldSelector=spec.nodeName%3Dx").forward, ForwardReason::FieldSelector);
  EXPECT_EQ(parse_query(false, "pretty=true").forward, ForwardReason::Pretty);
}

TEST(Query, ReadsValuesAsGoDoes) {
  EXPECT_EQ(parse_query(false, "watch=false").verb, Verb::List);
  EXPECT_EQ(parse_query(false, "watch=FALSE").verb, Verb::List);
  EXPECT_EQ(parse_query(false, "watch=0").verb, Verb::List);
  EXPECT_EQ(parse_query(false, "watch").verb, Verb::Watch);
  EXPECT_EQ(parse_query(false, "labelSelector=app%3Dweb%2Ctier+in+%28a%29&pretty=false&timeout=1m30s").labels.canonical(), "app=web,tier=a");
  EXPECT_EQ(parse_query(true, "resourceVersion=0").verb, Verb::Get);
  EXPECT_EQ(decide(parse_query(true, ""), {}).kind, Kind::Probe);
}

}  // namespace
}  // namespace dormouse::watchcache
