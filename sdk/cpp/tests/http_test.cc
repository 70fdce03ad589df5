// SPDX-License-Identifier: Apache-2.0
#include "kubepp/http.h"

#include <gtest/gtest.h>

namespace kubepp {
namespace {

struct Parsed {
  int status = 0;
  std::string body;
  bool complete = false;
  bool keep_alive = false;
  std::size_t left = 0;  // Bytes behind the response.
  std::string error;
};

Parsed parse(std::string_view bytes, std::size_t piece = SIZE_MAX, bool ends = false) {
  ResponseParser parser;
  Parsed out;
  while (!bytes.empty() && !parser.complete()) {
    const std::string_view some = bytes.substr(0, piece);
    const Result<std::size_t> taken = parser.feed(some, out.body);
    if (!taken) {
      out.error = taken.error().message;
      return out;
    }
    bytes.remove_prefix(*taken);
  }
  if (ends) {
    const Result<void> ended = parser.end();
    if (!ended) out.error = ended.error().message;
  }
  out.status = parser.head().status;
  out.complete = parser.complete();
  out.keep_alive = parser.keep_alive();
  out.left = bytes.size();
  return out;
}

TEST(ResponseParser, ReadsAResponseInPiecesOfAnySize) {
  const std::string with_length = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello";
  const std::string chunked =
      "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nTrailer: t\r\n\r\n";
  for (const std::string& bytes : {with_length, chunked}) {
    for (std::size_t piece = 1; piece <= bytes.size(); ++piece) {
      const Parsed parsed = parse(bytes, piece);
      EXPECT_EQ(parsed.error, "");
      EXPECT_EQ(parsed.body, "hello");
      EXPECT_TRUE(parsed.complete && parsed.keep_alive);
      EXPECT_EQ(parsed.left, 0u);
    }
  }
}

TEST(ResponseParser, WithoutALengthTheBodyLastsUntilTheEnd) {
  const Parsed parsed = parse("HTTP/1.1 200 OK\r\n\r\nall of it", SIZE_MAX, true);
  EXPECT_EQ(parsed.body, "all of it");
  EXPECT_TRUE(parsed.complete);
  EXPECT_FALSE(parsed.keep_alive);
}

TEST(ResponseParser, SkipsInterimResponsesAndKnowsBodilessOnes) {
  const Parsed parsed = parse("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n");
  EXPECT_EQ(parsed.status, 204);
  EXPECT_TRUE(parsed.complete);
}

TEST(ResponseParser, ConnectionCloseAndOldHttpEndTheConnection) {
  EXPECT_FALSE(parse("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").keep_alive);
  EXPECT_FALSE(parse("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n").keep_alive);
}

TEST(ResponseParser, LeavesWhatFollowsTheResponse) {
  EXPECT_EQ(parse("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxyz").left, 2u);
}

TEST(ResponseParser, AnEndWithinAResponseIsAnError) {
  for (const char* bytes : {"HTTP/1.1 2", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
                            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n"}) {
    EXPECT_NE(parse(bytes, SIZE_MAX, true).error, "") << bytes;
  }
}

TEST(ResponseParser, RefusesWhatCouldBeReadInTwoWays) {
  const std::string head = "HTTP/1.1 200 OK\r\n";
  const std::string chunked = head + "Transfer-Encoding: chunked\r\n\r\n";
  for (const std::string& bytes :
       {std::string("HTTP/2 200 OK\r\n\r\n"), std::string("ICY 200 OK\r\n\r\n"), std::string("HTTP/1.1 20 OK\r\n\r\n"),
        std::string("HTTP/1.1 2000 OK\r\n\r\n"), std::string("HTTP/1.1 200 OK\n\n"), std::string("HTTP/1.1 101 S\r\n\r\n"),
        std::string("\r\nHTTP/1.1 200 OK\r\n\r\n"), head + "Content-Length: -1\r\n\r\n", head + "Content-Length: 1x\r\n\r\n",
        head + "Content-Length: 99999999999999999999\r\n\r\n", head + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        head + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", head + "Transfer-Encoding: gzip, chunked\r\n\r\n",
        head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", head + "Name : x\r\n\r\n", head + " folded\r\n\r\n",
        head + "noname\r\n\r\n", head + ": x\r\n\r\n", head + "X: a\rb\r\n\r\n", chunked + "x\r\n", chunked + "-1\r\n", chunked + "\r\n",
        chunked + "ffffffffffffffff\r\n", chunked + "1\r\nab\r\n", chunked + "1\na\r\n"}) {
    EXPECT_NE(parse(bytes).error, "") << bytes;
  }
}

TEST(ResponseParser, BoundsTheHead) {
  EXPECT_NE(parse("HTTP/1.1 200 OK\r\nX: " + std::string(70000, 'a')).error, "");
  std::string many = "HTTP/1.1 200 OK\r\n";
  for (int i = 0; i < 20000; ++i) many += "A: b\r\n";
  EXPECT_NE(parse(many).error, "");
}

}  // namespace
}  // namespace kubepp
