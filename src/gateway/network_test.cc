// SPDX-License-Identifier: Apache-2.0
#include "gateway/network.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <semaphore>
#include <thread>

#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "gateway/fake_upstream.h"

namespace dormouse::gateway {
namespace {

using testing::HasSubstr;
using wasi::Errno;
using Tcp = boost::asio::ip::tcp;

// A loop, a host log that can be read, and guests on it.
class NetworkTest : public testing::Test {
 protected:
  NetworkTest() {
    CHECK(::pipe2(log_ends_, O_NONBLOCK | O_CLOEXEC) == 0);
    log_.emplace(Log::Options{.fd = log_ends_[1]}, clock_);
  }
  ~NetworkTest() override {
    loop_.restart();
    loop_.poll();
    ::close(log_ends_[0]);
    ::close(log_ends_[1]);
  }

  std::unique_ptr<Network> make(std::string_view egress = {}, Network::Limits limits = {}, EgressTls* tls = nullptr, MemoryAccount* account = nullptr) {
    auto policy = EgressPolicy::parse(egress);
    CHECK(policy.has_value());
    return std::make_unique<Network>(Network::Options{.guest = "ns/pod", .loop = loop_, .log = *log_, .account = account != nullptr ? *account : account_,
                                                      .upstream = &upstream_, .identity = &identity_, .egress = std::move(*policy), .tls = tls, .limits = limits});
  }
  // Runs the loop until `done`, or gives up.
  bool run_until(auto&& done) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!done()) {
      loop_.restart();
      loop_.run_one_until(end);
      if (std::chrono::steady_clock::now() >= end) return done();
    }
    return true;
  }
  void settle() {
    loop_.restart();
    loop_.poll();
  }
  std::string logged() {
    std::string text(65536, '\0');
    const ssize_t size = ::read(log_ends_[0], text.data(), text.size());
    text.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
    return text;
  }
  static Errno write(wasi::Channel& channel, std::string_view text) {
    const auto moved = channel.guest_write(std::as_bytes(std::span(text)));
    EXPECT_TRUE(moved.error != Errno::Success || moved.bytes == text.size());
    return moved.error;
  }
  // Reads until `size` bytes, an end or an error have come.
  std::string read(wasi::Channel& channel, std::size_t size, Errno* error = nullptr) {
    std::string all;
    Errno last = Errno::Success;
    run_until([&] {
      while (all.size() < size) {
        std::array<std::byte, 8192> buffer;
        const auto moved = channel.guest_read(std::span(buffer).first(std::min(buffer.size(), size - all.size())));
        last = moved.error;
        if (moved.error == Errno::Again) return false;
        if (moved.error != Errno::Success || moved.bytes == 0) return true;
        all.append(reinterpret_cast<const char*>(buffer.data()), moved.bytes);
      }
      return true;
    });
    if (error != nullptr) *error = last;
    return all;
  }
  Tcp::socket take(Tcp::acceptor& acceptor) {
    Tcp::socket socket(loop_);
    bool done = false;
    acceptor.async_accept(socket, [&](boost::system::error_code error) { done = !error; });
    EXPECT_TRUE(run_until([&] { return done; }));
    return socket;
  }
  std::uint16_t unused_port() {
    Tcp::acceptor acceptor(loop_, Tcp::endpoint(boost::asio::ip::address_v4::loopback(), 0));
    return acceptor.local_endpoint().port();
  }

  int log_ends_[2];
  ManualClock clock_;
  std::optional<Log> log_;
  boost::asio::io_context loop_;
  MemoryAccount account_{64 << 20};
  FakeUpstream upstream_;
  FakeIdentity identity_;
};

TEST_F(NetworkTest, KubeIsTheGatewayAlsoByItsUsualNames) {
  auto network = make();
  for (const char* target : {"kube", "tcp/kube:80", "tcp/kubernetes.default.svc:443"}) {
    auto channel = network->dial(target, nullptr);
    ASSERT_TRUE(channel) << target;
    settle();
    EXPECT_EQ(write(**channel, "GET /version HTTP/1.1\r\nHost: kube\r\n\r\n"), Errno::Success);
    settle();
    EXPECT_EQ(upstream_.last().request.target, "/version");
    (*channel)->guest_close();
  }
  settle();
  EXPECT_EQ(network->counters().streams_open, 0U);
  EXPECT_EQ(upstream_.open_streams(), 0U);
  EXPECT_EQ(account_.used_bytes(), 0U);
}

TEST_F(NetworkTest, RefusesWhatIsNotThereNotAllowedOrMalformed) {
  auto network = make("example.com:443");
  struct { const char* target; Errno error; } const table[] = {
      {"", Errno::NoEnt}, {"cube", Errno::NoEnt}, {"udp/a:1", Errno::NoEnt}, {"kube/x", Errno::NoEnt}, {"tcp", Errno::NoEnt},
      {"tcp/", Errno::Inval}, {"tcp/a", Errno::Inval}, {"tcp/a:0", Errno::Inval}, {"tcp/a:65536", Errno::Inval}, {"tcp/a:08", Errno::Inval}, {"tcp/:1", Errno::Inval},
      {"tcp/a b:1", Errno::Inval}, {"tcp/a/b:1", Errno::Inval}, {"tcp/::1:1", Errno::Inval}, {"tcp/[::1:1", Errno::Inval}, {"tcp/[fe80::1%1]:1", Errno::Inval},
      {"tcp/a\xff:1", Errno::Inval}, {"tcp/..:1", Errno::Inval},
      {"tcp/example.com:80", Errno::Acces}, {"tls/example.com:443", Errno::Acces}, {"tcp/127.0.0.1:443", Errno::Acces}, {"tls/kube:443", Errno::Acces},
  };
  for (const auto& entry : table) {
    const auto channel = network->dial(entry.target, nullptr);
    ASSERT_FALSE(channel) << entry.target;
    EXPECT_EQ(channel.error(), entry.error) << entry.target;
  }
  EXPECT_FALSE(network->dial("tcp/example.com:80", nullptr));
  const std::string log = logged();
  EXPECT_EQ(log.find("destination=example.com:80"), log.rfind("destination=example.com:80")) << "said once";
  EXPECT_THAT(log, HasSubstr("dormouse.io/allow-egress"));
}

TEST_F(NetworkTest, AGuestThatOpensStreamsWithoutEndGetsMFileAndHarmsNobody) {
  auto greedy = make();
  MemoryAccount other_account(1 << 20);
  auto other = make({}, {}, nullptr, &other_account);
  std::vector<std::shared_ptr<wasi::Channel>> held;
  int refused = 0;
  for (int i = 0; i < 10'000; ++i) {
    auto channel = greedy->dial("kube", nullptr);
    if (channel) held.push_back(std::move(*channel));
    else if (channel.error() == Errno::MFile) ++refused;
    if (i % 100 == 0) settle();
  }
  EXPECT_EQ(held.size(), Network::Limits{}.streams_max);
  EXPECT_EQ(refused, 10'000 - static_cast<int>(held.size()));
  auto channel = other->dial("kube", nullptr);
  ASSERT_TRUE(channel);
  settle();
  write(**channel, "GET /mine HTTP/1.1\r\nHost: kube\r\n\r\n");
  settle();
  EXPECT_EQ(upstream_.last().request.target, "/mine");
  for (const auto& stream : held) stream->guest_close();
  held.clear();
  settle();
  EXPECT_EQ(greedy->counters().streams_open, 0U);
  EXPECT_EQ(account_.used_bytes(), 0U);
  EXPECT_TRUE(greedy->dial("kube", nullptr));
  const std::string log = logged();
  EXPECT_THAT(log, HasSubstr("EMFILE"));
  EXPECT_EQ(log.find("EMFILE"), log.rfind("EMFILE"));
}

TEST_F(NetworkTest, SaysOnceWhatAGuestMayNotDo) {
  auto network = make();
  auto channel = network->dial("kube", nullptr);
  settle();
  for (const char* path : {"/api/v1/namespaces/a/secrets", "/api/v1/namespaces/b/secrets", "/api/v1/namespaces/a/secrets/x"}) {
    write(**channel, fmt::format("GET {} HTTP/1.1\r\nHost: kube\r\n\r\n", path));
    settle();
    upstream_.last().respond(403, {{"content-length", "0"}});
    upstream_.last().end();
    settle();
  }
  const std::string log = logged();
  EXPECT_EQ(std::ranges::count(log, '\n'), 2) << log;
  EXPECT_THAT(log, HasSubstr("guest=ns/pod verb=list resource=secrets namespace=a service_account=ns/sa"));
  EXPECT_THAT(log, HasSubstr("verb=get resource=secrets"));
  EXPECT_EQ(network->counters().kube.forbidden, 3U);
}

// --- Egress ---

TEST_F(NetworkTest, CarriesBytesBothWaysAndBothEnds) {
  Tcp::acceptor acceptor(loop_, Tcp::endpoint(boost::asio::ip::address_v4::loopback(), 0));
  auto network = make("127.0.0.1:*");
  int woken = 0;
  auto channel = network->dial(fmt::format("tcp/127.0.0.1:{}", acceptor.local_endpoint().port()), [&] { ++woken; });
  ASSERT_TRUE(channel);
  EXPECT_TRUE((*channel)->readiness().connecting);
  Tcp::socket peer = take(acceptor);
  ASSERT_TRUE(run_until([&] { return !(*channel)->readiness().connecting; }));
  EXPECT_GT(woken, 0);

  // More than all buffers on the way hold, against a peer that does not read at first.
  std::string sent(8 << 20, '\0');
  for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<char>(i * 2654435761U >> 24);
  std::size_t written = 0;
  for (int idle = 0; idle < 1000;) {
    const auto moved = (*channel)->guest_write(std::as_bytes(std::span(sent)).subspan(written));
    if (moved.error == Errno::Again) ++idle;
    written += moved.bytes;
    settle();
  }
  ASSERT_LT(written, sent.size()) << "back-pressure must have stopped the guest";
  std::string received;
  std::thread peer_thread([&] {
    std::string buffer(65536, '\0');
    boost::system::error_code error;
    while (!error) received.append(buffer.data(), peer.read_some(boost::asio::buffer(buffer), error));
    boost::asio::write(peer, boost::asio::buffer(std::string("bye")));
    peer.shutdown(Tcp::socket::shutdown_send);
  });
  EXPECT_TRUE(run_until([&] {
    written += (*channel)->guest_write(std::as_bytes(std::span(sent)).subspan(written)).bytes;
    return written == sent.size();
  }));
  (*channel)->guest_shutdown_write();
  Errno error = Errno::Again;
  EXPECT_EQ(read(**channel, 100, &error), "bye");
  EXPECT_EQ(error, Errno::Success) << "a clean end";
  peer_thread.join();
  EXPECT_TRUE(received == sent);
  settle();
  EXPECT_EQ(network->counters().streams_open, 0U) << "both directions are over";
  EXPECT_EQ(account_.used_bytes(), 0U);
}

TEST_F(NetworkTest, WhatAClosedGuestWroteStillArrives) {
  Tcp::acceptor acceptor(loop_, Tcp::endpoint(boost::asio::ip::address_v4::loopback(), 0));
  auto network = make("127.0.0.1:*");
  auto channel = network->dial(fmt::format("tcp/127.0.0.1:{}", acceptor.local_endpoint().port()), nullptr);
  Tcp::socket peer = take(acceptor);
  ASSERT_TRUE(run_until([&] { return !(*channel)->readiness().connecting; }));
  write(**channel, "last words");
  (*channel)->guest_close();
  ASSERT_TRUE(run_until([&] { return network->counters().streams_open == 0; }));
  std::string buffer(100, '\0');
  boost::system::error_code error;
  buffer.resize(boost::asio::read(peer, boost::asio::buffer(buffer), error));
  EXPECT_EQ(buffer, "last words");
}

TEST_F(NetworkTest, AVanishedPeerShowsAfterItsLastBytes) {
  Tcp::acceptor acceptor(loop_, Tcp::endpoint(boost::asio::ip::address_v4::loopback(), 0));
  auto network = make("127.0.0.1:*");
  auto channel = network->dial(fmt::format("tcp/127.0.0.1:{}", acceptor.local_endpoint().port()), nullptr);
  {
    Tcp::socket peer = take(acceptor);
    ASSERT_TRUE(run_until([&] { return !(*channel)->readiness().connecting; }));
    boost::asio::write(peer, boost::asio::buffer(std::string("last")));
    ASSERT_TRUE(run_until([&] { return (*channel)->readiness().readable_bytes == 4; }));
    peer.set_option(boost::asio::socket_base::linger(true, 0));  // A reset, not an end.
    peer.close();
  }
  settle();
  Errno error = Errno::Success;
  EXPECT_EQ(read(**channel, 100, &error), "last");
  EXPECT_EQ(error, Errno::ConnReset);
}

TEST_F(NetworkTest, AFailedDialShowsInTheNextReadAndWrite) {
  auto network = make("127.0.0.1:*,no-such-host.invalid:*");
  auto refused = network->dial(fmt::format("tcp/127.0.0.1:{}", unused_port()), nullptr);
  auto unknown = network->dial("tcp/no-such-host.invalid:80", nullptr);
  ASSERT_TRUE(refused && unknown);
  Errno error = Errno::Success;
  read(**refused, 1, &error);
  EXPECT_EQ(error, Errno::ConnRefused);
  EXPECT_EQ(write(**refused, "x"), Errno::ConnRefused);
  read(**unknown, 1, &error);
  EXPECT_EQ(error, Errno::HostUnreach);
  (*refused)->guest_close();
  (*unknown)->guest_close();
  settle();
  EXPECT_EQ(network->counters().streams_open, 0U);
  EXPECT_EQ(network->counters().dials_failed, 2U);
}

TEST_F(NetworkTest, ANameThatLeadsToThisMachineIsNotFollowed) {
  Tcp::acceptor acceptor(loop_, Tcp::endpoint(boost::asio::ip::address_v4::loopback(), 0));
  const std::uint16_t port = acceptor.local_endpoint().port();
  auto network = make("*:*");
  EXPECT_EQ(network->dial(fmt::format("tcp/127.0.0.1:{}", port), nullptr).error(), Errno::Acces);
  auto channel = network->dial(fmt::format("tcp/localhost:{}", port), nullptr);
  ASSERT_TRUE(channel);
  Errno error = Errno::Success;
  read(**channel, 1, &error);
  EXPECT_EQ(error, Errno::HostUnreach);
  EXPECT_THAT(logged(), HasSubstr("the name leads to this machine"));

  auto named = make("localhost:*");
  auto allowed = named->dial(fmt::format("tcp/localhost:{}", port), nullptr);
  ASSERT_TRUE(allowed);
  EXPECT_TRUE(run_until([&] { return !(*allowed)->readiness().connecting && !(*allowed)->readiness().failed; }));
}

TEST_F(NetworkTest, DialsUnderWayAndTheirMemoryAreLimited) {
  MemoryAccount small(3 * SocketStream::kCostBytes);
  auto network = make("192.0.2.1:*", {.dials_pending_max = 2}, nullptr, &small);
  auto one = network->dial("tcp/192.0.2.1:1", nullptr), two = network->dial("tcp/192.0.2.1:2", nullptr), three = network->dial("tcp/192.0.2.1:3", nullptr);
  EXPECT_TRUE(one && two);
  EXPECT_EQ(three.error(), Errno::MFile);
  (*one)->guest_close();
  (*two)->guest_close();
  ASSERT_TRUE(run_until([&] { return network->counters().streams_open == 0; }));
  EXPECT_EQ(small.used_bytes(), 0U);
  auto poor = make("192.0.2.1:*", {}, nullptr, &small);
  ASSERT_TRUE(small.try_charge(small.limit_bytes() - 10));
  EXPECT_EQ(poor->dial("tcp/192.0.2.1:1", nullptr).error(), Errno::NoMem);
  small.release(small.limit_bytes() - 10);
}

// A certificate for `localhost` that signs itself, and its key.
struct Certificate {
  std::string certificate_pem, key_pem;
};
Certificate make_certificate() {
  EVP_PKEY* const key = EVP_EC_gen("P-256");
  X509* const certificate = X509_new();
  X509_set_version(certificate, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
  X509_set_pubkey(certificate, key);
  X509_NAME* const name = X509_get_subject_name(certificate);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("test"), -1, -1, 0);
  X509_set_issuer_name(certificate, name);
  for (const auto& [nid, value] : {std::pair(NID_subject_alt_name, "DNS:localhost"), std::pair(NID_basic_constraints, "critical,CA:TRUE")}) {
    X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, nullptr, nid, value);
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
  }
  X509_sign(certificate, key, EVP_sha256());
  const auto pem = [](auto write) {
    BIO* const bio = BIO_new(BIO_s_mem());
    write(bio);
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio, &data);
    std::string text(data, static_cast<std::size_t>(size));
    BIO_free(bio);
    return text;
  };
  Certificate made{pem([&](BIO* bio) { PEM_write_bio_X509(bio, certificate); }), pem([&](BIO* bio) { PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr); })};
  X509_free(certificate);
  EVP_PKEY_free(key);
  return made;
}

// A TLS server in a thread: says "hello", echoes until it has seen "end" or the client leaves, and goes with or without a close_notify.
class TlsServer {
 public:
  TlsServer(const Certificate& certificate, bool polite)
      : acceptor_(loop_, Tcp::endpoint(boost::asio::ip::address_v4::loopback(), 0)), port(acceptor_.local_endpoint().port()) {
    auto context = http::TlsContext::create(http::TlsContext::Role::Server, {.certificate_pem = certificate.certificate_pem, .key_pem = certificate.key_pem});
    CHECK(context.has_value());
    thread_ = std::thread([this, context = *context, polite] { serve(context, polite); });
  }
  ~TlsServer() { thread_.join(); }

 private:
  void serve(std::shared_ptr<const http::TlsContext> context, bool polite) {
    Tcp::socket socket = acceptor_.accept();
    auto tls = *http::TlsSession::create(std::move(context), "");
    std::string plain, buffer(16384, '\0');
    boost::system::error_code error;
    bool greeted = false;
    while (!error && plain.find("end") == std::string::npos) {
      const std::size_t size = socket.read_some(boost::asio::buffer(buffer), error);
      const std::size_t before = plain.size();
      const bool understood = tls->feed(std::as_bytes(std::span(buffer)).first(size), plain).has_value();
      if (tls->established() && !std::exchange(greeted, true)) CHECK(tls->write("hello"));
      if (plain.size() > before) CHECK(tls->write(std::string_view(plain).substr(before)));
      boost::asio::write(socket, boost::asio::buffer(tls->take_output()), error);
      if (!understood || tls->peer_closed()) return;
    }
    if (!polite) return;
    tls->close();
    boost::asio::write(socket, boost::asio::buffer(tls->take_output()), error);
  }
  boost::asio::io_context loop_;
  Tcp::acceptor acceptor_;
  std::thread thread_;

 public:
  const std::uint16_t port;
};

TEST_F(NetworkTest, TlsIsTheHostsAndItsEndIsTold) {
  const Certificate certificate = make_certificate();
  EgressTls tls(certificate.certificate_pem);
  auto network = make("localhost:*", {}, &tls);
  for (const bool polite : {true, false}) {
    TlsServer server(certificate, polite);
    auto channel = network->dial(fmt::format("tls/localhost:{}", server.port), nullptr);
    ASSERT_TRUE(channel);
    EXPECT_EQ(read(**channel, 5), "hello");
    const std::string large(60'000, 'x');
    EXPECT_EQ(write(**channel, large), Errno::Success);
    EXPECT_EQ(read(**channel, large.size()), large);
    EXPECT_EQ(write(**channel, "end"), Errno::Success);
    Errno error = Errno::Again;
    EXPECT_EQ(read(**channel, 100, &error), "end");
    EXPECT_EQ(error, polite ? Errno::Success : Errno::ConnReset) << "an end without close_notify may be an attacker's";
    (*channel)->guest_close();
    ASSERT_TRUE(run_until([&] { return network->counters().streams_open == 0; }));
  }
  EXPECT_EQ(account_.used_bytes(), 0U);
}

TEST_F(NetworkTest, TlsToAnUnknownOrMisnamedServerFailsAndSaysWhy) {
  const Certificate certificate = make_certificate();
  EgressTls stranger(make_certificate().certificate_pem), known(certificate.certificate_pem);
  auto network = make("localhost:*", {}, &stranger);
  auto misnaming = make("127.0.0.1:*", {}, &known);
  for (const bool misnamed : {false, true}) {
    TlsServer server(certificate, true);
    auto channel = misnamed ? misnaming->dial(fmt::format("tls/127.0.0.1:{}", server.port), nullptr) : network->dial(fmt::format("tls/localhost:{}", server.port), nullptr);
    ASSERT_TRUE(channel);
    Errno error = Errno::Success;
    read(**channel, 1, &error);
    EXPECT_EQ(error, Errno::ConnAborted);
    EXPECT_THAT(logged(), HasSubstr("certificate"));
    (*channel)->guest_close();
  }
}

// --- Inbound ---

TEST_F(NetworkTest, AListenerGetsConnectionsFromInsideTheHost) {
  auto network = make();
  EXPECT_FALSE(network->connect(8080)) << "nothing listens yet";
  int woken = 0;
  auto listener = network->listen(8080, [&] { ++woken; });
  ASSERT_TRUE(listener);
  EXPECT_EQ(network->listen(8080, nullptr).error(), Errno::AddrInUse);
  EXPECT_EQ(network->listen(0, nullptr).error(), Errno::Inval);
  EXPECT_FALSE((*listener)->pending());
  EXPECT_EQ((*listener)->accept(), nullptr);
  auto probe = network->connect(8080);
  ASSERT_TRUE(probe);
  EXPECT_EQ(woken, 1);
  EXPECT_TRUE((*listener)->pending());
  auto accepted = (*listener)->accept();
  ASSERT_NE(accepted, nullptr);
  EXPECT_FALSE((*listener)->pending());
  (*probe)->host_write(std::as_bytes(std::span(std::string_view("ping"))));
  EXPECT_EQ(woken, 2) << "bytes for an accepted stream wake the guest too";
  EXPECT_EQ(read(*accepted, 4), "ping");

  auto waiting = network->connect(8080);
  listener->reset();
  EXPECT_TRUE((*waiting)->guest_gone()) << "whoever waits learns that the port is closed";
  EXPECT_FALSE(network->connect(8080));
  EXPECT_TRUE(network->listen(8080, nullptr));
}

TEST_F(NetworkTest, WaitingConnectionsAndListenersAreLimited) {
  auto network = make({}, {.listeners_max = 2, .accept_backlog_max = 3});
  auto one = network->listen(1, nullptr), two = network->listen(2, nullptr);
  EXPECT_EQ(network->listen(3, nullptr).error(), Errno::MFile);
  std::vector<std::shared_ptr<wasi::Channel>> waiting;
  for (int i = 0; i < 3; ++i) waiting.push_back(*network->connect(1));
  EXPECT_FALSE(network->connect(1));
  (*one)->accept();
  EXPECT_TRUE(network->connect(1));
}

TEST_F(NetworkTest, AHostPortIsOpenOnlyWhileTheGuestListens) {
  auto network = make();
  const auto port = network->bind_host_port(Tcp::endpoint(boost::asio::ip::address_v4::loopback(), 0), 9443);
  ASSERT_TRUE(port);
  settle();
  const Tcp::endpoint there(boost::asio::ip::address_v4::loopback(), *port);
  Tcp::acceptor somebody(loop_, Tcp::endpoint(boost::asio::ip::address_v4::loopback(), 0));
  const auto taken = network->bind_host_port(somebody.local_endpoint(), 9444);
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code, ErrorCode::AlreadyExists);
  EXPECT_THAT(taken.error().message, HasSubstr(fmt::format("127.0.0.1:{}", somebody.local_endpoint().port())));
  const auto connects = [&](Tcp::socket& socket) {
    boost::system::error_code error;
    socket.connect(there, error);
    return !error;
  };
  for (int round = 0; round < 2; ++round) {
    Tcp::socket refused(loop_), client(loop_), late(loop_);
    EXPECT_FALSE(connects(refused));
    int woken = 0;
    auto listener = network->listen(9443, [&] { ++woken; });
    settle();
    ASSERT_TRUE(connects(client));
    std::shared_ptr<wasi::Channel> accepted;
    ASSERT_TRUE(run_until([&] { return (accepted = (*listener)->accept()) != nullptr; }));
    EXPECT_GT(woken, 0);
    boost::asio::write(client, boost::asio::buffer(std::string("hello")));
    EXPECT_EQ(read(*accepted, 5), "hello");
    write(*accepted, "world");
    accepted->guest_close();
    ASSERT_TRUE(run_until([&] { return network->counters().streams_open == 0; }));
    std::string answer(10, '\0');
    boost::system::error_code error;
    answer.resize(boost::asio::read(client, boost::asio::buffer(answer), error));
    EXPECT_EQ(answer, "world");
    listener->reset();
    settle();
    EXPECT_FALSE(connects(late)) << "round " << round;
  }
  EXPECT_EQ(account_.used_bytes(), 0U);
}

TEST_F(NetworkTest, AHostPortStopsAcceptingAtTheLimitAndGoesOnAfterwards) {
  auto network = make({}, {.streams_max = 2});
  const auto port = network->bind_host_port(Tcp::endpoint(boost::asio::ip::address_v4::loopback(), 0), 80);
  auto listener = network->listen(80, nullptr);
  settle();
  std::vector<Tcp::socket> clients;
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back(loop_);
    clients.back().connect(Tcp::endpoint(boost::asio::ip::address_v4::loopback(), *port));
  }
  ASSERT_TRUE(run_until([&] { return network->counters().accepted == 2; }));
  settle();
  EXPECT_EQ(network->counters().accepted, 2U);
  (*listener)->accept()->guest_close();
  ASSERT_TRUE(run_until([&] { return network->counters().accepted == 3; }));
  EXPECT_EQ(network->counters().streams_open, 2U);
}

// --- The end ---

TEST_F(NetworkTest, AGuestCanEndAtAnyMomentAndGivesAllBack) {
  Tcp::acceptor acceptor(loop_, Tcp::endpoint(boost::asio::ip::address_v4::loopback(), 0));
  const std::string target = fmt::format("tcp/127.0.0.1:{}", acceptor.local_endpoint().port());
  for (int moment = 0; moment < 6; ++moment) {
    auto network = make("127.0.0.1:*,192.0.2.1:1,localhost:*");
    ASSERT_TRUE(network->bind_host_port(Tcp::endpoint(boost::asio::ip::address_v4::loopback(), 0), 80));
    std::vector<std::shared_ptr<wasi::Channel>> held;
    for (const std::string& where : {std::string("kube"), target, std::string("tcp/192.0.2.1:1"), fmt::format("tcp/localhost:{}", acceptor.local_endpoint().port())}) {
      held.push_back(*network->dial(where, nullptr));
    }
    auto listener = network->listen(80, nullptr);
    auto probe = network->connect(80);
    for (int i = 0; i < moment; ++i) loop_.poll_one();
    if (moment > 3) {
      write(*held[0], "GET /?watch HTTP/1.1\r\nHost: k\r\n\r\n");
      settle();
    }
    listener->reset();
    held.clear();  // The guest's process goes without closing anything.
    probe->reset();
    network.reset();
    EXPECT_EQ(account_.used_bytes(), 0U) << "moment " << moment;
    settle();
    EXPECT_EQ(upstream_.open_streams(), 0U);
  }
}

TEST_F(NetworkTest, GuestAndLoopMayRunAtTheSameTime) {
  std::counting_semaphore<> woken(0);  // As a parked guest waits.
  const auto waker = [&] { woken.release(); };
  auto network = make();
  auto work = boost::asio::make_work_guard(loop_);
  std::thread loop_thread([&] { loop_.run(); });
  for (int i = 0; i < 50; ++i) {
    auto channel = network->dial("kube", waker);
    ASSERT_TRUE(channel);
    auto listener = network->listen(static_cast<std::uint16_t>(1 + i % 3), waker);
    ASSERT_TRUE(listener);
    while (write(**channel, "BREW / HTTP/1.1\r\n") == Errno::Again) woken.acquire();
    std::array<std::byte, 4096> buffer;
    while ((*channel)->guest_read(buffer).error == Errno::Again) woken.acquire();
    if (i % 2 == 0) (*channel)->guest_shutdown_write();
    (*channel)->guest_close();
  }
  boost::asio::post(loop_, [&] {
    network.reset();
    work.reset();
  });
  loop_thread.join();
  EXPECT_EQ(account_.used_bytes(), 0U);
}

}  // namespace
}  // namespace dormouse::gateway
