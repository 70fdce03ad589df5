// SPDX-License-Identifier: Apache-2.0
#pragma once
// Requests to the API server over few HTTP/2 connections, as whoever a request names.
//
// The host's own requests (TokenRequest, ConfigMaps of volumes) go over connections that carry its client
// certificate or token. A guest's request carries the guest's bearer token and goes over connections that
// carry no credential of the host: a client certificate on a connection would win over the token.
//
// Ownership: owned by the host; exchanges hold on to their connection and may outlive neither loop nor Upstream.
// Threads: the loop's.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "base/clock.h"
#include "base/log.h"
#include "base/result.h"
#include "kube/kubeconfig.h"

namespace dormouse::kube {

using Headers = std::vector<std::pair<std::string, std::string>>;  // Names in lower case.

struct Request {
  std::string method;
  std::string target;   // Path and query, as they go on the wire.
  Headers headers;      // Without :pseudo, host, authorization and hop-by-hop fields; the caller has seen to it.
  bool has_body = false;  // False: the request ends with its head.
  std::optional<std::string> bearer;  // Set: a guest's token. Unset: the host's own credentials.
};

// What an exchange tells its owner. Any callback may destroy the exchange. Nothing is called after on_end or on_failure.
class ExchangeSink {
 public:
  virtual ~ExchangeSink() = default;
  virtual void on_response(int status, Headers headers) = 0;
  // Unread bytes are bounded by the stream's window: call Exchange::consumed() for what has been passed on, and no sooner.
  virtual void on_data(std::span<const std::byte> bytes) = 0;
  virtual void on_end() = 0;
  // The connection was lost or the server reset the stream; `before_response` tells whether on_response had not come.
  virtual void on_failure(const Error& error, bool before_response) = 0;
  // There is room for more of the request's body after write() took less than all.
  virtual void on_writable() = 0;
};

class Exchange {
 public:
  virtual ~Exchange() = default;  // Resets the stream if it has not ended.
  // Queues up to a bounded amount of the body; returns how much was taken.
  virtual std::size_t write(std::span<const std::byte> bytes) = 0;
  virtual void finish_body() = 0;
  virtual void consumed(std::size_t bytes) = 0;
};

struct Response {
  int status = 0;
  Headers headers;
  std::string body;
};

class Upstream {
 public:
  struct Options {
    Cluster cluster;         // Server URL, CA, TLS server name (see kubeconfig.h).
    Credentials credentials; // The host's own.
    std::uint32_t streams_per_connection_max = 100;  // Never more than the server's SETTINGS allow.
    Nanoseconds connect_timeout = std::chrono::seconds(10);
    Nanoseconds call_timeout = std::chrono::seconds(30);   // For the whole of a call().
    Nanoseconds ping_interval = std::chrono::seconds(30);  // Only while streams are open; a dead peer is noticed by it.
    Nanoseconds backoff_min = std::chrono::milliseconds(100), backoff_max = std::chrono::seconds(10);
  };
  static Result<std::unique_ptr<Upstream>> create(boost::asio::io_context& loop, const Clock& clock, Log& log, Options options);
  virtual ~Upstream() = default;

  // The sink outlives the exchange. Failures to connect are told by on_failure, never from within start().
  virtual std::unique_ptr<Exchange> start(Request request, ExchangeSink& sink) = 0;
  // A whole small request: body given, response gathered up to `body_bytes_max`. `done` is called once, never from within call(), and not
  // after Upstream has gone. A 401 to the host's own credentials is tried once more with renewed ones, where that is possible.
  using Done = std::function<void(Result<Response>)>;
  virtual void call(Request request, std::string body, std::size_t body_bytes_max, Done done) = 0;

  struct Counters { std::uint64_t connections_opened = 0, connections_open = 0, streams_open = 0, requests = 0, failures = 0, bytes_in = 0, bytes_out = 0; };
  virtual Counters counters() const = 0;
};

}  // namespace dormouse::kube
