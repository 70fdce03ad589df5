// SPDX-License-Identifier: Apache-2.0
#pragma once
// The gateway for native programs: a port of this machine whose connections are sessions as a guest's are, with the
// bearer tokens that the clients bring themselves.
//
// A connection's socket stands where a guest would: it is pumped into the guest's end of a channel, and the session at the
// other end cannot tell. What a session refuses (upgrades, smuggled credentials) it refuses here too; a request
// without a bearer token is answered 401, so that nobody is served as anybody else.
//
// Ownership: owned by whoever made it; borrows everything in Options, which outlives it. Connections end with it.
// Threads: the loop's.
// Invariant: at most connections_max connections; beyond, they wait in the kernel.

#include <cstdint>
#include <memory>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include "base/result.h"
#include "gateway/session.h"
#include "http/tls.h"

namespace dormouse::gateway {

class ProxyServer {
 public:
  struct Options {
    boost::asio::io_context& loop;
    kube::Upstream& upstream;
    ApiFront* front = nullptr;                          // Null: everything is forwarded.
    boost::asio::ip::tcp::endpoint endpoint;            // Port 0 takes a free one.
    std::shared_ptr<const http::TlsContext> tls;        // Of a server; null: plain.
    std::uint32_t connections_max = 4096;
    std::size_t clients_max = 4096;                     // Tokens that are remembered; who uses one is known by its hash.
    std::uint64_t connection_memory_bytes = 16 << 20;   // What one connection may hold here; then it is cut.
    http::Http1Server::Limits http = {};
  };
  // Errors: the address cannot be listened on.
  static Result<std::unique_ptr<ProxyServer>> create(Options options);
  virtual ~ProxyServer() = default;
  virtual boost::asio::ip::tcp::endpoint endpoint() const = 0;
};

}  // namespace dormouse::gateway
