// SPDX-License-Identifier: Apache-2.0
#include "gateway/event_note.h"

#include <gtest/gtest.h>

namespace dormouse::gateway {
namespace {

TEST(EventNote, TellsTypeAndObject) {
  EXPECT_EQ(event_note(R"({"type":"MODIFIED","object":{"kind":"Pod","metadata":{"name":"hello","namespace":"team-a"},"spec":{"metadata":{"name":"no"}}}})" "\n"), "MODIFIED team-a/hello");
  EXPECT_EQ(event_note(R"({"type":"ADDED","object":{"metadata":{"managedFields":[{"name":"no"}],"name":"node-1"}}})"), "ADDED node-1");
  EXPECT_EQ(event_note(R"({"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7"}}})"), "BOOKMARK");
  EXPECT_EQ(event_note(R"({"object":{"metadata":{"name":"a"}},"type":"DELETED"})"), "DELETED a");
}

TEST(EventNote, OfACutFrameTellsWhatIsThere) {
  const std::string whole = R"({"type":"ADDED","object":{"metadata":{"name":"hello","namespace":"team-a"},"spec":{}}})";
  for (std::size_t size = 0; size <= whole.size(); ++size) {
    const std::string note = event_note(whole.substr(0, size));
    EXPECT_TRUE(note.empty() || note == "ADDED" || note == "ADDED hello" || note == "ADDED team-a/hello") << note;
  }
  EXPECT_EQ(event_note(whole.substr(0, whole.size() - 12)), "ADDED team-a/hello");
}

TEST(EventNote, OfAnythingElseTellsNothing) {
  for (const std::string text : {"", "k8s\0\n\x0e", "[1]", "{}", "{\"type\":5}", "\x00\x00\x00\x22"}) EXPECT_EQ(event_note(text), "");
  EXPECT_EQ(event_note("{\"type\":\"A\\u001bB\",\"object\":{\"metadata\":{\"name\":\"" + std::string(1000, 'n') + "\"}}}").size(), 200u);
  EXPECT_EQ(event_note("{\"type\":\"A\\u001bB\"}"), "A?B");
}

}  // namespace
}  // namespace dormouse::gateway
