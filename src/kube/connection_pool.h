// SPDX-License-Identifier: Apache-2.0
#pragma once
// HTTP/2 connections to one server with one TLS identity; as many as the streams need, and one that stays when none does.
//
//   Link:  Connecting --SETTINGS--> Ready --GOAWAY--> Draining --last stream--> gone
//   Pool:  no link, or back-off after a failed connect (requests fail fast with the reason) --> links
//
// A request waits only while a connection is being made. An idle pool has no timers: the kernel probes its connection, and
// PINGs go out only while streams are open and the server is silent.
//
// Ownership: owned by Upstream. Links are shared with the exchanges that use them.
// Threads:   the loop's.
// Invariant: a StreamClient is in `waiting_`, or has a stream on a link, or is done; users never hear from within acquire().

#include <cstdint>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "base/clock.h"
#include "base/result.h"
#include "base/types.h"
#include "http/connection.h"
#include "http/http2_client.h"
#include "kube/upstream.h"

namespace dormouse::kube {

class ConnectionPool;
class Link;

// Someone who wants a stream.
class StreamClient : public http::Http2StreamSink {
 public:
  // There is room on `link`: open the stream now. Calls no users.
  virtual void on_link(std::shared_ptr<Link> link) = 0;
  // No connection can be had. May call users.
  virtual void on_no_link(const Error& error) = 0;
};

class Link final : public http::Connection::Owner, public std::enable_shared_from_this<Link>, Immovable {
 public:
  Link(ConnectionPool& pool, boost::asio::io_context& loop);
  void start();

  Result<http::Http2Client::StreamId> open(const http::Http2Client::Head& head, bool has_body, StreamClient& client);
  http::Http2Client& session() { return session_; }
  // Something was queued in the session: it goes out in the loop's next turn, together with what comes until then.
  void flush_soon();
  // A stream of this link has ended or was reset.
  void stream_ended();
  // The server answers requests: whatever failed before is forgiven.
  void note_response();

  bool ready() const { return ready_; }
  bool has_room() const;
  // The pool goes away: close without a word.
  void abandon();

  void on_connected() override;
  void on_bytes(std::span<const std::byte> bytes) override;
  void on_sent() override { flush(); }
  void on_end() override;
  void on_failure(const Error& error, int error_number) override;

 private:
  void flush();
  void die(Error error);
  void arm_ping();
  void on_ping_timer();

  ConnectionPool* pool_;  // Null once it has died.
  boost::asio::io_context& loop_;
  http::Http2Client session_;
  std::unique_ptr<http::Connection> connection_;
  boost::asio::steady_timer ping_timer_;
  Error transport_error_;
  bool connected_ = false;
  bool ready_ = false;
  bool feeding_ = false;
  bool flush_posted_ = false;
  bool ping_armed_ = false;
  bool heard_ = false;         // Bytes came since the last look of the ping timer.
  bool had_response_ = false;
  int silent_looks_ = 0;       // Of the ping timer, in a row.
};

class ConnectionPool final : Immovable {
 public:
  static constexpr std::size_t kWaitingMax = 4096;      // Requests while a connection is being made.
  static constexpr std::size_t kConnectionsMax = 256;
  ConnectionPool(boost::asio::io_context& loop, const Clock& clock, const Upstream::Options& options, Upstream::Counters& counters)
      : loop_(loop), clock_(clock), options_(options), counters_(counters), random_(std::random_device{}()) {}
  ~ConnectionPool();

  // Connections from now on use this identity; those of another are not used for new streams.
  void use(std::shared_ptr<const http::TlsContext> tls);
  // Leads to on_link() from within, or to one of both later. Fails at once in back-off or at a limit.
  Result<void> acquire(const std::shared_ptr<StreamClient>& client);

  const Upstream::Options& options() const { return options_; }
  const std::shared_ptr<const http::TlsContext>& tls() const { return tls_; }
  Upstream::Counters& counters() { return counters_; }

 private:
  friend class Link;
  void connect();
  bool connecting() const;
  void link_ready();
  void link_gone(Link& link, const Error& error, bool failed);
  // Whether `link`, which is idle, can go because another one has plenty of room.
  bool can_spare(const Link& link) const;

  boost::asio::io_context& loop_;
  const Clock& clock_;
  const Upstream::Options& options_;
  Upstream::Counters& counters_;
  std::shared_ptr<const http::TlsContext> tls_;
  std::vector<std::shared_ptr<Link>> links_;
  std::vector<std::shared_ptr<Link>> retired_;  // Of an older identity, until their streams end.
  std::deque<std::weak_ptr<StreamClient>> waiting_;
  std::minstd_rand random_;
  unsigned failures_ = 0;
  Nanoseconds retry_at_{};
  Error last_error_;
};

}  // namespace dormouse::kube
