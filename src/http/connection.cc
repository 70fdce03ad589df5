// SPDX-License-Identifier: Apache-2.0
#include "http/connection.h"

#include <netinet/tcp.h>

#include <array>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <vector>

#include "base/check.h"

namespace dormouse::http {
namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {
constexpr auto kHeadStart = std::chrono::milliseconds(250);  // RFC 8305, section 8.
constexpr std::size_t kAddressesMax = 16;
constexpr std::size_t kReadBytes = 16 * 1024;
// After 30 s of silence the kernel probes the peer each 10 s; 20 s without an answer, or with unacknowledged data, is the end.
constexpr int kKeepAliveIdleS = 30, kKeepAliveIntervalS = 10, kUserTimeoutMs = 20'000;
}  // namespace

std::string join_host_port(std::string_view host, std::uint16_t port) {
  return host.find(':') == std::string_view::npos ? fmt::format("{}:{}", host, port) : fmt::format("[{}]:{}", host, port);
}

// Shared with the handlers of operations under way, so that it outlives them; `owner` is null once nobody listens.
struct Connection::Core : std::enable_shared_from_this<Connection::Core> {
  Core(asio::io_context& loop, Options given, Owner& listener)
      : options(std::move(given)), name(join_host_port(options.host, options.port)), owner(&listener), loop(loop), socket(loop),
        resolver(loop), deadline(loop), head_start(loop) {}

  const Options options;
  const std::string name;
  Owner* owner;
  asio::io_context& loop;
  tcp::socket socket;
  tcp::resolver resolver;
  asio::steady_timer deadline, head_start;
  std::vector<tcp::endpoint> addresses;
  std::size_t next_address = 0;
  std::vector<std::shared_ptr<tcp::socket>> attempts;
  error_code attempt_error;
  std::unique_ptr<TlsSession> tls;
  std::string outgoing;
  std::string plaintext;
  std::array<std::byte, kReadBytes> incoming;
  bool open = false;          // on_connected() was called.
  bool raw_sending = false;   // A write on the socket is under way.
  bool owner_sending = false; // ... and the owner waits for on_sent().
  bool finishing = false;
  bool paused = false;
  bool reading = false;
  bool ended = false;

  void start() {
    deadline.expires_after(options.connect_timeout);
    deadline.async_wait([self = shared_from_this()](error_code error) {
      if (!error) self->fail_with(ErrorCode::DeadlineExceeded, ETIMEDOUT, fmt::format("no answer within {} s", std::chrono::duration<double>(self->options.connect_timeout).count()));
    });
    error_code not_literal;
    const auto address = asio::ip::make_address(options.host, not_literal);
    if (!not_literal) {
      addresses.emplace_back(address, options.port);
      asio::post(loop, [self = shared_from_this()] { self->try_next(); });
      return;
    }
    resolver.async_resolve(options.host, std::to_string(options.port), tcp::resolver::numeric_service,
                           [self = shared_from_this()](error_code error, const tcp::resolver::results_type& found) { self->resolved(error, found); });
  }

  void resolved(error_code error, const tcp::resolver::results_type& found) {
    if (owner == nullptr) return;
    if (error || found.empty()) return fail_with(ErrorCode::Unavailable, EHOSTUNREACH, fmt::format("the name cannot be resolved ({})", error.message()));
    // In the resolver's order, but with the families taking turns.
    std::vector<tcp::endpoint> first, second;
    for (const auto& entry : found) {
      const tcp::endpoint endpoint = entry.endpoint();
      (first.empty() || endpoint.protocol() == first.front().protocol() ? first : second).push_back(endpoint);
    }
    for (std::size_t i = 0; i < std::max(first.size(), second.size()) && addresses.size() < kAddressesMax; ++i) {
      if (i < first.size()) addresses.push_back(first[i]);
      if (i < second.size()) addresses.push_back(second[i]);
    }
    try_next();
  }

  void try_next() {
    if (owner == nullptr || socket.is_open()) return;
    if (next_address == addresses.size()) {
      if (attempts.empty()) {
        const bool refused = attempt_error == asio::error::connection_refused;
        fail_with(ErrorCode::Unavailable, refused ? ECONNREFUSED : EHOSTUNREACH, attempt_error.message());
      }
      return;
    }
    const tcp::endpoint endpoint = addresses[next_address++];
    const auto attempt = std::make_shared<tcp::socket>(loop);
    attempts.push_back(attempt);
    attempt->async_connect(endpoint, [self = shared_from_this(), attempt](error_code error) {
      std::erase(self->attempts, attempt);
      if (self->owner == nullptr || self->socket.is_open()) return;
      if (!error) return self->connected(*attempt);
      self->attempt_error = error;
      self->try_next();
    });
    if (next_address == addresses.size()) return;
    head_start.expires_after(kHeadStart);
    head_start.async_wait([self = shared_from_this()](error_code error) {
      if (!error) self->try_next();
    });
  }

  void connected(tcp::socket& winner) {
    socket = std::move(winner);
    attempts.clear();
    head_start.cancel();
    error_code ignored;
    socket.set_option(tcp::no_delay(true), ignored);
    socket.set_option(asio::socket_base::keep_alive(true), ignored);
    const int fd = socket.native_handle();
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &kKeepAliveIdleS, sizeof(int));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &kKeepAliveIntervalS, sizeof(int));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &kUserTimeoutMs, sizeof(int));
    if (options.tls == nullptr) {
      announce_open();
    } else {
      auto session = TlsSession::create(options.tls, options.server_name.empty() ? options.host : options.server_name);
      if (!session) return fail_with(session.error().code, ECONNREFUSED, session.error().message);
      tls = std::move(*session);
      if (!decrypt({})) return;
    }
    read();
  }

  void announce_open() {
    open = true;
    deadline.cancel();
    owner->on_connected();
  }

  // Hands on what a piece of input amounts to; false if the owner has gone or the connection has failed.
  bool deliver(std::span<const std::byte> bytes) {
    if (tls != nullptr) return decrypt(bytes);
    owner->on_bytes(bytes);
    return owner != nullptr;
  }

  bool decrypt(std::span<const std::byte> bytes) {
    const auto fed = tls->feed(bytes, plaintext);
    flush_tls();
    if (!fed) {
      fail_with(fed.error().code, open ? ECONNRESET : ECONNREFUSED, fed.error().message);
      return false;
    }
    if (!open && tls->established()) {
      if (!options.required_alpn.empty() && tls->alpn() != options.required_alpn) {
        fail_with(ErrorCode::Unsupported, ECONNREFUSED, fmt::format("the server does not offer the protocol \"{}\"", options.required_alpn));
        return false;
      }
      announce_open();
      if (owner == nullptr) return false;
    }
    if (!plaintext.empty()) {
      const std::string piece = std::exchange(plaintext, {});
      owner->on_bytes(std::as_bytes(std::span(piece)));
      if (owner == nullptr) return false;
    }
    if (tls->peer_closed() && !std::exchange(ended, true)) {
      owner->on_end();
      if (owner == nullptr) return false;
    }
    return true;
  }

  void read() {
    if (owner == nullptr || reading || ended || (paused && open)) return;
    reading = true;
    socket.async_read_some(asio::buffer(incoming), [self = shared_from_this()](error_code error, std::size_t size) { self->on_read(error, size); });
  }

  void on_read(error_code error, std::size_t size) {
    reading = false;
    if (owner == nullptr) return;
    if (error == asio::error::eof) {
      if (!open) return fail_with(ErrorCode::Unavailable, ECONNRESET, "the server closed the connection during the TLS handshake");
      if (tls != nullptr) return fail_with(ErrorCode::Unavailable, ECONNRESET, "the connection was cut off");
      ended = true;
      return owner->on_end();
    }
    if (error) return fail_with(ErrorCode::Unavailable, error.value(), error.message());
    if (deliver(std::span(incoming).first(size))) read();
  }

  // Sends what TLS has queued on its own account (handshake, alerts), unless a write is under way, whose end looks again.
  void flush_tls() {
    if (raw_sending) return;
    std::string queued = tls->take_output();
    if (!queued.empty()) send(std::move(queued));
  }

  void send(std::string bytes) {
    CHECK(!raw_sending);
    raw_sending = true;
    outgoing = std::move(bytes);
    asio::async_write(socket, asio::buffer(outgoing), [self = shared_from_this()](error_code error, std::size_t) { self->on_written(error); });
  }

  void on_written(error_code error) {
    raw_sending = false;
    outgoing = {};
    if (owner == nullptr) return;
    // A peer that resets while we write may have said why before: whatever has come in is read first.
    if (error) return reading ? void() : fail_with(ErrorCode::Unavailable, error.value(), error.message());
    if (tls != nullptr) flush_tls();
    if (raw_sending) return;
    if (finishing) {
      error_code ignored;
      socket.shutdown(tcp::socket::shutdown_send, ignored);
    }
    if (std::exchange(owner_sending, false)) owner->on_sent();
  }

  void write(std::string_view bytes) {
    CHECK(open && !owner_sending && !finishing);
    if (bytes.empty()) return;
    owner_sending = true;
    if (tls == nullptr) return send(std::string(bytes));
    if (const auto written = tls->write(bytes); !written) {
      // Told later: write() calls nobody.
      asio::post(loop, [self = shared_from_this(), error = written.error()] { self->fail_with(error.code, ECONNRESET, error.message); });
      return;
    }
    flush_tls();
  }

  void finish() {
    CHECK(open && !owner_sending);
    if (std::exchange(finishing, true)) return;
    if (tls != nullptr) {
      tls->close();
      flush_tls();
    }
    if (raw_sending) return;
    error_code ignored;
    socket.shutdown(tcp::socket::shutdown_send, ignored);
  }

  void fail_with(ErrorCode code, int error_number, std::string_view message) {
    if (owner == nullptr) return;
    Owner* const listener = std::exchange(owner, nullptr);
    const bool was_open = open;
    close();
    const Error error{code, was_open ? fmt::format("connection to {}: {}", name, message) : fmt::format("cannot connect to {}: {}", name, message)};
    listener->on_failure(error, error_number);
  }

  void close() {
    owner = nullptr;
    error_code ignored;
    deadline.cancel();
    head_start.cancel();
    resolver.cancel();
    for (const auto& attempt : attempts) attempt->close(ignored);
    // A last alert or close_notify goes out if the kernel takes it at once.
    if (tls != nullptr && socket.is_open() && !raw_sending) {
      if (open && !finishing) tls->close();
      const std::string last = tls->take_output();
      socket.non_blocking(true, ignored);
      if (!last.empty()) socket.write_some(asio::buffer(last), ignored);
    }
    socket.close(ignored);
  }
};

std::unique_ptr<Connection> Connection::connect(asio::io_context& loop, Options options, Owner& owner) {
  auto core = std::make_shared<Core>(loop, std::move(options), owner);
  core->start();
  return std::unique_ptr<Connection>(new Connection(std::move(core)));
}

Connection::Connection(std::shared_ptr<Core> core) : core_(std::move(core)) {}
Connection::~Connection() { core_->close(); }
void Connection::write(std::string_view bytes) { core_->write(bytes); }
bool Connection::sending() const { return core_->owner_sending; }
void Connection::finish() { core_->finish(); }
void Connection::pause_reading() { core_->paused = true; }
void Connection::resume_reading() {
  core_->paused = false;
  if (core_->open) core_->read();
}
const std::string& Connection::name() const { return core_->name; }

}  // namespace dormouse::http
