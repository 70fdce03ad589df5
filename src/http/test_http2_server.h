// SPDX-License-Identifier: Apache-2.0
#pragma once
// The server's side of HTTP/2 for tests: a session without I/O, and a TLS server on loopback that runs on the test's own loop.
//
// Ownership: the server owns its connections; handlers answer through Session and may do so later.
// Threads:   the loop's.

#include <nghttp2/nghttp2.h>

#include <array>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/check.h"
#include "http/http2_client.h"
#include "http/tls.h"

namespace dormouse::http {

class TestHttp2Session {
 public:
  struct Request {
    std::int32_t id = 0;
    std::map<std::string, std::string> headers;  // With :method and :path.
    std::string body;
    bool ended = false;
  };
  using Handler = std::function<void(TestHttp2Session&, const Request&)>;  // Called at the request's end.

  explicit TestHttp2Session(Handler handler, std::uint32_t streams_max = 250, std::uint32_t window_bytes = 65535) : handler_(std::move(handler)) {
    nghttp2_session_callbacks* callbacks = nullptr;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, [](nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name, std::size_t name_size, const std::uint8_t* value, std::size_t value_size, std::uint8_t, void* self) {
      of(self).requests[frame->hd.stream_id].headers[std::string(reinterpret_cast<const char*>(name), name_size)] = std::string(reinterpret_cast<const char*>(value), value_size);
      return 0;
    });
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, [](nghttp2_session*, std::uint8_t, std::int32_t id, const std::uint8_t* data, std::size_t size, void* self) {
      of(self).requests[id].body.append(reinterpret_cast<const char*>(data), size);
      return 0;
    });
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, [](nghttp2_session*, const nghttp2_frame* frame, void* self) {
      if (frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK) == 0) ++of(self).pings;
      if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
        Request& request = of(self).requests[frame->hd.stream_id];
        request.id = frame->hd.stream_id;
        request.ended = true;
        if (of(self).handler_) of(self).handler_(of(self), request);
      }
      return 0;
    });
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, [](nghttp2_session*, std::int32_t id, std::uint32_t error, void* self) {
      of(self).closed[id] = error;
      of(self).bodies_.erase(id);
      return 0;
    });
    CHECK(nghttp2_session_server_new(&session_, callbacks, this) == 0);
    nghttp2_session_callbacks_del(callbacks);
    const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, streams_max}, {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window_bytes}};
    nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings, 2);
  }
  ~TestHttp2Session() { nghttp2_session_del(session_); }
  TestHttp2Session(const TestHttp2Session&) = delete;
  TestHttp2Session& operator=(const TestHttp2Session&) = delete;

  bool feed(std::string_view bytes) { return nghttp2_session_mem_recv(session_, reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()) >= 0; }
  std::string take_output() {
    std::string output;
    const std::uint8_t* data = nullptr;
    for (ssize_t size = nghttp2_session_mem_send(session_, &data); size > 0; size = nghttp2_session_mem_send(session_, &data)) {
      output.append(reinterpret_cast<const char*>(data), static_cast<std::size_t>(size));
    }
    return output;
  }
  void respond(std::int32_t id, int status, const std::string& body, const Headers& headers = {}) {
    start(id, status, headers);
    send(id, body);
    end(id);
  }
  // A response that goes on: start(), send()..., end().
  void start(std::int32_t id, int status, const Headers& headers = {}) {
    const std::string code = std::to_string(status);
    std::vector<nghttp2_nv> fields{field(":status", code)};
    for (const auto& [name, value] : headers) fields.push_back(field(name, value));
    bodies_[id];
    nghttp2_data_provider provider{};
    provider.read_callback = [](nghttp2_session*, std::int32_t stream, std::uint8_t* to, std::size_t room, std::uint32_t* flags, nghttp2_data_source*, void* self) -> ssize_t {
      Body& body_of = of(self).bodies_[stream];
      const std::size_t size = std::min(room, body_of.bytes.size());
      std::memcpy(to, body_of.bytes.data(), size);
      body_of.bytes.erase(0, size);
      if (body_of.bytes.empty() && body_of.ended) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
      } else if (size == 0) {
        return NGHTTP2_ERR_DEFERRED;
      }
      return static_cast<ssize_t>(size);
    };
    nghttp2_submit_response(session_, id, fields.data(), fields.size(), &provider);
  }
  void send(std::int32_t id, const std::string& bytes) {
    bodies_[id].bytes += bytes;
    nghttp2_session_resume_data(session_, id);
  }
  void end(std::int32_t id) {
    bodies_[id].ended = true;
    nghttp2_session_resume_data(session_, id);
  }
  void send_informational(std::int32_t id) {
    const nghttp2_nv fields[] = {field(":status", "103"), field("link", "x")};
    nghttp2_submit_headers(session_, NGHTTP2_FLAG_NONE, id, nullptr, fields, 2, nullptr);
  }
  void reset(std::int32_t id, std::uint32_t error) { nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, error); }
  void goaway(std::int32_t last_stream, std::uint32_t error = NGHTTP2_NO_ERROR) { nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, last_stream, error, nullptr, 0); }

  std::map<std::int32_t, Request> requests;
  std::map<std::int32_t, std::uint32_t> closed;  // Streams and their error codes.
  int pings = 0;

 private:
  struct Body {
    std::string bytes;
    bool ended = false;
  };
  static TestHttp2Session& of(void* self) { return *static_cast<TestHttp2Session*>(self); }
  static nghttp2_nv field(std::string_view name, std::string_view value) {  // A loan.
    return {reinterpret_cast<std::uint8_t*>(const_cast<char*>(name.data())), reinterpret_cast<std::uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE};
  }
  Handler handler_;
  nghttp2_session* session_ = nullptr;
  std::map<std::int32_t, Body> bodies_;
};

class TestHttp2Server {
 public:
  struct Peer {
    explicit Peer(boost::asio::io_context& loop) : socket(loop) {}
    boost::asio::ip::tcp::socket socket;
    std::unique_ptr<TlsSession> tls;
    std::unique_ptr<TestHttp2Session> session;
    std::array<std::byte, 16384> incoming;
    std::string outgoing;
    bool sending = false, gone = false;

    void flush(const std::shared_ptr<Peer>& self) {
      if (gone || sending) return;
      if (tls->established()) static_cast<void>(tls->write(session->take_output()));
      outgoing = tls->take_output();
      if (outgoing.empty()) return;
      sending = true;
      boost::asio::async_write(socket, boost::asio::buffer(outgoing), [self](boost::system::error_code error, std::size_t) {
        self->sending = false;
        if (!error) self->flush(self);
      });
    }
  };
  using Handler = std::function<void(Peer&, TestHttp2Session&, const TestHttp2Session::Request&)>;

  TestHttp2Server(boost::asio::io_context& loop, TlsContext::Options tls, Handler handler, std::uint16_t port = 0)
      : loop_(loop), handler_(std::move(handler)), acceptor_(loop, {boost::asio::ip::make_address("127.0.0.1"), port}) {
    if (tls.alpn.empty()) tls.alpn = {"h2"};
    tls.ask_for_client_certificate = true;
    auto context = TlsContext::create(TlsContext::Role::Server, tls);
    CHECK(context.has_value());
    context_ = *context;
    accept();
  }
  ~TestHttp2Server() { cut_all(); }
  std::uint16_t port() const { return acceptor_.local_endpoint().port(); }
  // Every connection ends without a word; new ones are taken.
  void cut_all() {
    for (const auto& peer : peers) cut(*peer);
  }
  static void cut(Peer& peer) {
    boost::system::error_code ignored;
    peer.gone = true;
    peer.socket.close(ignored);
  }
  void stop_listening() { acceptor_.close(); }

  std::vector<std::shared_ptr<Peer>> peers;  // All that ever came.
  std::uint32_t streams_max = 250;
  bool silent = false;                       // Reads, but does not answer.

 private:
  void accept() {
    const auto peer = std::make_shared<Peer>(loop_);
    acceptor_.async_accept(peer->socket, [this, peer](boost::system::error_code error) {
      if (error) return;
      auto tls = TlsSession::create(context_, "");
      CHECK(tls.has_value());
      peer->tls = std::move(*tls);
      peer->session = std::make_unique<TestHttp2Session>(
          [this, raw = peer.get()](TestHttp2Session& session, const TestHttp2Session::Request& request) { handler_(*raw, session, request); }, streams_max);
      peers.push_back(peer);
      read(peer);
      accept();
    });
  }
  void read(const std::shared_ptr<Peer>& peer) {
    peer->socket.async_read_some(boost::asio::buffer(peer->incoming), [this, peer](boost::system::error_code error, std::size_t size) {
      if (error || peer->gone) {
        peer->gone = true;
        return;
      }
      if (!silent) {
        std::string plaintext;
        const bool fine = peer->tls->feed(std::span(peer->incoming).first(size), plaintext).has_value();
        peer->session->feed(plaintext);
        peer->flush(peer);
        if (!fine) return;
      }
      read(peer);
    });
  }

  boost::asio::io_context& loop_;
  Handler handler_;
  std::shared_ptr<const TlsContext> context_;
  boost::asio::ip::tcp::acceptor acceptor_;
};

}  // namespace dormouse::http
