// SPDX-License-Identifier: Apache-2.0
#pragma once
// A client's connection: TCP to a name or an address, and TLS over it if asked for.
//
//   Resolving --> Connecting (addresses of both families race, the first gets a head start) --> [Handshake] --> Open --> Closed
//
// Nothing here ticks: the only timers run while connecting. A dead peer is noticed by the kernel (keep-alive probes and
// TCP_USER_TIMEOUT), which costs the process nothing.
//
// Ownership: owned by its Owner, which it borrows and which may destroy it in any callback. Destroying it closes it.
// Threads:   the loop's. Resolving a name uses Asio's resolver thread.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include <boost/asio/io_context.hpp>

#include "base/clock.h"
#include "base/result.h"
#include "base/types.h"
#include "http/tls.h"

namespace dormouse::http {

class Connection final : Immovable {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual void on_connected() = 0;
    virtual void on_bytes(std::span<const std::byte> bytes) = 0;
    virtual void on_sent() = 0;  // All of write()'s bytes have gone to the kernel.
    virtual void on_end() = 0;   // The peer will send no more; sending still works.
    // Connecting failed or the connection broke; nothing is called after it. `error_number`: an errno that fits.
    virtual void on_failure(const Error& error, int error_number) = 0;
  };
  struct Options {
    std::string host;                        // A name, or an IP address without brackets.
    std::uint16_t port = 0;
    std::shared_ptr<const TlsContext> tls;   // Null: plain TCP.
    std::string server_name;                 // Expected in the certificate; empty: `host`.
    std::string required_alpn;               // Empty: whatever was agreed.
    Nanoseconds connect_timeout = std::chrono::seconds(10);  // For everything up to on_connected().
  };
  // Owner is never called from within connect().
  static std::unique_ptr<Connection> connect(boost::asio::io_context& loop, Options options, Owner& owner);
  ~Connection();

  // REQUIRES: connected and not sending().
  void write(std::string_view bytes);
  bool sending() const;
  // Tells the peer that no more comes. REQUIRES: connected and not sending().
  void finish();
  // Reading starts by itself; a paused connection leaves what comes in to the kernel, which holds the peer back.
  void pause_reading();
  void resume_reading();

  // For messages: "HOST:PORT", and the address that was reached.
  const std::string& name() const;

 private:
  struct Core;
  explicit Connection(std::shared_ptr<Core> core);
  std::shared_ptr<Core> core_;
};

// "host:port", with brackets around an IPv6 address.
std::string join_host_port(std::string_view host, std::uint16_t port);

}  // namespace dormouse::http
