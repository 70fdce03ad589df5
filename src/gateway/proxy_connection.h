// SPDX-License-Identifier: Apache-2.0
#pragma once
// One connection of a native client: a socket, plain or TLS, pumped into the guest's end of a session's channel.
//
// Each direction holds at most one buffer; a side that takes nothing stops the other by TCP's own window.
//
// Ownership: shared between the server and the operations under way; after stop() nothing else is touched.
// Threads: the loop's.

#include <array>
#include <functional>
#include <memory>
#include <string>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>

#include "base/clock.h"
#include "base/memory_account.h"
#include "gateway/doorbell.h"
#include "gateway/session.h"
#include "http/tls.h"

namespace dormouse::gateway {

class ProxyConnection final : public std::enable_shared_from_this<ProxyConnection>, Session::Owner, Immovable {
 public:
  static constexpr std::size_t kBufferBytes = 16 * 1024;                     // A direction.
  static constexpr Nanoseconds kHandshakeTimeout = std::chrono::seconds(10);
  static constexpr Nanoseconds kLingerTimeout = std::chrono::seconds(30);    // For a client that does not take the last bytes.

  struct Options {
    boost::asio::io_context& loop;
    kube::Upstream& upstream;
    KubeCounters& counters;
    ApiFront* front = nullptr;
    std::function<std::shared_ptr<ApiClient>(const std::string& token)> client_of;
    std::shared_ptr<const http::TlsContext> tls;
    std::uint64_t memory_bytes = 0;
    http::Http1Server::Limits http;
    std::function<void()> on_stopped;  // Last of all.
  };
  ProxyConnection(Options options, boost::asio::ip::tcp::socket socket);
  ~ProxyConnection();

  void start();
  // Cuts off at once, without calling on_stopped.
  void stop();

 private:
  using SystemError = boost::system::error_code;

  void on_session_closed() override { bell_->ring(); session_over_ = true; }
  void on_session_wants_turn() override { session_bell_->ring(); }

  void pump();
  void pump_in();
  bool pump_out();
  void await_readable();
  void on_readable(SystemError error);
  void send();
  void finish();
  void arm(Nanoseconds timeout);

  Options options_;
  MemoryAccount account_;
  Session::Caller caller_;
  boost::asio::ip::tcp::socket socket_;
  boost::asio::steady_timer timer_;
  const std::shared_ptr<Doorbell> bell_, session_bell_;  // The channel's two sides.
  std::shared_ptr<wasi::Channel> channel_;
  std::unique_ptr<Session> session_;
  std::unique_ptr<http::TlsSession> tls_;

  std::string incoming_;      // Plain; the channel has not taken it yet.
  std::size_t incoming_at_ = 0;
  std::string outgoing_;      // On its way to the client.
  bool reading_ = false, writing_ = false;
  bool in_ended_ = false;     // The client says no more.
  bool out_ended_ = false;    // Nothing more is for the client.
  bool broken_ = false;       // What it got is not all: it must see a cut, not an end.
  bool session_over_ = false, goodbye_ = false, said_all_ = false, stopped_ = false;
};

}  // namespace dormouse::gateway
