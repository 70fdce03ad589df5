// SPDX-License-Identifier: Apache-2.0
#include "http/http1_server.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

namespace dormouse::http {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }

// What a connection makes of `input` when it comes in pieces of `piece` bytes; every request is answered with 200.
std::string transcript(std::string_view input, std::size_t piece, Http1Server::Limits limits = {}) {
  Http1Server server(limits);
  std::string told, body;
  std::size_t offset = 0, available = std::min(piece, input.size());
  while (true) {
    const Http1Server::Step step = server.step(bytes_of(input.substr(offset, available - offset)));
    offset += step.consumed;
    switch (step.event) {
      case Http1Server::Event::NeedInput:
        if (available == input.size()) return told + (body.empty() ? "" : fmt::format("body({}) ", body)) + (server.mid_request() ? "cut" : "idle");
        available = std::min(available + piece, input.size());
        break;
      case Http1Server::Event::Head:
        told += fmt::format("{} {}", server.request().method, server.request().target);
        for (const auto& [name, value] : server.request().headers) told += fmt::format(" {}={}", name, value);
        told += "; ";
        break;
      case Http1Server::Event::Body:
        body.append(reinterpret_cast<const char*>(step.body.data()), step.body.size());
        break;
      case Http1Server::Event::End: {
        told += fmt::format("body({}) ", body);
        body.clear();
        std::string out;
        server.start_response(out, 200, {}, 0);
        if (!server.end_response(out)) return told + "closed";
        break;
      }
      case Http1Server::Event::Refused:
        return told + (body.empty() ? "" : fmt::format("body({}) ", body)) + fmt::format("{} {}", server.refusal().status, server.refusal().reason);
    }
  }
}

// The same for every way of cutting that matters: whole, byte by byte, and a few between.
std::string told(std::string_view input, Http1Server::Limits limits = {}) {
  const std::string whole = transcript(input, input.size() + 1, limits);
  for (const std::size_t piece : {1, 2, 3, 7, 16}) EXPECT_EQ(transcript(input, piece, limits), whole) << "in pieces of " << piece << ": " << input;
  return whole;
}

TEST(Http1Server, ReadsPlainRequestsOneAfterTheOther) {
  EXPECT_EQ(told("GET /api/v1/pods?watch=1 HTTP/1.1\r\nHost: kube\r\nX-A:  b c\t\r\n\r\n"
                 "POST /a%2Fb HTTP/1.1\r\nhost: kube:80\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: [::1]:8\r\n\r\n"),
            "GET /api/v1/pods?watch=1 host=kube x-a=b c; body() POST /a%2Fb host=kube:80 content-length=3; body(abc) GET / host=[::1]:8; body() idle");
}

TEST(Http1Server, ReadsChunkedBodiesAndDropsTrailers) {
  EXPECT_EQ(told("PUT / HTTP/1.1\r\nHost: k\r\nTransfer-Encoding: Chunked\r\n\r\n3;a=\"b\"\r\nabc\r\n00A\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\nGET / HTTP/1.1\r\n"),
            "PUT / host=k transfer-encoding=Chunked; body(abc0123456789) cut");
}

TEST(Http1Server, ClosesWhenTheClientAsks) {
  EXPECT_EQ(told("GET / HTTP/1.1\r\nHost: k\r\nConnection: x, Close\r\n\r\nGET / HTTP/1.1\r\n"), "GET / host=k connection=x, Close; body() closed");
}

TEST(Http1Server, AcceptsTheAbsoluteFormOfItsOwnHostOnly) {
  EXPECT_EQ(told("GET http://Kube/x?y HTTP/1.1\r\nHost: kube\r\n\r\n"), "GET /x?y host=kube; body() idle");
  EXPECT_EQ(told("GET http://other/x HTTP/1.1\r\nHost: kube\r\n\r\n"), "400 the target names another host than Host does");
}

struct Refused {
  const char* what;
  std::string input;
  int status;
};

TEST(Http1Server, RefusesWhateverCouldBeReadInTwoWays) {
  const std::string get = "GET / HTTP/1.1\r\nHost: k\r\n";
  const std::string post = "POST / HTTP/1.1\r\nHost: k\r\n";
  const std::string chunked = post + "Transfer-Encoding: chunked\r\n\r\n";
  const Refused table[] = {
      {"length and coding", post + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {"coding and length", post + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 400},
      {"length twice", post + "Content-Length: 3\r\nContent-Length: 3\r\n\r\n", 400},
      {"length list", post + "Content-Length: 3, 3\r\n\r\n", 400},
      {"length with a plus", post + "Content-Length: +3\r\n\r\n", 400},
      {"length in hex", post + "Content-Length: 0x3\r\n\r\n", 400},
      {"length negative", post + "Content-Length: -1\r\n\r\n", 400},
      {"length empty", post + "Content-Length:\r\n\r\n", 400},
      {"length past 64 bits", post + "Content-Length: 18446744073709551617\r\n\r\n", 400},
      {"length with an inner blank", post + "Content-Length: 1 2\r\n\r\n", 400},
      {"coding gzip", post + "Transfer-Encoding: gzip, chunked\r\n\r\n", 400},
      {"coding identity", post + "Transfer-Encoding: identity\r\n\r\n", 400},
      {"coding with a vertical tab", post + "Transfer-Encoding: \vchunked\r\n\r\n", 400},
      {"coding twice", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {"coding name with a blank", post + "Transfer-Encoding : chunked\r\n\r\n", 400},
      {"coding quoted", post + "Transfer-Encoding: \"chunked\"\r\n\r\n", 400},
      {"chunk size signed", chunked + "+3\r\nabc\r\n0\r\n\r\n", 400},
      {"chunk size with 0x", chunked + "0x3\r\nabc\r\n0\r\n\r\n", 400},
      {"chunk size empty", chunked + "\r\nabc\r\n", 400},
      {"chunk size only an extension", chunked + ";a\r\n", 400},
      {"chunk size with a blank", chunked + "3 \r\nabc\r\n", 400},
      {"chunk size too large", chunked + "FFFFFFFFFFFFFFFFF\r\n", 400},
      {"chunk size ends with LF", chunked + "3\nabc\r\n", 400},
      {"chunk data too long", chunked + "3\r\nabcd\r\n0\r\n\r\n", 400},
      {"chunk data ends with LF", chunked + "3\r\nabc\n0\r\n\r\n", 400},
      {"chunk extension with a CR", chunked + "3;a\rb\r\nabc\r\n0\r\n\r\n", 400},
      {"chunk extension too long", chunked + "3;" + std::string(300, 'a') + "\r\nabc\r\n0\r\n\r\n", 400},
      {"trailer folded", chunked + "0\r\n a\r\n\r\n", 400},
      {"trailer without a colon", chunked + "0\r\na\r\n\r\n", 400},
      {"folded field", get + "X: a\r\n b\r\n\r\n", 400},
      {"first field folded", "GET / HTTP/1.1\r\n Host: k\r\n\r\n", 400},
      {"bare LF after the request line", "GET / HTTP/1.1\nHost: k\r\n\r\n", 400},
      {"bare LF after a field", "GET / HTTP/1.1\r\nHost: k\nX: y\r\n\r\n", 400},
      {"bare LF as the end", get + "\n", 400},
      {"bare CR in a value", get + "X: a\rY: b\r\n\r\n", 400},
      {"CR CR LF", get + "X: a\r\r\n\r\n", 400},
      {"NUL in a value", get + std::string("X: a\0b\r\n\r\n", 10), 400},
      {"NUL in a name", get + std::string("X\0: a\r\n\r\n", 9), 400},
      {"DEL in a value", get + "X: \x7f\r\n\r\n", 400},
      {"blank before the colon", get + "X : a\r\n\r\n", 400},
      {"empty name", get + ": a\r\n\r\n", 400},
      {"name with a brace", get + "X{: a\r\n\r\n", 400},
      {"name beyond ASCII", get + "X\xc3\xa9: a\r\n\r\n", 400},
      {"field without a colon", get + "Xa\r\n\r\n", 400},
      {"no Host", "GET / HTTP/1.1\r\n\r\n", 400},
      {"two Hosts", get + "Host: k\r\n\r\n", 400},
      {"empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400},
      {"Host with a user", "GET / HTTP/1.1\r\nHost: a@k\r\n\r\n", 400},
      {"Host with a path", "GET / HTTP/1.1\r\nHost: k/x\r\n\r\n", 400},
      {"Host with a bad port", "GET / HTTP/1.1\r\nHost: k:8x\r\n\r\n", 400},
      {"Host list", "GET / HTTP/1.1\r\nHost: k, l\r\n\r\n", 400},
      {"absolute form with a user", "GET http://a@k/ HTTP/1.1\r\nHost: k\r\n\r\n", 400},
      {"absolute form of https", "GET https://k/ HTTP/1.1\r\nHost: k\r\n\r\n", 400},
      {"asterisk form", "OPTIONS * HTTP/1.1\r\nHost: k\r\n\r\n", 400},
      {"authority form", "CONNECT k:80 HTTP/1.1\r\nHost: k\r\n\r\n", 501},
      {"TRACE", "TRACE / HTTP/1.1\r\nHost: k\r\n\r\n", 501},
      {"unknown method", "BREW / HTTP/1.1\r\nHost: k\r\n\r\n", 501},
      {"method in lower case", "get / HTTP/1.1\r\nHost: k\r\n\r\n", 501},
      {"method with a slash", "G/T / HTTP/1.1\r\nHost: k\r\n\r\n", 400},
      {"blank first", " GET / HTTP/1.1\r\nHost: k\r\n\r\n", 400},
      {"empty line first", "\r\nGET / HTTP/1.1\r\nHost: k\r\n\r\n", 400},
      {"two blanks", "GET  / HTTP/1.1\r\nHost: k\r\n\r\n", 400},
      {"tab for a blank", "GET\t/ HTTP/1.1\r\nHost: k\r\n\r\n", 400},
      {"blank in the target", "GET /a b HTTP/1.1\r\nHost: k\r\n\r\n", 400},
      {"fragment", "GET /a#b HTTP/1.1\r\nHost: k\r\n\r\n", 400},
      {"broken percent-encoding", "GET /%4 HTTP/1.1\r\nHost: k\r\n\r\n", 400},
      {"wrong percent-encoding", "GET /%zz HTTP/1.1\r\nHost: k\r\n\r\n", 400},
      {"target beyond ASCII", "GET /\xc3\xa9 HTTP/1.1\r\nHost: k\r\n\r\n", 400},
      {"HTTP/0.9", "GET /\r\n", 400},
      {"HTTP/1.0", "GET / HTTP/1.0\r\nHost: k\r\n\r\n", 505},
      {"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
      {"HTTP/1.1 with an addition", "GET / HTTP/1.1x\r\nHost: k\r\n\r\n", 400},
      {"http in lower case", "GET / http/1.1\r\nHost: k\r\n\r\n", 400},
      {"other expectation", post + "Expect: cake\r\n\r\n", 417},
      {"Connection malformed", get + "Connection: a b\r\n\r\n", 400},
      {"TLS", "\x16\x03\x01\x02\n", 400},
  };
  for (const Refused& entry : table) {
    const std::string result = told(entry.input + "GET /hidden HTTP/1.1\r\nHost: k\r\n\r\n");
    EXPECT_NE(result.find(fmt::format("{} ", entry.status)), std::string::npos) << entry.what << ": " << result;
    EXPECT_EQ(result.find("hidden"), std::string::npos) << entry.what << ": " << result;
  }
}

TEST(Http1Server, EachLimitHoldsToTheByte) {
  Http1Server::Limits limits{.head_bytes_max = 80, .target_bytes_max = 10, .headers_max = 2, .chunk_line_bytes_max = 8, .trailer_bytes_max = 12};
  EXPECT_EQ(told("GET /234567890 HTTP/1.1\r\nHost: k\r\n\r\n", limits), "GET /234567890 host=k; body() idle");
  EXPECT_EQ(told("GET /2345678901 HTTP/1.1\r\nHost: k\r\n\r\n", limits), "414 the request's target is too long");
  EXPECT_EQ(told("GET /23456789012345678901234567 HTTP/1.1\r\nHost: k\r\n\r\n", limits), "414 the request line is too long");
  const std::string head = "GET / HTTP/1.1\r\nHost: k\r\nA: ";  // 28 bytes; 4 more end it.
  EXPECT_EQ(told(head + std::string(48, 'x') + "\r\n\r\n", limits), "GET / host=k a=" + std::string(48, 'x') + "; body() idle");
  EXPECT_EQ(told(head + std::string(49, 'x') + "\r\n\r\n", limits), "431 the request's fields are too large");
  EXPECT_EQ(told("GET / HTTP/1.1\r\nHost: k\r\nA: 1\r\nB: 2\r\n\r\n", limits), "431 the request has too many fields");
  const std::string chunked = "POST / HTTP/1.1\r\nHost: k\r\nTransfer-Encoding: chunked\r\n\r\n";
  EXPECT_EQ(told(chunked + "1;2345\r\nx\r\n0\r\nT: 45678\r\n\r\n", limits), "POST / host=k transfer-encoding=chunked; body(x) idle");
  EXPECT_EQ(told(chunked + "1;23456\r\nx\r\n0\r\n\r\n", limits), "POST / host=k transfer-encoding=chunked; 400 a chunk's size line is too long");
  EXPECT_EQ(told(chunked + "1\r\nx\r\n0\r\nT: 4567890\r\n\r\n", limits), "POST / host=k transfer-encoding=chunked; body(x) 400 the trailers are too large");
}

TEST(Http1Server, RefusesBodiesThatAreMostlyChunkFraming) {
  std::string input = "POST / HTTP/1.1\r\nHost: k\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 200; ++i) input += "1;" + std::string(200, 'e') + "\r\nx\r\n";
  EXPECT_NE(transcript(input + "0\r\n\r\n", 4096).find("400 the body's chunk extensions are too large"), std::string::npos);
}

TEST(Http1Server, NeverBuffersABody) {
  Http1Server server;
  const std::string head = "POST / HTTP/1.1\r\nHost: k\r\nContent-Length: 100\r\n\r\n";
  const std::string input = head + "abc";
  Http1Server::Step step = server.step(bytes_of(input));
  ASSERT_EQ(step.event, Http1Server::Event::Head);
  ASSERT_EQ(step.consumed, head.size());
  step = server.step(bytes_of(input).subspan(step.consumed));
  ASSERT_EQ(step.event, Http1Server::Event::Body);
  EXPECT_EQ(step.body.data(), bytes_of(input).data() + head.size());
  EXPECT_EQ(step.body.size(), 3U);
}

std::string answered(const std::string& head, auto&& answer, bool* kept = nullptr) {
  Http1Server server;
  std::size_t at = server.step(bytes_of(head)).consumed;
  EXPECT_EQ(server.step(bytes_of(head).subspan(at)).event, Http1Server::Event::End);
  std::string out;
  answer(server, out);
  const bool keep = server.end_response(out);
  if (kept != nullptr) *kept = keep;
  return out;
}

TEST(Http1Server, AnswersWithAPromisedLength) {
  bool kept = false;
  EXPECT_EQ(answered("GET / HTTP/1.1\r\nHost: k\r\n\r\n", [](Http1Server& server, std::string& out) {
              server.start_response(out, 200, {{"content-type", "text/plain"}, {"connection", "close"}, {"content-length", "9"}, {"bad", "a\r\nb: c"}}, 3);
              server.response_body(out, bytes_of("abcd"));
            }, &kept),
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nContent-Length: 3\r\n\r\nabc");
  EXPECT_FALSE(kept) << "more came than was promised: what follows cannot be trusted";
}

TEST(Http1Server, ClosesWhenAPromisedLengthIsNotReached) {
  bool kept = true;
  answered("GET / HTTP/1.1\r\nHost: k\r\n\r\n", [](Http1Server& server, std::string& out) {
    server.start_response(out, 200, {}, 3);
    server.response_body(out, bytes_of("ab"));
  }, &kept);
  EXPECT_FALSE(kept);
}

TEST(Http1Server, AnswersInChunksWithoutALength) {
  bool kept = false;
  EXPECT_EQ(answered("GET / HTTP/1.1\r\nHost: k\r\n\r\n", [](Http1Server& server, std::string& out) {
              server.start_response(out, 200, {}, std::nullopt);
              server.response_body(out, bytes_of("0123456789abcdef!"));
              server.response_body(out, {});
            }, &kept),
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11\r\n0123456789abcdef!\r\n0\r\n\r\n");
  EXPECT_TRUE(kept);
}

TEST(Http1Server, AnswersToHeadAnd204And304HaveNoBody) {
  EXPECT_EQ(answered("HEAD / HTTP/1.1\r\nHost: k\r\n\r\n", [](Http1Server& server, std::string& out) {
              server.start_response(out, 200, {}, 3);
              server.response_body(out, bytes_of("abc"));
            }),
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n");
  for (const int status : {204, 304}) {
    EXPECT_EQ(answered("GET / HTTP/1.1\r\nHost: k\r\n\r\n", [&](Http1Server& server, std::string& out) {
                server.start_response(out, status, {}, std::nullopt);
                server.response_body(out, bytes_of("abc"));
              }),
              fmt::format("HTTP/1.1 {} {}\r\n\r\n", status, reason_phrase(status)));
  }
}

TEST(Http1Server, AnAnswerBeforeTheEndOfTheRequestCloses) {
  Http1Server server;
  ASSERT_EQ(server.step(bytes_of("POST / HTTP/1.1\r\nHost: k\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n")).event, Http1Server::Event::Head);
  EXPECT_TRUE(server.request().expects_continue);
  std::string out;
  server.append_continue(out);
  server.start_response(out, 403, {}, 0);
  EXPECT_EQ(out, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
  EXPECT_FALSE(server.end_response(out));
}

}  // namespace
}  // namespace dormouse::http
