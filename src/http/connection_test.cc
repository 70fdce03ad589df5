// SPDX-License-Identifier: Apache-2.0
#include "http/connection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>

#include "http/test_pki.h"

namespace dormouse::http {
namespace {
using boost::asio::ip::tcp;
using testing::HasSubstr;
using namespace std::chrono_literals;

struct Listener final : Connection::Owner {
  void on_connected() override { ++connected; }
  void on_bytes(std::span<const std::byte> bytes) override { received.append(reinterpret_cast<const char*>(bytes.data()), bytes.size()); }
  void on_sent() override { ++sent; }
  void on_end() override { ++ended; }
  void on_failure(const Error& got, int number) override {
    ++failed;
    error = got;
    error_number = number;
  }
  int connected = 0, sent = 0, ended = 0, failed = 0, error_number = 0;
  std::string received;
  Error error;
};

class ConnectionOverLoopback : public testing::Test {
 protected:
  std::uint16_t port() { return acceptor.local_endpoint().port(); }
  Connection::Options options(const std::string& host = "127.0.0.1") {
    Connection::Options made;
    made.host = host;
    made.port = port();
    return made;
  }
  template <typename Condition>
  void run_until(Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + 20s;
    while (!condition() && std::chrono::steady_clock::now() < deadline) {
      loop.restart();
      loop.run_one_for(100ms);
    }
    EXPECT_TRUE(condition());
  }
  boost::asio::io_context loop;
  tcp::acceptor acceptor{loop, {boost::asio::ip::make_address("127.0.0.1"), 0}};
  tcp::socket peer{loop};
  Listener listener;
};

TEST_F(ConnectionOverLoopback, CarriesBytesAndHalfClosesOnEitherSide) {
  auto connection = Connection::connect(loop, options(), listener);
  EXPECT_EQ(listener.connected, 0);
  acceptor.async_accept(peer, [](boost::system::error_code) {});
  run_until([&] { return listener.connected == 1 && peer.is_open(); });
  connection->write("hello");
  EXPECT_TRUE(connection->sending());
  run_until([&] { return listener.sent == 1; });
  std::array<char, 16> buffer;
  EXPECT_EQ(peer.read_some(boost::asio::buffer(buffer)), 5U);
  connection->finish();
  boost::system::error_code error;
  EXPECT_EQ(peer.read_some(boost::asio::buffer(buffer), error), 0U);
  EXPECT_EQ(error, boost::asio::error::eof);
  boost::asio::write(peer, boost::asio::buffer("answer", 6));
  peer.shutdown(tcp::socket::shutdown_send);
  run_until([&] { return listener.ended == 1; });
  EXPECT_EQ(listener.received, "answer");
  EXPECT_EQ(listener.failed, 0);
}

TEST_F(ConnectionOverLoopback, ReadsNothingWhilePaused) {
  auto connection = Connection::connect(loop, options(), listener);
  acceptor.async_accept(peer, [](boost::system::error_code) {});
  run_until([&] { return listener.connected == 1 && peer.is_open(); });
  connection->pause_reading();
  boost::asio::write(peer, boost::asio::buffer("one", 3));
  run_until([&] { return listener.received == "one"; });  // The read that was under way.
  boost::asio::write(peer, boost::asio::buffer("two", 3));
  loop.restart();
  while (loop.poll() > 0) loop.restart();
  EXPECT_EQ(listener.received, "one");
  connection->resume_reading();
  run_until([&] { return listener.received == "onetwo"; });
}

TEST_F(ConnectionOverLoopback, TellsARefusalOfTheConnection) {
  const auto refused = options();
  acceptor.close();
  auto connection = Connection::connect(loop, refused, listener);
  run_until([&] { return listener.failed == 1; });
  EXPECT_EQ(listener.error_number, ECONNREFUSED);
  EXPECT_EQ(listener.error.code, ErrorCode::Unavailable);
  EXPECT_THAT(listener.error.message, HasSubstr(connection->name()));
}

TEST_F(ConnectionOverLoopback, TriesTheNextAddressOfAName) {
  // "localhost" is ::1 and 127.0.0.1 on most machines, and nothing listens on ::1.
  auto connection = Connection::connect(loop, options("localhost"), listener);
  run_until([&] { return listener.connected == 1; });
}

TEST_F(ConnectionOverLoopback, GivesUpOnASilentServer) {
  const TestPki pki;
  Connection::Options silent = options();
  silent.tls = *TlsContext::create(TlsContext::Role::Client, {.ca_pem = pki.ca_pem()});
  silent.connect_timeout = 50ms;
  auto connection = Connection::connect(loop, silent, listener);  // The kernel takes it; nobody shakes hands.
  run_until([&] { return listener.failed == 1; });
  EXPECT_EQ(listener.error.code, ErrorCode::DeadlineExceeded);
  EXPECT_EQ(listener.error_number, ETIMEDOUT);
}

TEST_F(ConnectionOverLoopback, TellsOfAServerThatClosesDuringTheHandshake) {
  const TestPki pki;
  Connection::Options closing = options();
  closing.tls = *TlsContext::create(TlsContext::Role::Client, {.ca_pem = pki.ca_pem()});
  auto connection = Connection::connect(loop, closing, listener);
  acceptor.async_accept(peer, [&](boost::system::error_code) { peer.close(); });
  run_until([&] { return listener.failed == 1; });
  EXPECT_EQ(listener.connected, 0);
}

TEST_F(ConnectionOverLoopback, MayBeDestroyedInAnyCallbackAndWhileConnecting) {
  {
    auto connection = Connection::connect(loop, options(), listener);
  }
  loop.restart();
  loop.run();  // Nothing is left to do, and nobody was told.
  EXPECT_EQ(listener.connected + listener.failed, 0);

  struct Suicidal final : Connection::Owner {
    void on_connected() override { connection.reset(); }
    void on_bytes(std::span<const std::byte>) override {}
    void on_sent() override {}
    void on_end() override {}
    void on_failure(const Error&, int) override {}
    std::unique_ptr<Connection> connection;
  } suicidal;
  suicidal.connection = Connection::connect(loop, options(), suicidal);
  run_until([&] { return suicidal.connection == nullptr; });
  loop.restart();
  loop.run();
}

TEST(JoinHostPort, PutsBracketsAroundIpv6) {
  EXPECT_EQ(join_host_port("::1", 443), "[::1]:443");
  EXPECT_EQ(join_host_port("a.example", 1), "a.example:1");
}

}  // namespace
}  // namespace dormouse::http
