// SPDX-License-Identifier: Apache-2.0
#include "gateway/proxy_connection.h"

#include <span>
#include <utility>

#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>

namespace dormouse::gateway {

namespace asio = boost::asio;
using wasi::Errno;

ProxyConnection::ProxyConnection(Options options, asio::ip::tcp::socket socket)
    : options_(std::move(options)),
      account_(options_.memory_bytes),
      caller_{.upstream = options_.upstream, .identity = nullptr, .account = account_, .counters = options_.counters, .front = options_.front, .own_tokens = true, .client_of = options_.client_of},
      socket_(std::move(socket)),
      timer_(options_.loop),
      bell_(Doorbell::create(options_.loop)),
      session_bell_(Doorbell::create(options_.loop)),
      channel_(std::make_shared<wasi::Channel>(account_)) {}

ProxyConnection::~ProxyConnection() { stop(); }

void ProxyConnection::start() {
  SystemError ignored;
  socket_.non_blocking(true, ignored);
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  bell_->answer_with([this] { pump(); });
  session_bell_->answer_with([this] {
    if (session_ != nullptr) session_->on_channel();
  });
  channel_->set_guest_waker([bell = bell_] { bell->ring(); });
  channel_->set_host_notify([bell = session_bell_] { bell->ring(); });
  Session::Owner& owner = *this;
  session_ = std::make_unique<Session>(caller_, channel_, owner, options_.http);
  if (options_.tls != nullptr) {
    auto tls = http::TlsSession::create(options_.tls, "");
    if (!tls) return finish();
    tls_ = std::move(*tls);
    arm(kHandshakeTimeout);
  }
  pump();
}

void ProxyConnection::pump() {
  if (stopped_) return;
  const auto self = shared_from_this();
  if (session_over_) session_.reset();
  pump_in();
  if (!stopped_) send();
}

// --- From the client ---

void ProxyConnection::pump_in() {
  while (incoming_at_ < incoming_.size()) {
    const auto transfer = channel_->guest_write(std::as_bytes(std::span(incoming_)).subspan(incoming_at_));
    if (transfer.error == Errno::Again) return;
    // A session that has gone reads no more: the rest is dropped.
    incoming_at_ = transfer.error == Errno::Success ? incoming_at_ + transfer.bytes : incoming_.size();
  }
  std::string().swap(incoming_);
  incoming_at_ = 0;
  if (in_ended_) return channel_->guest_shutdown_write();
  await_readable();
}

// An idle connection holds no buffer: it waits for readiness, not for bytes.
void ProxyConnection::await_readable() {
  if (std::exchange(reading_, true)) return;
  socket_.async_wait(asio::ip::tcp::socket::wait_read, [self = shared_from_this()](SystemError error) {
    self->reading_ = false;
    if (!self->stopped_) self->on_readable(error);
  });
}

void ProxyConnection::on_readable(SystemError error) {
  std::array<std::byte, kBufferBytes> buffer;
  std::size_t size = 0;
  if (!error) size = socket_.read_some(asio::buffer(buffer), error);
  if (error == asio::error::would_block || error == asio::error::try_again || error == asio::error::interrupted) error = {};
  if (error && error != asio::error::eof) return finish();
  const std::span<const std::byte> bytes = std::span(buffer).first(size);
  if (tls_ == nullptr) {
    incoming_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  } else if (size > 0) {
    const bool was_established = tls_->established();
    if (!tls_->feed(bytes, incoming_)) {
      // The alert says why, if it can still be sent.
      out_ended_ = in_ended_ = goodbye_ = true;
      return send();
    }
    if (!was_established && tls_->established()) timer_.cancel();
  }
  if (error == asio::error::eof || (tls_ != nullptr && tls_->peer_closed())) {
    if (tls_ != nullptr && !tls_->established()) return finish();
    in_ended_ = true;
  }
  pump();
}

// --- To the client ---

// Puts the next bytes into outgoing_; whether there are any.
bool ProxyConnection::pump_out() {
  if (tls_ != nullptr && !tls_->established()) return outgoing_ = tls_->take_output(), !outgoing_.empty();
  if (!out_ended_) {
    std::array<std::byte, kBufferBytes> buffer;
    const auto transfer = channel_->guest_read(buffer);
    const std::string_view text(reinterpret_cast<const char*>(buffer.data()), transfer.bytes);
    if (transfer.bytes > 0) {
      if (tls_ == nullptr) outgoing_.assign(text);
      else if (!tls_->write(text)) out_ended_ = broken_ = true;
    } else if (transfer.error != Errno::Again) {
      out_ended_ = true;
      broken_ = transfer.error != Errno::Success;
    }
  }
  if (tls_ != nullptr) {
    if (out_ended_ && !broken_ && !std::exchange(goodbye_, true)) tls_->close();
    outgoing_ = tls_->take_output();
  }
  return !outgoing_.empty();
}

void ProxyConnection::send() {
  if (writing_) return;
  if (!pump_out()) {
    if (!out_ended_) return;
    if (broken_ || in_ended_) return finish();
    // Closing while the client still sends would throw away what it has not read yet.
    if (std::exchange(said_all_, true)) return;
    SystemError ignored;
    socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
    return arm(kLingerTimeout);
  }
  writing_ = true;
  if (out_ended_) arm(kLingerTimeout);
  asio::async_write(socket_, asio::buffer(outgoing_), [self = shared_from_this()](SystemError error, std::size_t) {
    self->writing_ = false;
    std::string().swap(self->outgoing_);
    if (self->stopped_) return;
    if (error) return self->finish();
    self->pump();
  });
}

void ProxyConnection::finish() {
  if (stopped_) return;
  const std::function<void()> on_stopped = std::exchange(options_.on_stopped, nullptr);
  stop();
  if (on_stopped) on_stopped();
}

void ProxyConnection::stop() {
  if (std::exchange(stopped_, true)) return;
  bell_->silence();
  session_bell_->silence();
  channel_->guest_close();
  session_.reset();
  SystemError ignored;
  timer_.cancel();
  // A cut must not look like an orderly end to a client that counts on the end of the connection.
  if (broken_) socket_.set_option(asio::socket_base::linger(true, 0), ignored);
  else socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  socket_.close(ignored);
}

void ProxyConnection::arm(Nanoseconds timeout) {
  timer_.expires_after(timeout);
  timer_.async_wait([weak = weak_from_this()](SystemError error) {
    if (const auto self = weak.lock(); self != nullptr && !error) self->finish();
  });
}

}  // namespace dormouse::gateway
