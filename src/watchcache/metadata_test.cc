// SPDX-License-Identifier: Apache-2.0
#include "watchcache/metadata.h"

#include <gtest/gtest.h>

#include "watchcache/frames.h"
#include "watchcache/test_support.h"

namespace dormouse::watchcache {
namespace {

using testing::json_pod;
using testing::protobuf_pod;

TEST(Metadata, IsReadFromJson) {
  const std::string text = R"({"kind":"Pod","apiVersion":"v1","metadata":{"name":"a\u002db","namespace":"n","uid":"u1","resourceVersion":"12","labels":{"k":"v","e":""}},"spec":{"name":"no"}})";
  const auto metadata = read_metadata(Encoding::Json, text);
  ASSERT_TRUE(metadata.has_value()) << metadata.error().message;
  EXPECT_EQ(metadata->name, "a-b");
  EXPECT_EQ(metadata->namespace_name, "n");
  EXPECT_EQ(metadata->uid, "u1");
  EXPECT_EQ(metadata->revision, 12U);
  EXPECT_EQ(metadata->labels.find("k"), "v");
  EXPECT_EQ(text.substr(metadata->revision_at, metadata->revision_end - metadata->revision_at), "\"12\"");
  EXPECT_EQ(text.substr(metadata->type_end, 10), "\"metadata\"");
}

TEST(Metadata, OfJsonMustBeOneWholeObjectWithEachThingOnce) {
  const std::string good = R"({"metadata":{"name":"a","resourceVersion":"1"}})";
  EXPECT_TRUE(read_metadata(Encoding::Json, good).has_value());
  for (const auto* bad : {"", "{}", "[]", "null", R"({"metadata":{"name":"a"}})", R"({"metadata":{"resourceVersion":"1"}})", R"({"metadata":{"name":"a","resourceVersion":1}})",
                          R"({"metadata":{"name":"a","resourceVersion":"0"}})", R"({"metadata":{"name":"a","name":"b","resourceVersion":"1"}})",
                          R"({"metadata":{"name":"a","resourceVersion":"1"},"metadata":{"name":"b","resourceVersion":"1"}})", R"({"metadata":{"name":"a/b","resourceVersion":"1"}})",
                          R"({"metadata":{"name":"a","resourceVersion":"1","labels":{"k":1}}})", R"({"metadata":{"name":"a","resourceVersion":"1","labels":{"k":"1","k":"2"}}})",
                          R"({"metadata":{"name":"a","resourceVersion":"1"}}x)", R"({"metadata":{"name":"a","resourceVersion":"1"},"x":01})", R"({"metadata":{"name":"a","resourceVersion":"1"},})",
                          R"({"metadata":{"name":"a","resourceVersion":"1"},"x":"\q"})", R"({"metadata":{"name":"a","resourceVersion":"1"},"x":tru})"}) {
    EXPECT_FALSE(read_metadata(Encoding::Json, bad).has_value()) << bad;
  }
  const std::string deep = R"({"metadata":{"name":"a","resourceVersion":"1"},"x":)" + std::string(200, '[') + std::string(200, ']') + "}";
  EXPECT_FALSE(read_metadata(Encoding::Json, deep).has_value());
}

TEST(Metadata, IsReadFromProtobufOfAnyType) {
  const auto metadata = read_metadata(Encoding::Protobuf, protobuf_pod("n", "a", 300, {{"k", "v"}}));
  ASSERT_TRUE(metadata.has_value()) << metadata.error().message;
  EXPECT_EQ(metadata->name, "a");
  EXPECT_EQ(metadata->namespace_name, "n");
  EXPECT_EQ(metadata->revision, 300U);
  EXPECT_EQ(metadata->labels.find("k"), "v");
  const std::string whole = protobuf_pod("n", "a", 300);
  for (std::size_t cut = 0; cut < whole.size() - 6; ++cut) EXPECT_FALSE(read_metadata(Encoding::Protobuf, whole.substr(0, cut)).has_value());
  EXPECT_FALSE(read_metadata(Encoding::Protobuf, whole + whole).has_value());
}

TEST(Object, LosesItsManagedFieldsAndNothingElse) {
  const auto pool = std::make_shared<ObjectPool>(Encoding::Json, false);
  for (const auto& [with, without] : std::vector<std::pair<std::string, std::string>>{
           {R"({"kind":"P","apiVersion":"v1","metadata":{"name":"a","managedFields":[1,{}],"resourceVersion":"1"}})", R"({"kind":"P","apiVersion":"v1","metadata":{"name":"a","resourceVersion":"1"}})"},
           {R"({"kind":"P","apiVersion":"v1","metadata":{"managedFields":[] , "name":"a","resourceVersion":"1"}})", R"({"kind":"P","apiVersion":"v1","metadata":{ "name":"a","resourceVersion":"1"}})"},
           {R"({"kind":"P","apiVersion":"v1","metadata":{"name":"a","resourceVersion":"1","managedFields":null}})", R"({"kind":"P","apiVersion":"v1","metadata":{"name":"a","resourceVersion":"1"}})"}}) {
    const auto object = Object::create(pool, with, "", "");
    ASSERT_TRUE(object.has_value()) << object.error().message;
    std::string pruned;
    (*object)->append_pruned(pruned);
    EXPECT_EQ(pruned, without);
    EXPECT_EQ((*object)->pruned_size(), without.size());
  }
  const auto protobuf_pool = std::make_shared<ObjectPool>(Encoding::Protobuf, false);
  const auto object = Object::create(protobuf_pool, protobuf_pod("n", "a", 5), "", "");
  std::string pruned;
  (*object)->append_pruned(pruned);
  EXPECT_EQ(pruned.find("managed"), std::string::npos);
  EXPECT_EQ(read_metadata(Encoding::Protobuf, pruned)->revision, 5U);
}

TEST(Object, TakesAnotherRevisionInBothEncodings) {
  for (const Encoding encoding : {Encoding::Json, Encoding::Protobuf}) {
    const auto pool = std::make_shared<ObjectPool>(encoding, false);
    const auto object = Object::create(pool, encoding == Encoding::Json ? json_pod("n", "a", 9) : protobuf_pod("n", "a", 9), "", "");
    const auto later = (*object)->with_revision(12345);
    std::string scratch;
    EXPECT_EQ(later->revision(), 12345U);
    EXPECT_EQ(later->key(), "n/a");
    if (encoding == Encoding::Json) EXPECT_EQ(later->bytes(scratch), json_pod("n", "a", 12345));
    else EXPECT_EQ(later->bytes(scratch), protobuf_pod("n", "a", 12345));
  }
}

TEST(Object, IsTheSameAfterCompressionAndPinnedOnesStay) {
  const auto pool = std::make_shared<ObjectPool>(Encoding::Json, true);
  const std::string text = json_pod("n", "a", 9, "", "u", true, std::string(20'000, 'x'));
  const auto object = *Object::create(pool, text, "", "");
  std::string scratch;
  object->pin();
  object->compress();
  EXPECT_FALSE(object->compressed());
  object->unpin();
  object->compress();
  EXPECT_TRUE(object->compressed());
  EXPECT_EQ(object->bytes(scratch), text);
  EXPECT_LT(pool->compressed_bytes, 1'000U);
  EXPECT_EQ(pool->plain_bytes, 0U);
  EXPECT_EQ(object->with_revision(10)->revision(), 10U);
}

TEST(WatchDecoder, FindsTheSameEventsHoweverTheBytesAreCut) {
  std::string json, protobuf;
  for (int i = 1; i <= 3; ++i) {
    json += fmt::format("{{\"type\":\"ADDED\",\"object\":{}}}\n", json_pod("n", "a", static_cast<Revision>(i)));
    std::string event, raw, extension;
    const std::string pod = protobuf_pod("n", "a", static_cast<Revision>(i));
    append_envelope_head(raw, "v1", "Pod", pod.size());
    raw += pod;
    append_bytes_field(extension, 1, raw);
    append_bytes_field(event, 1, "ADDED");
    append_bytes_field(event, 2, extension);
    protobuf += std::string{0, 0, static_cast<char>(event.size() >> 8), static_cast<char>(event.size())} + event;
  }
  for (const auto& [encoding, stream] : {std::pair(Encoding::Json, json), std::pair(Encoding::Protobuf, protobuf)}) {
    for (std::size_t step = 1; step < 80; ++step) {
      WatchDecoder decoder(encoding);
      int seen = 0;
      for (std::size_t at = 0; at < stream.size(); at += step) {
        decoder.feed(std::string_view(stream).substr(at, step));
        for (auto event = decoder.next(); event && *event; event = decoder.next()) EXPECT_EQ(read_metadata(encoding, (*event)->object)->revision, static_cast<Revision>(++seen));
      }
      EXPECT_EQ(seen, 3);
      EXPECT_EQ(decoder.held_bytes(), 0U);
    }
  }
}

TEST(WatchDecoder, BoundsAnEvent) {
  WatchDecoder json(Encoding::Json, 100), protobuf(Encoding::Protobuf, 100);
  json.feed(std::string(101, ' '));
  EXPECT_EQ(json.next().error().code, ErrorCode::ResourceExhausted);
  protobuf.feed(std::string_view("\x7f\xff\xff\xff", 4));
  EXPECT_EQ(protobuf.next().error().code, ErrorCode::ResourceExhausted);
  WatchDecoder bad(Encoding::Json);
  bad.feed("{\"type\":\"ADDED\",\"object\":{}}x\n");
  EXPECT_EQ(bad.next().error().code, ErrorCode::Corrupt);
}

TEST(Statuses, AreReadAsTheyAreWritten) {
  for (const Encoding encoding : {Encoding::Json, Encoding::Protobuf}) {
    const std::string text = too_large_revision(9, 5).encode(encoding);
    const StatusInfo status = parse_status(encoding, encoding == Encoding::Json ? std::string_view(text) : read_envelope(text)->raw);
    EXPECT_EQ(status.code, 504);
    EXPECT_EQ(status.reason, "Timeout");
    EXPECT_EQ(status.message, "Timeout: Too large resource version: 9, current: 5");
    EXPECT_EQ(status.retry_after_seconds, 1);
    EXPECT_TRUE(status.too_large_revision);
  }
  EXPECT_EQ(not_found({.group = "apps", .version = "v1", .resource = "deployments"}, "x").encode(Encoding::Json),
            R"({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"deployments.apps \"x\" not found","reason":"NotFound","details":{"name":"x","group":"apps","kind":"deployments"},"code":404})");
}

}  // namespace
}  // namespace dormouse::watchcache
