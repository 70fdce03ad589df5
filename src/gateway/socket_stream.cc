// SPDX-License-Identifier: Apache-2.0
#include "gateway/socket_stream.h"

#include <array>
#include <span>
#include <utility>

#include <boost/asio/buffer.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/write.hpp>

#include <fmt/format.h>

namespace dormouse::gateway {

namespace asio = boost::asio;
using wasi::Errno;

namespace {

Errno errno_of(const boost::system::error_code& error) {
  namespace e = asio::error;
  if (error == e::connection_refused) return Errno::ConnRefused;
  if (error == e::timed_out) return Errno::TimedOut;
  if (error == e::connection_reset || error == e::broken_pipe) return Errno::ConnReset;
  return Errno::HostUnreach;
}

}  // namespace

SocketStream::SocketStream(asio::io_context& loop, std::shared_ptr<wasi::Channel> channel, Hooks hooks)
    : channel_(std::move(channel)), hooks_(std::move(hooks)), resolver_(loop), socket_(loop), timer_(loop) {}

SocketStream::~SocketStream() { stop(); }

// --- Dialling ---

void SocketStream::dial(Destination destination, const EgressPolicy& policy, EgressTls* tls) {
  destination_ = std::move(destination);
  policy_ = &policy;
  tls_roots_ = tls;
  state_ = State::Resolving;
  if (destination_.address) return connect({Tcp::endpoint(*destination_.address, destination_.port)});
  arm(kConnectTimeout, State::Resolving);
  resolver_.async_resolve(destination_.host, fmt::to_string(destination_.port), Tcp::resolver::numeric_service,
                          [self = shared_from_this()](SystemError error, const Tcp::resolver::results_type& results) {
    if (self->state_ != State::Resolving) return;
    if (error) return self->dial_failed(Errno::HostUnreach, error.message());
    std::vector<Tcp::endpoint> endpoints;
    for (const auto& entry : results) {
      if (self->policy_->allows_address(self->destination_, entry.endpoint().address())) endpoints.push_back(entry.endpoint());
    }
    if (endpoints.empty()) {
      return self->dial_failed(Errno::HostUnreach, "the name leads to this machine, its link or a metadata service, which only a pattern with that address allows");
    }
    self->connect(std::move(endpoints));
  });
}

void SocketStream::connect(std::vector<Tcp::endpoint> endpoints) {
  state_ = State::Connecting;
  arm(kConnectTimeout, State::Connecting);
  asio::async_connect(socket_, endpoints, [self = shared_from_this()](SystemError error, const Tcp::endpoint&) {
    if (self->state_ != State::Connecting) return;
    if (error) return self->dial_failed(errno_of(error), error.message());
    SystemError ignored;
    self->socket_.non_blocking(true, ignored);
    if (self->tls_roots_ == nullptr) return self->open();
    self->shake_hands();
  });
}

void SocketStream::shake_hands() {
  state_ = State::Handshake;
  arm(kConnectTimeout, State::Handshake);
  auto context = tls_roots_->context();
  if (!context) return dial_failed(Errno::ConnAborted, context.error().message);
  auto session = http::TlsSession::create(std::move(*context), destination_.host);
  if (!session) return dial_failed(Errno::ConnAborted, session.error().message);
  tls_ = std::move(*session);
  const Result<void> begun = tls_->feed({}, incoming_);
  if (!begun) return dial_failed(Errno::ConnAborted, begun.error().message);
  send();
  await_readable();
}

void SocketStream::adopt(Tcp::socket socket) {
  socket_ = std::move(socket);
  SystemError ignored;
  socket_.non_blocking(true, ignored);
  open();
}

void SocketStream::open() {
  state_ = State::Open;
  timer_.cancel();
  SystemError ignored;
  socket_.set_option(Tcp::no_delay(true), ignored);
  channel_->host_connected();
  dial_over();
  pump();
}

void SocketStream::dial_over() {
  if (const auto told = std::exchange(hooks_.on_dialled, nullptr)) told();
}

void SocketStream::dial_failed(Errno error, const std::string& what) {
  if (hooks_.on_dial_failed) hooks_.on_dial_failed(what);
  channel_->host_fail(error);
  channel_.reset();
  finish();
}

// --- Open ---

void SocketStream::on_channel() {
  if (state_ == State::Open) return pump();
  if (state_ < State::Open && channel_->guest_gone()) finish();
}

void SocketStream::pump() {
  pump_out();
  if (state_ == State::Open) pump_in();
  if (state_ != State::Open) return;
  if (channel_->guest_gone()) {
    // Not before its last bytes are on their way.
    if (!writing_) return say_goodbye();
    if (!std::exchange(lingering_, true)) arm(kLingerTimeout, State::Open);
  } else if (out_ended_ && end_told_ && !writing_) {
    say_goodbye();
  }
}

void SocketStream::pump_out() {
  if (writing_ || out_ended_) return;
  std::array<std::byte, kBufferBytes> buffer;
  const std::size_t size = channel_->host_read(buffer);
  const std::string_view text(reinterpret_cast<const char*>(buffer.data()), size);
  if (size > 0 && tls_ == nullptr) outgoing_.assign(text);
  if (size > 0 && tls_ != nullptr && !tls_->write(text)) {
    out_ended_ = true;
    return end_incoming(true);
  }
  if (send() || size > 0) return;
  if (!channel_->host_at_end()) return;
  out_ended_ = true;
  SystemError ignored;
  // TLS has no half-close that peers bear: its end goes out when both directions are over.
  if (tls_ == nullptr) socket_.shutdown(Tcp::socket::shutdown_send, ignored);
}

// Whether something is on its way to the peer now.
bool SocketStream::send() {
  if (writing_) return true;
  if (tls_ != nullptr) outgoing_ = tls_->take_output();
  if (outgoing_.empty()) return false;
  writing_ = true;
  asio::async_write(socket_, asio::buffer(outgoing_), [self = shared_from_this()](SystemError error, std::size_t) {
    self->writing_ = false;
    std::string().swap(self->outgoing_);
    switch (self->state_) {
      case State::Handshake:
        if (!error) self->send();  // A failure shows when reading.
        return;
      case State::Goodbye: return self->finish();
      case State::Open:
        if (error) {
          // What the peer said before it went is still to be read.
          self->out_ended_ = true;
          if (self->channel_->guest_gone()) return self->finish();
        }
        return self->pump();
      default: return;
    }
  });
  return true;
}

void SocketStream::pump_in() {
  if (incoming_at_ < incoming_.size()) {
    incoming_at_ += channel_->host_write(std::as_bytes(std::span(incoming_)).subspan(incoming_at_));
    if (incoming_at_ < incoming_.size()) return;
    std::string().swap(incoming_);
    incoming_at_ = 0;
  }
  if (!in_ended_) {
    if (channel_->host_writable_bytes() > 0) await_readable();
  } else if (!in_broken_) {
    if (!std::exchange(end_told_, true)) channel_->host_end();
  } else if (channel_->host_writable_bytes() == wasi::Channel::kCapacityBytes) {
    // Failing a channel drops what it holds, so this waited until the guest had read everything.
    channel_->host_fail(Errno::ConnReset);
    channel_.reset();
    finish();
  }
}

// An idle connection holds no buffer: it waits for readiness, not for bytes.
void SocketStream::await_readable() {
  if (std::exchange(awaiting_, true)) return;
  socket_.async_wait(Tcp::socket::wait_read, [self = shared_from_this()](SystemError error) {
    self->awaiting_ = false;
    if (self->state_ == State::Open || self->state_ == State::Handshake) self->on_readable(error);
  });
}

void SocketStream::on_readable(SystemError error) {
  std::array<std::byte, kBufferBytes> buffer;
  std::size_t size = 0;
  if (!error) size = socket_.read_some(asio::buffer(buffer), error);
  if (error == asio::error::would_block || error == asio::error::try_again || error == asio::error::interrupted) error = {};
  const std::span<const std::byte> bytes = std::span(buffer).first(size);
  Result<void> understood;
  if (tls_ != nullptr && size > 0) understood = tls_->feed(bytes, incoming_);
  if (tls_ == nullptr) incoming_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (state_ == State::Handshake) {
    send();
    if (!understood) return dial_failed(Errno::ConnAborted, understood.error().message);
    if (error) return dial_failed(Errno::ConnAborted, "the connection ended during the TLS handshake");
    return tls_->established() ? open() : await_readable();
  }
  if (tls_ != nullptr) {
    send();
    // TLS that ends without a close_notify may have been cut by anyone on the way.
    if (tls_->peer_closed()) end_incoming(false);
    else if (error || !understood) end_incoming(true);
  } else if (error) {
    end_incoming(error != asio::error::eof);
  }
  pump();
}

void SocketStream::end_incoming(bool broken) {
  in_ended_ = true;
  in_broken_ = broken;
}

void SocketStream::say_goodbye() {
  if (tls_ == nullptr) return finish();
  state_ = State::Goodbye;
  tls_->close();
  if (!send()) return finish();
  arm(kLingerTimeout, State::Goodbye);
}

void SocketStream::finish() {
  if (state_ == State::Stopped) return;
  dial_over();
  const std::function<void()> on_stopped = std::exchange(hooks_.on_stopped, nullptr);
  stop();
  if (on_stopped) on_stopped();
}

void SocketStream::stop() {
  if (state_ == State::Stopped) return;
  SystemError ignored;
  // What a guest wrote before it ended goes out, as the kernel sends it for a process that has exited.
  if (state_ == State::Open && !writing_ && tls_ == nullptr && channel_ != nullptr && channel_->guest_gone()) {
    std::array<std::byte, kBufferBytes> rest;
    while (const std::size_t size = channel_->host_read(rest)) {
      if (socket_.write_some(asio::buffer(rest.data(), size), ignored) < size) break;
    }
  }
  state_ = State::Stopped;
  hooks_ = {};
  resolver_.cancel();
  timer_.cancel();
  socket_.close(ignored);
  if (channel_ == nullptr) return;
  if (!(out_ended_ && end_told_)) channel_->host_fail(Errno::ConnReset);
  channel_.reset();
}

void SocketStream::arm(Nanoseconds timeout, State state) {
  timer_.expires_after(timeout);
  timer_.async_wait([weak = weak_from_this(), state](SystemError error) {
    const std::shared_ptr<SocketStream> self = weak.lock();
    if (error || self == nullptr || self->state_ != state) return;
    if (state >= State::Open) return self->finish();
    self->dial_failed(Errno::TimedOut, "timed out");
  });
}

}  // namespace dormouse::gateway
