// SPDX-License-Identifier: Apache-2.0
#pragma once
// The host's own small HTTP server: health, metrics, and the list of guests for `dormouse ps`.
//
// Listens on an address (HOST:PORT) or a unix socket (unix:PATH, mode 0600). Only GET, no bodies, bounded heads; a
// connection has 30 s for each request.
//
// Threads: the loop's. Ownership: borrows the loop; connections end with it.

#include <boost/asio/io_context.hpp>

#include <functional>
#include <memory>
#include <string>

#include "base/result.h"

namespace dormouse::host {

class HttpServer {
 public:
  struct Reply {
    int status = 200;
    std::string content_type = "text/plain; charset=utf-8";
    std::string body;
  };
  using Handler = std::function<Reply(std::string_view target)>;

  // Errors: the address is taken or not ours, or malformed.
  static Result<std::unique_ptr<HttpServer>> create(boost::asio::io_context& loop, const std::string& address, Handler handler);
  virtual ~HttpServer() = default;
  // Where it listens in fact ("127.0.0.1:41233" for port 0).
  virtual std::string address() const = 0;
};

// GET of `target` from a unix socket; for `dormouse ps`. Blocking.
Result<std::string> get_from_unix_socket(const std::string& path, const std::string& target);

}  // namespace dormouse::host
