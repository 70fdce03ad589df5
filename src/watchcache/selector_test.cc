// SPDX-License-Identifier: Apache-2.0
#include "watchcache/selector.h"

#include <gtest/gtest.h>

namespace dormouse::watchcache {
namespace {

Labels labels(std::vector<std::pair<std::string, std::string>> pairs) { return *Labels::create(std::move(pairs)); }

bool selects(std::string_view selector, const Labels& of) {
  const auto parsed = LabelSelector::parse(selector);
  EXPECT_TRUE(parsed.has_value()) << selector;
  return parsed && parsed->matches(of);
}

TEST(LabelSelector, MatchesAsKubernetesDocumentsEachOperator) {
  const Labels web = labels({{"app", "web"}, {"tier", ""}, {"n", "7"}, {"example.com/x", "y"}});
  for (const auto* yes : {"", "app=web", "app==web", "app = web", "app!=db", "missing!=x", "app in (db,web)", "app notin (db)", "missing notin (a)", "app", "!missing", "tier=", "tier in ()",
                          "tier in (,a)", "n>6", "n<8", "example.com/x=y", "app=web,n", " app=web , !missing ", "tier in (a,)"}) {
    EXPECT_TRUE(selects(yes, web)) << yes;
  }
  for (const auto* no : {"app=db", "app!=web", "app in (db)", "app notin (web,x)", "missing", "!app", "n>7", "n<7", "app>1", "missing in (a)", "app=web,missing", "app=", "missing="}) {
    EXPECT_FALSE(selects(no, web)) << no;
  }
}

TEST(LabelSelector, TakesInAndNotinForNamesWhereTheyCanBeNothingElse) {
  EXPECT_TRUE(selects("in in (in,notin)", labels({{"in", "notin"}})));
  EXPECT_TRUE(selects("notin=in", labels({{"notin", "in"}})));
}

TEST(LabelSelector, RefusesWhatTheApiServerRefuses) {
  for (const auto* bad : {",", "a,", ",a", "a b", "a in b", "a in (b", "a in b)", "a=(b)", "!a=b", "!", "a==b=c", "a in (b c)", "-a", "a/b/c", "A.b/c/d", "Example.com/x", "a=b!", "a>x", "a>", "a=-b", "a in (=)", "=", "a!b"}) {
    EXPECT_FALSE(LabelSelector::parse(bad).has_value()) << bad;
  }
  EXPECT_FALSE(LabelSelector::parse(std::string(64, 'a')).has_value());
  EXPECT_FALSE(LabelSelector::parse(std::string_view("a\0b", 3)).has_value());
}

TEST(LabelSelector, HasOneCanonicalFormThatReadsAsItself) {
  const auto canonical = [](std::string_view text) { return LabelSelector::parse(text)->canonical(); };
  EXPECT_EQ(canonical("b==2, a in (y,x,x)"), canonical("a in (x,y),b=2,b=2"));
  EXPECT_EQ(canonical("a in (x)"), "a=x");
  for (const auto* text : {"a in (x,y),!b,c,d!=1,e notin (,q),f>3,g<4,h="}) EXPECT_EQ(canonical(canonical(text)), canonical(text));
}

TEST(FieldSelector, KnowsNameAndNamespaceOnly) {
  const auto selector = FieldSelector::parse("metadata.name=a,metadata.namespace!=kube-system");
  ASSERT_TRUE(selector.has_value());
  EXPECT_TRUE(selector->matches("default", "a"));
  EXPECT_FALSE(selector->matches("kube-system", "a"));
  EXPECT_FALSE(selector->matches("default", "b"));
  EXPECT_EQ(selector->exact_name(), "a");
  EXPECT_TRUE(selector->names_namespace());
  EXPECT_EQ(FieldSelector::parse("spec.nodeName=n").error().code, ErrorCode::Unsupported);
  EXPECT_EQ(FieldSelector::parse("metadata.name=a=b").error().code, ErrorCode::InvalidArgument);
  EXPECT_EQ(FieldSelector::parse("metadata.name=a\\").error().code, ErrorCode::InvalidArgument);
  EXPECT_TRUE(FieldSelector::parse(R"(metadata.name==a\,b)")->matches("", "a,b"));
  EXPECT_TRUE(FieldSelector::parse(",")->empty());
}

TEST(Labels, RefuseWhatCannotBeALabel) {
  EXPECT_FALSE(Labels::create({{"a", "1"}, {"a", "2"}}).has_value());
  EXPECT_FALSE(Labels::create({{std::string("a\0b", 3), "1"}}).has_value());
  EXPECT_EQ(labels({{"b", "2"}, {"a", "1"}}).find("b"), "2");
  EXPECT_EQ(labels({{"a", "1"}}).find("b").data(), nullptr);
}

}  // namespace
}  // namespace dormouse::watchcache
