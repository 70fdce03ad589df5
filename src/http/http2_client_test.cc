// SPDX-License-Identifier: Apache-2.0
#include "http/http2_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "http/test_http2_server.h"

namespace dormouse::http {
namespace {
using testing::HasSubstr;

struct Recorder final : Http2StreamSink {
  void on_response(int got, Headers list) override {
    ++responses;
    status = got;
    headers = std::move(list);
    if (when_response) when_response();
  }
  void on_data(std::span<const std::byte> bytes) override {
    body.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (client != nullptr) client->consumed(id, bytes.size());
    if (when_data) when_data();
  }
  void on_end() override { ++ends; }
  void on_failure(const Error& got, bool untouched) override {
    ++failures;
    error = got;
    not_processed = untouched;
  }
  void on_writable() override {
    ++writables;
    if (when_writable) when_writable();
  }
  Http2Client* client = nullptr;  // Set: consumes at once.
  Http2Client::StreamId id = 0;
  int responses = 0, status = 0, ends = 0, failures = 0, writables = 0;
  Headers headers;
  std::string body;
  Error error;
  bool not_processed = false;
  std::function<void()> when_response, when_data, when_writable;
};

class Http2 : public testing::Test {
 protected:
  void serve(TestHttp2Session::Handler handler, std::uint32_t window_bytes = 65535) { server = std::make_unique<TestHttp2Session>(std::move(handler), 250, window_bytes); }
  void open(Recorder& sink, const std::string& path, bool has_body = false, const Headers& headers = {}) {
    const auto id = client.open({"GET", "https", "example", path, &headers}, has_body, sink);
    ASSERT_TRUE(id.has_value()) << id.error().message;
    sink.id = *id;
  }
  // Until neither has anything to say. Pieces are small, so that every frame is cut somewhere.
  Result<void> exchange() {
    while (true) {
      const std::string up = client.take_output();
      if (!up.empty()) server->feed(up);
      const std::string down = server->take_output();
      if (up.empty() && down.empty()) return {};
      for (std::size_t at = 0; at < down.size(); at += 1000) {
        const std::string_view piece = std::string_view(down).substr(at, 1000);
        if (auto fed = client.feed(std::as_bytes(std::span(piece))); !fed) return fed;
      }
    }
  }
  Http2Client client{Http2Client::Options{.header_list_bytes_max = 16 * 1024}};
  std::unique_ptr<TestHttp2Session> server;
};

TEST_F(Http2, CarriesARequestAndItsResponseAndSkipsInformationalOnes) {
  serve([](TestHttp2Session& session, const TestHttp2Session::Request& request) {
    session.send_informational(request.id);
    session.respond(request.id, 200, "hello " + request.headers.at(":path") + request.headers.at("x-a"), {{"x-b", "2"}});
  });
  Recorder sink;
  sink.client = &client;
  open(sink, "/one", false, {{"x-a", "1"}});
  ASSERT_TRUE(exchange());
  EXPECT_TRUE(client.ready());
  EXPECT_EQ(client.streams_max(), 250U);
  EXPECT_EQ(sink.responses, 1);
  EXPECT_EQ(sink.status, 200);
  EXPECT_EQ(sink.headers, (Headers{{"x-b", "2"}}));
  EXPECT_EQ(sink.body, "hello /one1");
  EXPECT_EQ(sink.ends, 1);
  EXPECT_EQ(client.streams_open(), 0U);
}

TEST_F(Http2, ASlowStreamHoldsBackOnlyItself) {
  const std::string much(3'000'000, 'x');
  serve([&](TestHttp2Session& session, const TestHttp2Session::Request& request) { session.respond(request.id, 200, much); });
  Recorder slow, quick;
  quick.client = &client;
  open(slow, "/slow");
  open(quick, "/quick");
  ASSERT_TRUE(exchange());
  EXPECT_EQ(slow.body.size(), Http2Client::Options{}.stream_window_bytes);
  EXPECT_EQ(quick.body.size(), much.size());
  EXPECT_EQ(quick.ends, 1);
  // It goes on as soon as it is read.
  slow.client = &client;
  client.consumed(slow.id, slow.body.size());
  ASSERT_TRUE(exchange());
  EXPECT_EQ(slow.body.size(), much.size());
}

TEST_F(Http2, DataOfAbandonedStreamsDoesNotUseUpTheConnection) {
  const std::string much(200'000, 'x');
  serve([&](TestHttp2Session& session, const TestHttp2Session::Request& request) { session.respond(request.id, 200, much); });
  for (int i = 0; i < 100; ++i) {  // 20 MB in all, five times the connection's window.
    Recorder sink;
    sink.when_data = [&] { client.reset(sink.id); };
    open(sink, "/");
    ASSERT_TRUE(exchange());
  }
  Recorder sink;
  sink.client = &client;
  open(sink, "/");
  ASSERT_TRUE(exchange());
  EXPECT_EQ(sink.body.size(), much.size());
}

TEST_F(Http2, TakesABoundedAmountOfBodyAndSaysWhenThereIsRoom) {
  serve([](TestHttp2Session& session, const TestHttp2Session::Request& request) { session.respond(request.id, 200, std::to_string(request.body.size())); });
  const std::string much(1'000'000, 'x');
  std::size_t sent = 0;
  Recorder sink;
  sink.client = &client;
  const auto send = [&] {
    const std::size_t taken = client.write(sink.id, std::as_bytes(std::span(much)).subspan(sent));
    EXPECT_LE(taken, Http2Client::Options{}.send_buffer_bytes);
    sent += taken;
    if (sent == much.size()) client.finish_body(sink.id);
  };
  sink.when_writable = send;
  open(sink, "/", true);
  send();
  EXPECT_EQ(sent, Http2Client::Options{}.send_buffer_bytes);
  ASSERT_TRUE(exchange());
  EXPECT_EQ(sink.body, "1000000");
  EXPECT_GT(sink.writables, 10);
}

TEST_F(Http2, BodyWrittenLateIsSent) {
  serve([](TestHttp2Session& session, const TestHttp2Session::Request& request) { session.respond(request.id, 200, request.body); });
  Recorder sink;
  sink.client = &client;
  open(sink, "/", true);
  ASSERT_TRUE(exchange());
  for (const std::string piece : {"a", "b"}) {
    EXPECT_EQ(client.write(sink.id, std::as_bytes(std::span(piece))), 1U);
    ASSERT_TRUE(exchange());
  }
  client.finish_body(sink.id);
  ASSERT_TRUE(exchange());
  EXPECT_EQ(sink.body, "ab");
}

TEST_F(Http2, RefusesAHeaderListBeyondTheLimitOnThatStreamOnly) {
  serve([](TestHttp2Session& session, const TestHttp2Session::Request& request) {
    Headers headers;
    if (request.headers.at(":path") == "/many") headers.assign(300, {"a", "b"});
    if (request.headers.at(":path") == "/long") headers.assign(5, {"a", std::string(4000, 'b')});
    session.respond(request.id, 200, "x", headers);
  });
  Recorder many, large, fine;
  fine.client = &client;
  open(many, "/many");
  open(large, "/long");
  open(fine, "/fine");
  ASSERT_TRUE(exchange());
  EXPECT_EQ(many.error.code, ErrorCode::ResourceExhausted);
  EXPECT_EQ(large.error.code, ErrorCode::ResourceExhausted);
  EXPECT_EQ(many.responses + large.responses, 0);
  EXPECT_EQ(fine.ends, 1);
}

TEST_F(Http2, GoawayFailsOnlyWhatTheServerHasNotSeen) {
  serve(nullptr);
  Recorder seen, unseen;
  seen.client = &client;
  open(seen, "/seen");
  ASSERT_TRUE(exchange());
  open(unseen, "/unseen");
  server->goaway(seen.id);
  ASSERT_TRUE(exchange());
  EXPECT_TRUE(client.draining());
  EXPECT_EQ(unseen.failures, 1);
  EXPECT_TRUE(unseen.not_processed);
  EXPECT_EQ(seen.failures, 0);
  Recorder late;
  const Headers none;
  EXPECT_FALSE(client.open({"GET", "https", "example", "/late", &none}, false, late));
  server->respond(seen.id, 200, "done");
  ASSERT_TRUE(exchange());
  EXPECT_EQ(seen.body, "done");
  EXPECT_TRUE(client.wants_close());
}

TEST_F(Http2, TellsWhetherAResetStreamWasProcessed) {
  serve([](TestHttp2Session& session, const TestHttp2Session::Request& request) {
    session.reset(request.id, request.headers.at(":path") == "/refused" ? NGHTTP2_REFUSED_STREAM : NGHTTP2_INTERNAL_ERROR);
  });
  Recorder refused, broken;
  open(refused, "/refused");
  open(broken, "/broken");
  ASSERT_TRUE(exchange());
  EXPECT_TRUE(refused.not_processed);
  EXPECT_EQ(refused.failures, 1);
  EXPECT_FALSE(broken.not_processed);
  EXPECT_THAT(broken.error.message, HasSubstr("INTERNAL_ERROR"));
}

TEST_F(Http2, ALostConnectionFailsEveryStreamOnce) {
  serve(nullptr);
  Recorder one, two;
  open(one, "/1");
  open(two, "/2");
  ASSERT_TRUE(exchange());
  client.lost(Error{ErrorCode::Unavailable, "gone"});
  EXPECT_EQ(one.failures, 1);
  EXPECT_EQ(two.failures, 1);
  EXPECT_TRUE(client.draining());
}

TEST_F(Http2, SaysWhenTheServerDoesNotSpeakHttp2) {
  const std::string_view answer = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
  const auto fed = client.feed(std::as_bytes(std::span(answer)));
  static_cast<void>(client.take_output());
  EXPECT_TRUE(!fed || client.wants_close());
  EXPECT_FALSE(client.problem().empty());
}

TEST_F(Http2, PushIsAProtocolError) {
  serve(nullptr);
  Recorder sink;
  open(sink, "/");
  ASSERT_TRUE(exchange());
  // PUSH_PROMISE on stream 1, promising stream 2, with no headers.
  const std::string_view push("\0\0\4\5\4\0\0\0\1\0\0\0\2", 13);
  const auto fed = client.feed(std::as_bytes(std::span(push)));
  static_cast<void>(client.take_output());
  EXPECT_TRUE(!fed || client.wants_close());
}

TEST_F(Http2, RefusesHeadsThatWouldSmuggle) {
  Recorder sink;
  const Headers none, newline{{"a", "b\r\nc: d"}}, pseudo{{":path", "/x"}}, upper{{"A", "b"}}, blank{{"a b", "c"}};
  EXPECT_FALSE(client.open({"GET", "https", "example", "/a b", &none}, false, sink));
  EXPECT_FALSE(client.open({"GET", "https", "example", "", &none}, false, sink));
  EXPECT_FALSE(client.open({"GE T", "https", "example", "/", &none}, false, sink));
  for (const Headers* headers : {&newline, &pseudo, &upper, &blank}) {
    EXPECT_FALSE(client.open({"GET", "https", "example", "/", headers}, false, sink)) << (*headers)[0].first;
  }
  EXPECT_EQ(client.streams_open(), 0U);
}

TEST_F(Http2, StreamsMayBeResetFromWithinAnyCallback) {
  serve([](TestHttp2Session& session, const TestHttp2Session::Request& request) {
    session.start(request.id, 200);
    session.send(request.id, std::string(100'000, 'x'));
  });
  Recorder one, two, three;
  one.when_response = [&] { client.reset(one.id); };
  two.when_data = [&] {
    client.reset(two.id);
    client.reset(three.id);
  };
  open(one, "/");
  open(two, "/");
  open(three, "/");
  ASSERT_TRUE(exchange());
  EXPECT_EQ(one.body.size(), 0U);
  EXPECT_EQ(one.ends + two.ends + three.ends + one.failures + two.failures + three.failures, 0);
  EXPECT_EQ(server->closed.at(one.id), static_cast<std::uint32_t>(NGHTTP2_CANCEL));
}

TEST_F(Http2, CountsUnansweredPings) {
  serve(nullptr);
  ASSERT_TRUE(exchange());
  client.ping();
  EXPECT_EQ(client.pings_unanswered(), 1U);
  ASSERT_TRUE(exchange());
  EXPECT_EQ(client.pings_unanswered(), 0U);
  EXPECT_EQ(server->pings, 1);
}

TEST_F(Http2, AnEarlyResponseEndsTheRequest) {
  serve(nullptr);
  Recorder sink;
  sink.client = &client;
  open(sink, "/", true);
  ASSERT_TRUE(exchange());
  server->respond(sink.id, 413, "too large");
  ASSERT_TRUE(exchange());
  EXPECT_EQ(sink.status, 413);
  EXPECT_EQ(sink.ends, 1);
  EXPECT_EQ(client.write(sink.id, std::as_bytes(std::span("more"))), 5U);  // Swallowed.
  ASSERT_TRUE(exchange());
  EXPECT_TRUE(server->closed.contains(sink.id));
}

}  // namespace
}  // namespace dormouse::http
