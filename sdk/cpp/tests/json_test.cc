// SPDX-License-Identifier: Apache-2.0
#include "kubepp/json.h"

#include <gtest/gtest.h>

namespace kubepp {
namespace {

std::string again(std::string_view text) {
  const Result<Json> parsed = Json::parse(text);
  return parsed ? parsed->dump() : "error: " + parsed.error().message;
}

TEST(Json, KeepsValuesAndTheOrderOfMembers) {
  for (const char* text : {R"({"b":1,"a":[true,false,null,-5,1.5,"x"],"c":{}})", "[]", "\"\"", "0", "-9223372036854775808",
                           R"("\u0001\"\\\n")", R"(["ä€😀"])"}) {
    EXPECT_EQ(again(text), text);
  }
}

TEST(Json, DecodesEscapes) {
  EXPECT_EQ(Json::parse(R"("\u00e4\ud83d\ude00\/\b\f\n\r\t")")->as_string(), "ä😀/\b\f\n\r\t");
}

TEST(Json, RefusesWhatRfc8259DoesNotAllow) {
  for (const char* text : {"", " ", "{", "[1,]", "{\"a\":1,}", "{a:1}", "{'a':1}", "01", "+1", "1.", ".5", "1e", "- 1", "nul", "truee",
                           "[1 2]", "\"a", "\"\n\"", "\"\\x\"", "\"\\u12\"", "\"\\ud800\"", "\"\\ud800\\u0041\"", "\"\\udc00\"",
                           "\"\xff\"", "\"\xc0\xaf\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xe2\x82\"", "1 2", "[1]]",
                           "/**/1", "NaN", "Infinity", "\xef\xbb\xbf{}", "{\"a\" 1}", "{\"a\"}", "{1:2}"}) {
    EXPECT_FALSE(Json::parse(text).has_value()) << text;
  }
}

TEST(Json, ErrorsNameTheByte) {
  EXPECT_EQ(Json::parse("{\"a\": tru}").error().message, "not JSON at byte 6: unknown word");
}

TEST(Json, RefusesWhatIsNestedSoDeepThatTheStackWouldEnd) {
  const std::string deep(100000, '[');
  EXPECT_FALSE(Json::parse(deep).has_value());
  std::string fits;
  for (int i = 0; i < 100; ++i) fits += "{\"a\":";
  fits += "1" + std::string(100, '}');
  EXPECT_TRUE(Json::parse(fits).has_value());
}

TEST(Json, IntegersStayExactAndLargeOnesBecomeDoubles) {
  EXPECT_EQ(Json::parse("9007199254740993")->as_integer(), 9007199254740993);
  EXPECT_TRUE(Json::parse("18446744073709551616")->is_number());
  EXPECT_FALSE(Json::parse("18446744073709551616")->is_integer());
  EXPECT_EQ(Json::parse("1e3")->as_number(), 1000.0);
}

TEST(Json, WhatIsNotThereReadsAsNothing) {
  const Json value = *Json::parse(R"({"a":{"b":[1]}})");
  EXPECT_EQ(value["a"]["b"][0].as_integer(), 1);
  EXPECT_TRUE(value["a"]["b"][1].is_null());
  EXPECT_EQ(value["x"]["y"]["z"].as_string("none"), "none");
  EXPECT_EQ(value["a"].as_string(), "");
  EXPECT_FALSE(value.contains("x"));
}

TEST(Json, BuildsAndChanges) {
  Json value = Json::object({{"kind", "ConfigMap"}, {"n", 3}, {"on", true}, {"list", Json::array({1, "two"})}});
  value["metadata"]["name"] = "x";
  value["list"].push_back(nullptr);
  value.erase("n");
  EXPECT_EQ(value.dump(), R"({"kind":"ConfigMap","on":true,"list":[1,"two",null],"metadata":{"name":"x"}})");
}

TEST(Json, EqualityIgnoresTheOrderOfMembersOnly) {
  EXPECT_EQ(*Json::parse(R"({"a":1,"b":[1,2]})"), *Json::parse(R"({"b":[1,2],"a":1})"));
  EXPECT_FALSE(*Json::parse(R"({"a":1})") == *Json::parse(R"({"a":2})"));
  EXPECT_FALSE(*Json::parse(R"({"a":1})") == *Json::parse(R"({"b":1})"));
  EXPECT_FALSE(*Json::parse("[1,2]") == *Json::parse("[2,1]"));
  EXPECT_FALSE(*Json::parse("\"1\"") == *Json::parse("1"));
}

}  // namespace
}  // namespace kubepp
