// SPDX-License-Identifier: Apache-2.0
#pragma once
// A socket of the host joined to a guest's channel: egress (TCP or TLS, dialled here) and inbound connections.
//
//   Resolving ──▶ Connecting ──▶ (Handshake) ──▶ Open ──both directions ended, or the guest closed──▶ (Goodbye) ──▶ Stopped
//       └────────────┴───────────────┴── error: the guest's next read and write give it ──▶ Stopped
//
// Each direction holds at most one buffer; a side that does not take its bytes stops the other by TCP's own window.
//
// Ownership: shared between its Network and the operations under way; stop() cuts it off from everything else.
// Threads: the loop's.
// Invariant: after stop() neither the channel nor the owner is touched again.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>

#include "base/clock.h"
#include "base/types.h"
#include "gateway/egress_policy.h"
#include "gateway/egress_tls.h"
#include "wasi/channel.h"

namespace dormouse::gateway {

class SocketStream final : public std::enable_shared_from_this<SocketStream>, Immovable {
 public:
  static constexpr std::size_t kBufferBytes = 16 * 1024;  // A direction.
  static constexpr Nanoseconds kConnectTimeout = std::chrono::seconds(10);  // For each of name, connection and handshake.
  static constexpr Nanoseconds kLingerTimeout = std::chrono::seconds(30);   // For a peer that does not take a closed guest's last bytes.
  // What a stream may cost the host besides the channel; charged to the guest. TLS: the library's records and state.
  static constexpr std::size_t kCostBytes = 2 * kBufferBytes;
  static constexpr std::size_t kTlsCostBytes = kCostBytes + 64 * 1024;

  struct Hooks {
    std::function<void()> on_stopped;                        // Last of all; the owner lets go of it later.
    std::function<void()> on_dialled;                        // The dial is over, well or not.
    std::function<void(const std::string&)> on_dial_failed;  // Why, for the host's log.
  };

  SocketStream(boost::asio::io_context& loop, std::shared_ptr<wasi::Channel> channel, Hooks hooks);
  ~SocketStream();

  // Dials. `policy` and `tls` (null: plain TCP) are borrowed until the dial is over or stop().
  void dial(Destination destination, const EgressPolicy& policy, EgressTls* tls);
  // Takes a connection that was accepted.
  void adopt(boost::asio::ip::tcp::socket socket);
  // The guest wrote, made room, or closed.
  void on_channel();
  // Cuts off at once, without calling hooks; the guest sees ConnReset unless both directions had ended.
  void stop();

 private:
  enum class State : std::uint8_t { Idle, Resolving, Connecting, Handshake, Open, Goodbye, Stopped };
  using Tcp = boost::asio::ip::tcp;
  using SystemError = boost::system::error_code;

  void connect(std::vector<Tcp::endpoint> endpoints);
  void shake_hands();
  void open();
  void dial_over();
  void dial_failed(wasi::Errno error, const std::string& what);
  void pump();
  void pump_out();
  bool send();
  void pump_in();
  void await_readable();
  void on_readable(SystemError error);
  void end_incoming(bool broken);
  void say_goodbye();
  void finish();
  void arm(Nanoseconds timeout, State state);

  std::shared_ptr<wasi::Channel> channel_;
  Hooks hooks_;
  State state_ = State::Idle;
  Tcp::resolver resolver_;
  Tcp::socket socket_;
  boost::asio::steady_timer timer_;
  Destination destination_;
  const EgressPolicy* policy_ = nullptr;
  EgressTls* tls_roots_ = nullptr;
  std::unique_ptr<http::TlsSession> tls_;

  std::string outgoing_;       // On its way to the peer.
  std::string incoming_;       // The guest's channel has not taken it yet.
  std::size_t incoming_at_ = 0;
  bool writing_ = false, awaiting_ = false;
  bool out_ended_ = false;     // The guest has ended its direction, or the peer takes nothing more.
  bool in_ended_ = false;      // The peer has ended its direction …
  bool in_broken_ = false;     // … by vanishing: told to the guest once it has read the rest.
  bool end_told_ = false;
  bool lingering_ = false;
};

}  // namespace dormouse::gateway
