// SPDX-License-Identifier: Apache-2.0
#include "gateway/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fmt/format.h>

#include "gateway/fake_upstream.h"

namespace dormouse::gateway {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

// A guest's memory and identity, and the API server behind it.
struct World {
  explicit World(std::uint64_t memory_bytes = 16 << 20) : account(memory_bytes) {}
  MemoryAccount account;
  FakeUpstream upstream;
  FakeIdentity identity;
  KubeCounters counters;
  std::vector<RequestInfo> forbidden;
  Session::Caller caller{upstream, &identity, account, counters, [this](const RequestInfo& info) { forbidden.push_back(info); }};
};

// One connection, with the guest's end of its channel in the test's hands.
class Connection final : public Session::Owner {
 public:
  explicit Connection(World& world, http::Http1Server::Limits limits = {}) : channel(std::make_shared<wasi::Channel>(world.account)) {
    channel->set_host_notify([this] { rung_ = true; });
    session.emplace(world.caller, channel, *this, limits);
    settle();
  }
  ~Connection() { channel->guest_close(); }

  // Writes as much as the host takes, and tells how much that was.
  std::size_t write_some(std::string_view text) {
    std::size_t written = 0;
    while (written < text.size()) {
      const auto moved = channel->guest_write(std::as_bytes(std::span(text.substr(written))));
      settle();
      if (moved.error == wasi::Errno::Again) break;
      EXPECT_EQ(moved.error, wasi::Errno::Success);
      if (moved.error != wasi::Errno::Success) break;
      written += moved.bytes;
    }
    return written;
  }
  bool write(std::string_view text) { return write_some(text) == text.size(); }
  // Reads what is there, at most `max` bytes.
  std::string read(std::size_t max = std::string::npos) {
    std::string all;
    while (all.size() < max) {
      std::array<std::byte, 4096> buffer;
      const auto moved = channel->guest_read(std::span(buffer).first(std::min(buffer.size(), max - all.size())));
      settle();
      at_end = moved.error == wasi::Errno::Success && moved.bytes == 0;
      error = moved.error;
      if (moved.error != wasi::Errno::Success || moved.bytes == 0) break;
      all.append(reinterpret_cast<const char*>(buffer.data()), moved.bytes);
    }
    return all;
  }
  void shutdown_write() {
    channel->guest_shutdown_write();
    settle();
  }
  void close() {
    channel->guest_close();
    settle();
  }
  // What the loop would do.
  void settle() {
    while (session && (std::exchange(rung_, false) || std::exchange(wants_turn_, false))) session->on_channel();
    if (closed) session.reset();
  }

  std::shared_ptr<wasi::Channel> channel;
  std::optional<Session> session;
  bool closed = false, at_end = false;
  wasi::Errno error = wasi::Errno::Success;

 private:
  void on_session_closed() override {
    EXPECT_FALSE(closed);
    closed = true;
  }
  void on_session_wants_turn() override { wants_turn_ = true; }
  bool rung_ = false, wants_turn_ = false;
};

constexpr const char* kGet = "GET /api/v1/namespaces/ns/pods HTTP/1.1\r\nHost: kube\r\n\r\n";
constexpr const char* kWatch = "GET /api/v1/pods?watch=1 HTTP/1.1\r\nHost: kube\r\n\r\n";

TEST(Session, ForwardsARequestAndItsAnswer) {
  World world;
  Connection guest(world);
  guest.write(kGet);
  auto& stream = world.upstream.last();
  EXPECT_EQ(stream.request.method, "GET");
  EXPECT_EQ(stream.request.target, "/api/v1/namespaces/ns/pods");
  EXPECT_EQ(stream.request.bearer, "guest-token");
  EXPECT_FALSE(stream.request.has_body);
  stream.respond(200, {{"content-type", "application/json"}, {"content-encoding", "gzip"}, {"content-length", "5"}});
  stream.data("12345");
  stream.end();
  EXPECT_EQ(guest.read(), "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\nContent-Length: 5\r\n\r\n12345");
  EXPECT_FALSE(guest.at_end);
  guest.write(kGet);
  EXPECT_EQ(world.upstream.streams.size(), 2U) << "the connection persists";
  EXPECT_EQ(world.counters.responses[2], 1U);
}

TEST(Session, NothingTheGuestWritesCanBeACredentialOrAClaim) {
  World world;
  Connection guest(world);
  guest.write("GET /version HTTP/1.1\r\nHost: evil\r\nAuthorization: Bearer x\r\nAUTHORIZATION: Basic y\r\n"
              "X-Remote-User: admin\r\nX-Remote-Group: g\r\nX-Remote-Extra-S: 1\r\n"
              "Proxy-Authorization: z\r\nProxy-Connection: keep-alive\r\nForwarded: for=1\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Uri: /\r\n"
              "Connection: keep-alive, X-Hop, TE\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\nTrailer: X-T\r\nVia: 1.1 x\r\n"
              "Upgrade: h2c\r\nHTTP2-Settings: AAA\r\nExpect: 100-continue\r\nAccept: a\r\nAccept: b\r\nAccept-Encoding: gzip\r\nUser-Agent: me\r\n\r\n");
  const kube::Headers expected = {{"accept", "a"}, {"accept", "b"}, {"accept-encoding", "gzip"}, {"user-agent", "me"}};
  EXPECT_EQ(world.upstream.last().request.headers, expected);
  EXPECT_EQ(world.upstream.last().request.bearer, "guest-token");
}

TEST(Session, AGuestsImpersonationIsRefusedNotDropped) {
  for (const std::string_view header : {"Impersonate-User: nobody", "impersonate-extra-a: b", "IMPERSONATE-GROUP: g", "Impersonate-Uid: 1\r\nConnection: Impersonate-Uid"}) {
    World world;
    Connection guest(world);
    guest.write(fmt::format("DELETE /api/v1/namespaces/ns/pods HTTP/1.1\r\nHost: kube\r\n{}\r\n\r\n", header));
    EXPECT_THAT(guest.read(), StartsWith("HTTP/1.1 501 ")) << header;
    EXPECT_TRUE(world.upstream.streams.empty()) << header;
  }
}

// Would answer from a cache, if it were asked.
class RecordingFront final : public ApiFront {
 public:
  explicit RecordingFront(kube::Upstream& upstream) : upstream_(upstream) {}
  std::unique_ptr<kube::Exchange> start(kube::Request request, std::shared_ptr<ApiClient>, kube::ExchangeSink& sink) override {
    ++asked;
    return upstream_.start(std::move(request), sink);
  }
  int asked = 0;

 private:
  kube::Upstream& upstream_;
};

TEST(Session, ANativeClientsImpersonationIsForTheApiServerToJudge) {
  World world;
  RecordingFront front(world.upstream);
  world.caller.identity = nullptr;
  world.caller.own_tokens = true;
  world.caller.front = &front;
  world.caller.client_of = [](const std::string&) { return std::make_shared<ApiClient>(); };
  Connection client(world);
  const std::string fields = "Host: k\r\nAuthorization: Bearer abc\r\nImpersonate-User: nobody\r\nImpersonate-Group: a\r\nImpersonate-Group: b\r\nConnection: impersonate-user\r\n";
  const kube::Headers expected = {{"impersonate-user", "nobody"}, {"impersonate-group", "a"}, {"impersonate-group", "b"}};
  client.write("GET /api/v1/pods HTTP/1.1\r\n" + fields + "\r\n");
  EXPECT_EQ(world.upstream.last().request.headers, expected);
  EXPECT_EQ(world.upstream.last().request.bearer, "abc");
  EXPECT_EQ(front.asked, 0) << "no cache knows the rights of whom it asks as";
  world.upstream.last().respond(200, {{"content-length", "0"}});
  world.upstream.last().end();
  client.read();
  client.write("DELETE /api/v1/pods/x HTTP/1.1\r\n" + fields + "\r\n");
  EXPECT_EQ(world.upstream.last().request.headers, expected);
  EXPECT_EQ(front.asked, 1) << "a write is noted by the cache";
  world.upstream.last().respond(200, {{"content-length", "0"}});
  world.upstream.last().end();
  client.read();
  client.write("GET /api/v1/pods HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer abc\r\n\r\n");
  EXPECT_EQ(front.asked, 2) << "the next request is the client's own again";
}

TEST(Session, PassesAnswersOnInChunksAsTheyCome) {
  World world;
  Connection guest(world);
  guest.write(kWatch);
  auto& stream = world.upstream.last();
  EXPECT_EQ(world.counters.watches_open, 1U);
  stream.respond(200, {{"transfer-encoding", "chunked"}, {"connection", "close"}});
  EXPECT_EQ(guest.read(), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
  stream.data("{\"type\":\"ADDED\"}\n");
  EXPECT_EQ(guest.read(), "11\r\n{\"type\":\"ADDED\"}\n\r\n");
  EXPECT_EQ(stream.credited_bytes, 17U);
  stream.data("x");
  stream.end();
  EXPECT_EQ(guest.read(), "1\r\nx\r\n0\r\n\r\n");
  EXPECT_EQ(world.counters.watches_open, 0U);
  EXPECT_EQ(world.counters.requests_open, 0U);
}

TEST(Session, SaysWhatItsStreamCarries) {
  World world;
  Connection guest(world);
  guest.write(kGet);
  EXPECT_EQ(guest.channel->purpose().kind, wasi::WakeCause::Kind::Answer);
  EXPECT_EQ(*guest.channel->purpose().what, "list pods in ns");
  world.upstream.last().respond(200, {{"content-length", "0"}});
  world.upstream.last().end();
  guest.read();
  guest.write(kWatch);
  EXPECT_EQ(guest.channel->purpose().kind, wasi::WakeCause::Kind::Watch);
  EXPECT_EQ(*guest.channel->purpose().what, "watch pods");
  world.upstream.last().respond(200);
  guest.read();
  world.upstream.last().data("{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"a\",\"namespace\":\"ns\"}}}\n");
  EXPECT_EQ(*guest.channel->purpose().what, "watch pods: ADDED ns/a");
  // This one does not wake the guest: it has not read the first.
  world.upstream.last().data("{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"b\"}}}\n");
  EXPECT_EQ(*guest.channel->purpose().what, "watch pods: ADDED ns/a");
  guest.read();
  world.upstream.last().data("binary");
  EXPECT_EQ(*guest.channel->purpose().what, "watch pods");
}

TEST(Session, AnIdleWatchHoldsNoMemoryOfTheGuests) {
  World world;
  Connection guest(world);
  guest.write(kWatch);
  world.upstream.last().respond(200);
  world.upstream.last().data("event");
  guest.read();
  EXPECT_EQ(world.account.used_bytes(), 0U);
}

TEST(Session, ForwardsBodiesNoFasterThanTheUpstreamTakesThem) {
  World world;
  world.upstream.room_bytes = 1000;
  Connection guest(world);
  EXPECT_TRUE(guest.write("POST /api/v1/namespaces/ns/pods HTTP/1.1\r\nHost: kube\r\nContent-Length: 200000\r\n\r\n"));
  const std::string body(200'000, 'b');
  const std::size_t first = guest.write_some(body);
  EXPECT_LT(first, body.size()) << "the channel must fill";
  auto& stream = world.upstream.last();
  EXPECT_EQ(stream.body.size(), 1000U);
  EXPECT_EQ(stream.header("content-length"), "200000");
  EXPECT_LE(world.account.used_bytes(), 70'000U);
  stream.more_room(199'000);
  EXPECT_TRUE(guest.write(std::string_view(body).substr(first)));
  EXPECT_EQ(stream.body.size(), 200'000U);
  EXPECT_TRUE(stream.body_done);
  stream.respond(201, {{"content-length", "0"}});
  stream.end();
  EXPECT_EQ(guest.read(), "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
}

TEST(Session, ForwardsChunkedBodiesWithoutTheirFraming) {
  World world;
  Connection guest(world);
  guest.write("POST /x HTTP/1.1\r\nHost: kube\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(guest.read(), "HTTP/1.1 100 Continue\r\n\r\n");
  for (const char piece : std::string_view("3\r\nabc\r\n2;e=1\r\nde\r\n0\r\nX-T: 1\r\n\r\n")) guest.write(std::string(1, piece));
  EXPECT_EQ(world.upstream.last().body, "abcde");
  EXPECT_TRUE(world.upstream.last().body_done);
  EXPECT_EQ(world.upstream.last().header("transfer-encoding"), "");
}

TEST(Session, AGuestThatDoesNotReadStopsItsOwnStreamOnly) {
  World world;
  Connection deaf(world), lively(world);
  deaf.write(kWatch);
  auto& flood = world.upstream.last();
  flood.respond(200);
  const std::string event(10'000, 'e');
  std::size_t sent = 0;
  while (const std::size_t size = flood.data(event)) sent += size;
  EXPECT_GE(sent, flood.window_bytes);
  EXPECT_LE(sent, flood.window_bytes + wasi::Channel::kCapacityBytes) << "what the deaf guest costs is bounded by the window and its channel";
  EXPECT_LE(world.account.used_bytes(), flood.window_bytes + wasi::Channel::kCapacityBytes + 3 * Session::kFrameBytesMax);

  lively.write(kGet);
  world.upstream.last().respond(200, {{"content-length", "2"}});
  world.upstream.last().data("ok");
  world.upstream.last().end();
  EXPECT_THAT(lively.read(), EndsWith("\r\n\r\nok"));

  // Once it reads, everything comes, in order and once.
  std::string read;
  std::size_t more = 0;
  while (true) {
    const std::string piece = deaf.read(5000);
    if (piece.empty()) break;
    read += piece;
    if (more < 500'000) more += flood.data(event);
  }
  EXPECT_GE(more, 500'000U);
  EXPECT_EQ(std::ranges::count(read, 'e'), static_cast<std::ptrdiff_t>(sent + more) + 2) << "of the body, and of 'Transfer-Encoding: chunked'";
  EXPECT_EQ(flood.credited_bytes, flood.sent_bytes);
  EXPECT_EQ(world.account.used_bytes(), 0U);
}

TEST(Session, AGuestWithoutMemoryLosesTheConnectionNotTheHost) {
  World world(40'000);
  Connection deaf(world), other(world);
  deaf.write(kWatch);
  auto& flood = world.upstream.last();
  flood.respond(200);
  while (flood.open() && flood.data(std::string(10'000, 'e')) > 0) {}
  EXPECT_TRUE(flood.reset);
  deaf.settle();
  deaf.read();
  EXPECT_EQ(deaf.error, wasi::Errno::NoMem);
  EXPECT_FALSE(deaf.session);
  EXPECT_EQ(world.account.used_bytes(), 0U);
  other.write(kGet);
  EXPECT_TRUE(world.upstream.last().open());
}

TEST(Session, HeadsBeingReadAreChargedToTheGuest) {
  World world(200'000);
  std::vector<std::unique_ptr<Connection>> connections;
  for (int i = 0; i < 8; ++i) {
    connections.push_back(std::make_unique<Connection>(world));
    const std::string head = "GET / HTTP/1.1\r\nHost: kube\r\nX: " + std::string(30'000, 'x');
    connections.back()->channel->guest_write(std::as_bytes(std::span(head)));
    connections.back()->settle();
  }
  EXPECT_GT(world.account.used_bytes(), 150'000U);
  EXPECT_GT(world.account.refusals(), 0U);
  connections.clear();
  EXPECT_EQ(world.account.used_bytes(), 0U);
}

TEST(Session, PipelinedRequestsAreAnsweredInOrderOneAtATime) {
  World world;
  Connection guest(world);
  guest.write("GET /a HTTP/1.1\r\nHost: k\r\n\r\nGET /b HTTP/1.1\r\nHost: k\r\n\r\n");
  ASSERT_EQ(world.upstream.streams.size(), 1U);
  world.upstream.streams[0]->respond(200, {{"content-length", "1"}});
  world.upstream.streams[0]->data("a");
  EXPECT_EQ(world.upstream.streams.size(), 1U);
  world.upstream.streams[0]->end();
  ASSERT_EQ(world.upstream.streams.size(), 2U);
  EXPECT_EQ(world.upstream.streams[1]->request.target, "/b");
  world.upstream.streams[1]->respond(204);
  world.upstream.streams[1]->end();
  EXPECT_EQ(guest.read(), "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 204 No Content\r\n\r\n");
}

TEST(Session, ManyPipelinedRequestsAnsweredHereTakeTurns) {
  World world;
  world.identity.token = fail(ErrorCode::NotFound, "the ServiceAccount ns/sa does not exist");
  Connection guest(world);
  std::string requests;
  for (int i = 0; i < 1000; ++i) requests += "GET / HTTP/1.1\r\nHost: k\r\n\r\n";
  std::string answers;
  for (std::string_view rest = requests; !rest.empty();) {
    const auto moved = guest.channel->guest_write(std::as_bytes(std::span(rest)));
    if (moved.error == wasi::Errno::Success) rest.remove_prefix(moved.bytes);
    guest.settle();
    answers += guest.read();
  }
  EXPECT_EQ(world.counters.token_failures, 1000U);
  EXPECT_THAT(answers, StartsWith("HTTP/1.1 503 Service Unavailable\r\n"));
  EXPECT_THAT(answers, HasSubstr("the ServiceAccount ns/sa does not exist"));
}

TEST(Session, AnUnreachableApiServerIsA503ThatTellsToTryAgain) {
  World world;
  Connection guest(world);
  guest.write(kGet);
  world.upstream.last().fail("connect 10.0.0.1:443: \"refused\"", true);
  const std::string answer = guest.read();
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n"));
  EXPECT_THAT(answer, HasSubstr("\r\nretry-after: 1\r\n"));
  EXPECT_THAT(answer, HasSubstr(R"("status":"Failure","message":"the API server cannot be reached: connect 10.0.0.1:443: \"refused\"","reason":"ServiceUnavailable","details":{"retryAfterSeconds":1},"code":503})"));
  EXPECT_THAT(answer, Not(HasSubstr("Connection: close")));
  guest.write(kGet);
  EXPECT_EQ(world.upstream.streams.size(), 2U) << "the connection persists";
  EXPECT_EQ(world.counters.upstream_failures, 1U);
}

TEST(Session, ALostWatchEndsAsIfTheServerHadEndedIt) {
  World world;
  Connection guest(world);
  guest.write(kWatch);
  world.upstream.last().respond(200);
  world.upstream.last().data("event");
  world.upstream.last().fail();
  EXPECT_THAT(guest.read(), EndsWith("5\r\nevent\r\n0\r\n\r\n"));
  EXPECT_FALSE(guest.at_end);
  guest.write(kWatch);
  EXPECT_EQ(world.upstream.open_streams(), 1U);
}

TEST(Session, ALostListIsSeenToBeCut) {
  for (const kube::Headers& headers : {kube::Headers{}, kube::Headers{{"content-length", "100"}}}) {
    World world;
    Connection guest(world);
    guest.write(kGet);
    world.upstream.last().respond(200, headers);
    world.upstream.last().data("part");
    world.upstream.last().fail();
    const std::string answer = guest.read();
    EXPECT_THAT(answer, HasSubstr("part"));
    EXPECT_THAT(answer, Not(HasSubstr("\r\n0\r\n\r\n")));
    EXPECT_TRUE(guest.at_end);
    guest.close();
    EXPECT_FALSE(guest.session);
  }
}

TEST(Session, AnAnswerShorterThanPromisedClosesTheConnection) {
  World world;
  Connection guest(world);
  guest.write(kGet);
  world.upstream.last().respond(200, {{"content-length", "10"}});
  world.upstream.last().data("short");
  world.upstream.last().end();
  EXPECT_THAT(guest.read(), EndsWith("short"));
  EXPECT_TRUE(guest.at_end);
}

TEST(Session, ARejectedTokenIsReplacedAndTheRequestSentAgainOnce) {
  World world;
  Connection guest(world);
  guest.write(kGet);
  world.upstream.streams[0]->respond(401);
  ASSERT_EQ(world.upstream.streams.size(), 2U);
  EXPECT_TRUE(world.upstream.streams[0]->reset);
  EXPECT_EQ(world.upstream.streams[1]->request.bearer, "guest-token+");
  EXPECT_EQ(world.upstream.streams[1]->request.target, "/api/v1/namespaces/ns/pods");
  world.upstream.streams[1]->respond(401, {{"content-length", "0"}});
  world.upstream.streams[1]->end();
  EXPECT_EQ(guest.read(), "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
  EXPECT_EQ(world.upstream.streams.size(), 2U);
  EXPECT_EQ(world.counters.token_retries, 1U);
}

TEST(Session, ARequestWhoseBodyIsGoneIsNotSentAgain) {
  World world;
  Connection guest(world);
  guest.write("POST /x HTTP/1.1\r\nHost: k\r\nContent-Length: 3\r\n\r\nabc");
  world.upstream.last().respond(401, {{"content-length", "0"}});
  world.upstream.last().end();
  EXPECT_EQ(guest.read(), "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
  EXPECT_EQ(world.identity.rejections, 1) << "the next request gets another token all the same";
}

TEST(Session, ForbiddenRequestsAreToldWithVerbAndResource) {
  World world;
  Connection guest(world);
  guest.write("PATCH /apis/apps/v1/namespaces/a/deployments/d/scale HTTP/1.1\r\nHost: k\r\n\r\n");
  world.upstream.last().respond(403, {{"content-length", "0"}});
  world.upstream.last().end();
  ASSERT_EQ(world.forbidden.size(), 1U);
  EXPECT_EQ(world.forbidden[0].verb, "patch");
  EXPECT_EQ(world.forbidden[0].what(), "deployments.apps/scale");
  EXPECT_EQ(world.forbidden[0].namespace_name, "a");
  EXPECT_EQ(world.counters.forbidden, 1U);
}

TEST(Session, UpgradesParentSegmentsAndMalformedRequestsNeverReachTheServer) {
  struct { const char* request; const char* status; const char* reason; } const table[] = {
      {"GET /api/v1/namespaces/a/pods/b/exec HTTP/1.1\r\nHost: k\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "501 Not Implemented", "connection upgrades"},
      {"POST /x HTTP/1.1\r\nHost: k\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n\r\n", "501 Not Implemented", "NotImplemented"},
      {"GET /api/v1/namespaces/a/../b/pods HTTP/1.1\r\nHost: k\r\n\r\n", "400 Bad Request", "segment"},
      {"GET /api/v1/namespaces/a%2f%2e%2E/pods HTTP/1.1\r\nHost: k\r\n\r\n", "400 Bad Request", "segment"},
      {"GET / HTTP/1.1\r\nHost: k\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "400 Bad Request", "both Content-Length and Transfer-Encoding"},
      {"garbage\r\n", "400 Bad Request", "BadRequest"},
      {"\x16\x03\x01 TLS to a plain port\n", "400 Bad Request", "LF alone"},
  };
  for (const auto& entry : table) {
    World world;
    Connection guest(world);
    guest.write(entry.request);
    guest.write("GET /hidden HTTP/1.1\r\nHost: k\r\n\r\n");
    const std::string answer = guest.read();
    EXPECT_THAT(answer, StartsWith(fmt::format("HTTP/1.1 {}\r\n", entry.status))) << entry.request;
    EXPECT_THAT(answer, HasSubstr("\"kind\":\"Status\""));
    EXPECT_THAT(answer, HasSubstr(entry.reason));
    EXPECT_THAT(answer, HasSubstr("Connection: close"));
    EXPECT_TRUE(guest.at_end) << entry.request;
    EXPECT_TRUE(world.upstream.streams.empty()) << entry.request;
    EXPECT_EQ(world.counters.refused, 1U);
    guest.close();
    EXPECT_FALSE(guest.session);
  }
}

TEST(Session, ABrokenChunkResetsTheRequestUpstream) {
  World world;
  Connection guest(world);
  guest.write("POST /x HTTP/1.1\r\nHost: k\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n");
  EXPECT_TRUE(world.upstream.last().reset);
  EXPECT_THAT(guest.read(), StartsWith("HTTP/1.1 400 Bad Request\r\n"));
  EXPECT_TRUE(guest.at_end);
}

TEST(Session, AGuestThatStillSendsAfterARefusalIsReadToTheEnd) {
  World world;
  Connection guest(world);
  guest.write("BREW / HTTP/1.1\r\n\r\n");
  EXPECT_TRUE(guest.write(std::string(1'000'000, 'x')));
  EXPECT_THAT(guest.read(), StartsWith("HTTP/1.1 501 Not Implemented\r\n"));
  guest.shutdown_write();
  EXPECT_FALSE(guest.session);
}

TEST(Session, AnEarlyAnswerEndsTheConnectionAfterIt) {
  World world;
  Connection guest(world);
  guest.write("POST /x HTTP/1.1\r\nHost: k\r\nContent-Length: 100\r\n\r\nabc");
  world.upstream.last().respond(413, {{"content-length", "0"}});
  world.upstream.last().end();
  EXPECT_EQ(guest.read(), "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(guest.at_end);
}

TEST(Session, ClosingResetsTheStreamUpstreamAndGivesAllBack) {
  World world;
  {
    Connection guest(world);
    guest.write(kWatch);
    world.upstream.last().respond(200);
    world.upstream.last().data(std::string(150'000, 'x'));
    guest.close();
    EXPECT_TRUE(world.upstream.last().reset);
    EXPECT_FALSE(guest.session);
  }
  EXPECT_EQ(world.account.used_bytes(), 0U);
  EXPECT_EQ(world.counters.connections_open, 0U);
  EXPECT_EQ(world.counters.requests_open, 0U);
  EXPECT_EQ(world.counters.watches_open, 0U);
}

TEST(Session, AHalfClosedGuestStillGetsItsAnswer) {
  World world;
  Connection guest(world);
  guest.write(kGet);
  guest.shutdown_write();
  world.upstream.last().respond(200, {{"content-length", "2"}});
  world.upstream.last().data("ok");
  world.upstream.last().end();
  EXPECT_THAT(guest.read(), EndsWith("ok"));
  EXPECT_TRUE(guest.at_end);
}

TEST(Session, ATokenThatComesAfterTheGuestLeftIsHarmless) {
  World world;
  world.identity.held_back = true;
  {
    Connection guest(world);
    guest.write(kGet);
    ASSERT_EQ(world.identity.waiting.size(), 1U);
    guest.close();
  }
  world.identity.waiting[0]("late");
  EXPECT_TRUE(world.upstream.streams.empty());
}

TEST(Session, WaitsForATokenAndThenSends) {
  World world;
  world.identity.held_back = true;
  Connection guest(world);
  guest.write("POST /x HTTP/1.1\r\nHost: k\r\nContent-Length: 3\r\n\r\nabc");
  EXPECT_TRUE(world.upstream.streams.empty());
  world.identity.waiting[0]("t");
  EXPECT_EQ(world.upstream.last().request.bearer, "t");
  EXPECT_EQ(world.upstream.last().body, "abc");
  EXPECT_TRUE(world.upstream.last().body_done);
}

TEST(Session, WithoutAnIdentityTheRequestCarriesNoTokenOfAGuest) {
  World world;
  world.caller.identity = nullptr;
  Connection guest(world);
  guest.write(kGet);
  EXPECT_FALSE(world.upstream.last().request.bearer);
  world.upstream.last().respond(401, {{"content-length", "0"}});
  world.upstream.last().end();
  EXPECT_THAT(guest.read(), StartsWith("HTTP/1.1 401 Unauthorized\r\n"));
}

TEST(Session, AnswersToHeadHaveNoBody) {
  World world;
  Connection guest(world);
  guest.write("HEAD /x HTTP/1.1\r\nHost: k\r\n\r\n");
  world.upstream.last().respond(200, {{"content-length", "5"}});
  world.upstream.last().end();
  EXPECT_EQ(guest.read(), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
  EXPECT_FALSE(guest.at_end);
}

}  // namespace
}  // namespace dormouse::gateway
