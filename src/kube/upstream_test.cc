// SPDX-License-Identifier: Apache-2.0
#include "kube/upstream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "http/test_http2_server.h"
#include "http/test_pki.h"
#include "kube/test_support.h"

namespace dormouse::kube {
namespace {
using http::TestHttp2Server;
using http::TestHttp2Session;
using http::TestPki;
using testing::HasSubstr;
using namespace std::chrono_literals;

struct Sink final : ExchangeSink {
  void on_response(int got, Headers) override { status = got; }
  void on_data(std::span<const std::byte> bytes) override {
    body.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (exchange != nullptr && consuming) exchange->consumed(bytes.size());
  }
  void on_end() override { ++ends; }
  void on_failure(const Error& got, bool before) override {
    ++failures;
    error = got;
    before_response = before;
  }
  void on_writable() override {}
  bool over() const { return ends + failures > 0; }
  std::unique_ptr<Exchange> exchange;
  bool consuming = true;
  int status = 0, ends = 0, failures = 0;
  std::string body;
  Error error;
  bool before_response = false;
};

class UpstreamOverTls : public testing::Test {
 protected:
  using Handler = TestHttp2Server::Handler;
  UpstreamOverTls() {
    const auto pair = pki.issue("IP:127.0.0.1");
    server_tls = {.ca_pem = pki.ca_pem(), .certificate_pem = pair.certificate_pem, .key_pem = pair.key_pem};
    const auto user = pki.issue("DNS:host");
    options.credentials.client_certificate_pem = user.certificate_pem;
    options.credentials.client_key_pem = user.key_pem;
    options.cluster.ca_pem = pki.ca_pem();
  }
  void serve(Handler handler, std::uint16_t port = 0) { server = std::make_unique<TestHttp2Server>(loop, server_tls, std::move(handler), port); }
  void connect() {
    EXPECT_TRUE(parse_server_url(fmt::format("https://127.0.0.1:{}/prefix", server->port()), options.cluster));
    auto made = Upstream::create(loop, clock, log, options);
    ASSERT_TRUE(made.has_value()) << made.error().message;
    upstream = std::move(*made);
  }
  // Tells who asked, as the server sees it.
  static void whoami(TestHttp2Server::Peer& peer, TestHttp2Session& session, const TestHttp2Session::Request& request) {
    const auto token = request.headers.find("authorization");
    session.respond(request.id, 200, fmt::format("{} {}", peer.tls->has_peer_certificate() ? "certificate" : "none", token == request.headers.end() ? "none" : token->second));
  }
  void start(Sink& sink, const std::string& target = "/", std::optional<std::string> bearer = std::nullopt) {
    sink.exchange = upstream->start(Request{"GET", target, {}, false, std::move(bearer)}, sink);
  }
  Result<Response> call(const std::string& body = "") {
    std::optional<Result<Response>> got;
    upstream->call(Request{"POST", "/x"}, body, 1000, [&](Result<Response> response) { got = std::move(response); });
    EXPECT_FALSE(got.has_value());
    run_until(loop, [&] { return got.has_value(); });
    return got ? std::move(*got) : fail(ErrorCode::Internal, "no answer");
  }
  TestPki pki;
  http::TlsContext::Options server_tls;
  boost::asio::io_context loop;
  ManualClock clock;
  Log log{Log::Options{.fd = -1}, clock};
  Upstream::Options options;
  std::unique_ptr<TestHttp2Server> server;
  std::unique_ptr<Upstream> upstream;
};

TEST_F(UpstreamOverTls, NoCredentialOfTheHostRidesOnAGuestsRequest) {
  options.credentials.token = "host-token";
  serve(whoami);
  connect();
  Sink host, guest;
  start(host);
  start(guest, "/", "guest-token");
  run_until(loop, [&] { return host.over() && guest.over(); });
  EXPECT_EQ(host.body, "certificate Bearer host-token");
  EXPECT_EQ(guest.body, "none Bearer guest-token");
  EXPECT_EQ(upstream->counters().connections_opened, 2U);
}

TEST_F(UpstreamOverTls, AddsPrefixImpersonationAndAuthority) {
  options.credentials.impersonation = {"jane", "", {"devs"}, {{"scopes", {"view"}}}};
  std::map<std::string, std::string> seen;
  serve([&](TestHttp2Server::Peer&, TestHttp2Session& session, const TestHttp2Session::Request& request) {
    seen = request.headers;
    session.respond(request.id, 200, request.body);
  });
  connect();
  const auto response = call(std::string(300'000, 'x').substr(0, 900));
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->body.size(), 900U);
  EXPECT_EQ(seen[":path"], "/prefix/x");
  EXPECT_EQ(seen[":authority"], fmt::format("127.0.0.1:{}", server->port()));
  EXPECT_EQ(seen["impersonate-user"], "jane");
  EXPECT_EQ(seen["impersonate-group"], "devs");
  EXPECT_EQ(seen["impersonate-extra-scopes"], "view");
  Sink guest;
  start(guest, "/", "token");
  run_until(loop, [&] { return guest.over(); });
  EXPECT_FALSE(seen.contains("impersonate-user"));
}

TEST_F(UpstreamOverTls, OpensAnotherConnectionWhenStreamsRunOut) {
  std::vector<std::pair<TestHttp2Server::Peer*, std::int32_t>> open;
  serve([&](TestHttp2Server::Peer& peer, TestHttp2Session& session, const TestHttp2Session::Request& request) {
    session.start(request.id, 200);
    open.emplace_back(&peer, request.id);
  });
  server->streams_max = 10;
  options.streams_per_connection_max = 100;
  connect();
  std::vector<Sink> sinks(35);
  for (Sink& sink : sinks) start(sink, "/watch", "token");
  run_until(loop, [&] { return std::ranges::all_of(sinks, [](const Sink& sink) { return sink.status == 200; }); });
  EXPECT_EQ(upstream->counters().connections_open, 4U);
  EXPECT_EQ(upstream->counters().streams_open, 35U);
  // Those that are not needed any more go, but one stays.
  for (Sink& sink : sinks) sink.exchange.reset();
  run_until(loop, [&] { return upstream->counters().connections_open == 1; });
  EXPECT_EQ(upstream->counters().streams_open, 0U);
}

TEST_F(UpstreamOverTls, ASlowGuestHoldsBackOnlyItself) {
  const std::string much(2'000'000, 'x');
  serve([&](TestHttp2Server::Peer&, TestHttp2Session& session, const TestHttp2Session::Request& request) { session.respond(request.id, 200, much); });
  connect();
  Sink slow, quick;
  slow.consuming = false;
  start(slow, "/", "a");
  start(quick, "/", "b");
  run_until(loop, [&] { return quick.over(); });
  EXPECT_EQ(quick.body.size(), much.size());
  EXPECT_LT(slow.body.size(), 300'000U);
  slow.consuming = true;
  slow.exchange->consumed(slow.body.size());
  run_until(loop, [&] { return slow.over(); });
  EXPECT_EQ(slow.body.size(), much.size());
}

TEST_F(UpstreamOverTls, ALostConnectionFailsItsStreamsAndTheNextRequestConnectsAgain) {
  serve([](TestHttp2Server::Peer& peer, TestHttp2Session& session, const TestHttp2Session::Request& request) {
    if (request.headers.at(":path") == "/prefix/watch") {
      session.start(request.id, 200);
      session.send(request.id, "event");
    } else {
      whoami(peer, session, request);
    }
  });
  connect();
  Sink watch;
  start(watch, "/watch", "token");
  run_until(loop, [&] { return watch.body == "event"; });
  server->cut_all();
  run_until(loop, [&] { return watch.over(); });
  EXPECT_EQ(watch.failures, 1);
  EXPECT_EQ(watch.error.code, ErrorCode::Unavailable);
  EXPECT_FALSE(watch.before_response);
  EXPECT_EQ(upstream->counters().connections_open, 0U);
  Sink again;
  start(again, "/", "token");
  run_until(loop, [&] { return again.over(); });
  EXPECT_EQ(again.status, 200);
}

TEST_F(UpstreamOverTls, AnIdleConnectionThatTheServerClosesIsNoticedAndNoTimerRunsMeanwhile) {
  serve(whoami);
  connect();
  ASSERT_TRUE(call());
  EXPECT_EQ(upstream->counters().connections_open, 1U);
  server->cut_all();
  run_until(loop, [&] { return upstream->counters().connections_open == 0; });
  server.reset();
  loop.restart();
  loop.run();  // Returns at once only if nothing, no timer either, is pending.
}

TEST_F(UpstreamOverTls, GoawayDrainsAndUnprocessedRequestsMoveToAnotherConnection) {
  int served = 0;
  std::int32_t held = 0;
  TestHttp2Server::Peer* first = nullptr;
  serve([&](TestHttp2Server::Peer& peer, TestHttp2Session& session, const TestHttp2Session::Request& request) {
    if (++served == 1) {
      held = request.id;
      first = &peer;
      session.start(request.id, 200);
    } else if (&peer == first) {
      session.reset(request.id, NGHTTP2_REFUSED_STREAM);
      session.goaway(held);
    } else {
      session.respond(request.id, 200, "other connection");
    }
  });
  connect();
  Sink holding, moved;
  start(holding, "/", "token");
  run_until(loop, [&] { return holding.status == 200; });
  start(moved, "/", "token");
  run_until(loop, [&] { return moved.over(); });
  EXPECT_EQ(moved.body, "other connection");
  EXPECT_EQ(holding.failures, 0);
  first->session->end(held);
  first->flush(server->peers[0]);
  run_until(loop, [&] { return holding.over() && upstream->counters().connections_open == 1; });
  EXPECT_EQ(holding.ends, 1);
}

TEST_F(UpstreamOverTls, FailsFastWithTheReasonWhileBackingOff) {
  serve(whoami);
  connect();
  const std::uint16_t port = server->port();
  server.reset();
  auto response = call();
  ASSERT_FALSE(response);
  EXPECT_THAT(response.error().message, HasSubstr("Connection refused"));
  serve(whoami, port);  // It is back, but the time has not come.
  response = call();
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, ErrorCode::Unavailable);
  EXPECT_THAT(response.error().message, HasSubstr("next try in"));
  clock.advance(options.backoff_min);
  EXPECT_TRUE(call());
}

TEST_F(UpstreamOverTls, BackOffGrowsUpToItsBound) {
  serve(whoami);
  connect();
  server.reset();
  for (int i = 0; i < 12; ++i) {
    ASSERT_FALSE(call());
    clock.advance(options.backoff_max);
  }
  EXPECT_EQ(upstream->counters().failures, 12U);
  ASSERT_FALSE(call());
  clock.advance(options.backoff_max / 2 - 1ms);
  const auto response = call();
  ASSERT_FALSE(response);
  EXPECT_THAT(response.error().message, HasSubstr("next try in"));
}

TEST_F(UpstreamOverTls, RefusesAServerThatItCannotVerify) {
  const TestPki stranger("stranger");
  serve(whoami);
  options.cluster.ca_pem = stranger.ca_pem();
  connect();
  auto response = call();
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, ErrorCode::PermissionDenied);
  EXPECT_THAT(response.error().message, HasSubstr("cannot be trusted"));
  options.cluster.ca_pem = pki.ca_pem();
  options.cluster.tls_server_name = "api.example";
  connect();
  response = call();
  ASSERT_FALSE(response);
  EXPECT_THAT(response.error().message, HasSubstr("not valid for api.example"));
  options.cluster.insecure_skip_tls_verify = true;
  options.cluster.ca_pem.clear();
  connect();
  EXPECT_TRUE(call());
}

TEST_F(UpstreamOverTls, RefusesAServerWithoutHttp2) {
  server_tls.alpn = {"http/1.1"};
  serve(whoami);
  connect();
  EXPECT_FALSE(call());
}

TEST_F(UpstreamOverTls, AServerThatAllowsNoStreamsIsNotFloodedWithConnections) {
  serve(whoami);
  server->streams_max = 0;
  connect();
  const auto response = call();
  ASSERT_FALSE(response);
  EXPECT_THAT(response.error().message, HasSubstr("allows no streams"));
  EXPECT_EQ(server->peers.size(), 1U);
}

TEST_F(UpstreamOverTls, ASilentServerIsFoundOutByPingWhileStreamsAreOpen) {
  options.ping_interval = 20ms;
  serve([](TestHttp2Server::Peer&, TestHttp2Session& session, const TestHttp2Session::Request& request) { session.start(request.id, 200); });
  connect();
  Sink watch;
  start(watch, "/", "token");
  run_until(loop, [&] { return watch.status == 200 && server->peers[0]->session->pings > 2; });
  EXPECT_EQ(watch.failures, 0);
  server->silent = true;
  run_until(loop, [&] { return watch.over(); });
  EXPECT_THAT(watch.error.message, HasSubstr("stopped answering"));
}

TEST_F(UpstreamOverTls, BoundsWhatACallGathersAndHowLongItTakes) {
  serve([](TestHttp2Server::Peer&, TestHttp2Session& session, const TestHttp2Session::Request& request) {
    if (request.body == "long") session.respond(request.id, 200, std::string(2000, 'x'));
  });
  connect();
  auto response = call("long");
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, ErrorCode::ResourceExhausted);
  options.call_timeout = 50ms;
  connect();
  response = call("never");
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, ErrorCode::DeadlineExceeded);
  EXPECT_EQ(upstream->counters().streams_open, 0U);
}

TEST_F(UpstreamOverTls, AnExchangeMayGoAtAnyTimeAndNobodyHearsOfIt) {
  serve(whoami);
  connect();
  Sink early, late;
  start(early, "/", "token");
  early.exchange.reset();  // Before there is a connection.
  start(late, "/", "token");
  run_until(loop, [&] { return late.over(); });
  EXPECT_FALSE(early.over());
  EXPECT_EQ(upstream->counters().streams_open, 0U);
}

TEST_F(UpstreamOverTls, WritesMadeBeforeThereIsAConnectionAreSent) {
  serve([](TestHttp2Server::Peer&, TestHttp2Session& session, const TestHttp2Session::Request& request) { session.respond(request.id, 200, std::to_string(request.body.size())); });
  connect();
  Sink sink;
  const std::string much(200'000, 'x');
  sink.exchange = upstream->start(Request{"POST", "/", {}, true, "token"}, sink);
  const std::size_t taken = sink.exchange->write(std::as_bytes(std::span(much)));
  EXPECT_LT(taken, much.size());
  sink.exchange->finish_body();
  run_until(loop, [&] { return sink.over(); });
  EXPECT_EQ(sink.body, std::to_string(taken));
}

TEST_F(UpstreamOverTls, ReadsTheTokenFileAgainAfterARefusal) {
  const TemporaryFolder folder;
  options.credentials = {};
  options.credentials.token_file = folder.write("token", "old\n");
  serve([](TestHttp2Server::Peer&, TestHttp2Session& session, const TestHttp2Session::Request& request) {
    session.respond(request.id, request.headers.at("authorization") == "Bearer new" ? 200 : 401, "");
  });
  connect();
  auto response = call();
  ASSERT_TRUE(response);
  EXPECT_EQ(response->status, 401);
  folder.write("token", "new\n");
  response = call();  // Refused, read again, accepted.
  ASSERT_TRUE(response);
  EXPECT_EQ(response->status, 200);
}

TEST_F(UpstreamOverTls, APluginsCertificateReplacesTheConnection) {
  const TemporaryFolder folder;
  const auto certificate = options.credentials;
  options.credentials = {};
  ExecPlugin plugin;
  plugin.api_version = "client.authentication.k8s.io/v1";
  plugin.command = "sh";
  // A token first, a certificate the second time.
  std::string pem_json;
  append_json_escaped(pem_json, certificate.client_certificate_pem);
  pem_json += "\",\"clientKeyData\":\"";
  append_json_escaped(pem_json, certificate.client_key_pem);
  folder.write("second", R"({"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","status":{"clientCertificateData":")" + pem_json + "\"}}");
  folder.write("first", R"({"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","status":{"token":"expired"}})");
  plugin.args = {"-c", "cd " + folder.path() + "; cat first || cat second; rm -f first"};
  options.credentials.exec = plugin;
  serve([](TestHttp2Server::Peer& peer, TestHttp2Session& session, const TestHttp2Session::Request& request) {
    session.respond(request.id, request.headers.contains("authorization") ? 401 : 200, peer.tls->has_peer_certificate() ? "certificate" : "none");
  });
  connect();
  const auto response = call();
  ASSERT_TRUE(response) << response.error().message;
  EXPECT_EQ(response->status, 200);
  EXPECT_EQ(response->body, "certificate");
  run_until(loop, [&] { return upstream->counters().connections_open == 1; });
}

TEST_F(UpstreamOverTls, SaysAtOnceThatACertificateIsBroken) {
  options.credentials.name = "jane";
  options.credentials.client_key_pem = "nonsense";
  options.cluster.host = "127.0.0.1";
  const auto made = Upstream::create(loop, clock, log, options);
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().message, HasSubstr("user \"jane\": the private key is not a PEM private key"));
}

}  // namespace
}  // namespace dormouse::kube
