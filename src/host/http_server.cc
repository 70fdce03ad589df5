// SPDX-License-Identifier: Apache-2.0
#include "host/http_server.h"

#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include <charconv>
#include <chrono>

namespace dormouse::host {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using boost::system::error_code;

constexpr auto kRequestTimeout = std::chrono::seconds(30);
constexpr std::size_t kHeadBytesMax = 8 * 1024;
constexpr std::size_t kConnectionsMax = 64;

template <typename Protocol>
class Connection : public std::enable_shared_from_this<Connection<Protocol>> {
 public:
  using Stream = beast::basic_stream<Protocol>;
  Connection(typename Protocol::socket socket, std::shared_ptr<const HttpServer::Handler> handler, std::shared_ptr<std::size_t> open)
      : stream_(std::move(socket)), handler_(std::move(handler)), open_(std::move(open)) {
    ++*open_;
  }
  ~Connection() { --*open_; }

  void read() {
    parser_.emplace();
    parser_->header_limit(kHeadBytesMax);
    parser_->body_limit(0);
    stream_.expires_after(kRequestTimeout);
    http::async_read(stream_, buffer_, *parser_, [self = this->shared_from_this()](error_code problem, std::size_t) {
      if (!problem) self->answer();
    });
  }

 private:
  void answer() {
    const auto& request = parser_->get();
    HttpServer::Reply reply;
    if (request.method() != http::verb::get && request.method() != http::verb::head) {
      reply = {405, "text/plain; charset=utf-8", "only GET is answered here\n"};
    } else {
      reply = (*handler_)(std::string_view(request.target().data(), request.target().size()));
    }
    response_ = {static_cast<http::status>(reply.status), request.version()};
    response_.set(http::field::content_type, reply.content_type);
    response_.set("X-Content-Type-Options", "nosniff");
    response_.keep_alive(request.keep_alive());
    if (request.method() != http::verb::head) response_.body() = std::move(reply.body);
    response_.prepare_payload();
    http::async_write(stream_, response_, [self = this->shared_from_this()](error_code problem, std::size_t) {
      if (!problem && self->response_.keep_alive()) self->read();
    });
  }

  Stream stream_;
  std::shared_ptr<const HttpServer::Handler> handler_;
  std::shared_ptr<std::size_t> open_;
  beast::flat_buffer buffer_{kHeadBytesMax};
  std::optional<http::request_parser<http::empty_body>> parser_;
  http::response<http::string_body> response_;
};

template <typename Protocol>
class Server final : public HttpServer {
 public:
  Server(typename Protocol::acceptor acceptor, Handler handler, std::string address, std::string path_to_remove)
      : acceptor_(std::move(acceptor)), handler_(std::make_shared<const Handler>(std::move(handler))), address_(std::move(address)), path_(std::move(path_to_remove)) {
    accept();
  }
  ~Server() override {
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  std::string address() const override { return address_; }

 private:
  void accept() {
    // The acceptor is closed with this object, and the handler then gets an error and touches nothing.
    acceptor_.async_accept([this](error_code problem, typename Protocol::socket socket) {
      if (problem == asio::error::operation_aborted) return;
      if (!problem && *open_ < kConnectionsMax) std::make_shared<Connection<Protocol>>(std::move(socket), handler_, open_)->read();
      accept();
    });
  }

  typename Protocol::acceptor acceptor_;
  std::shared_ptr<const Handler> handler_;
  std::shared_ptr<std::size_t> open_ = std::make_shared<std::size_t>(0);
  std::string address_, path_;
};

Result<std::unique_ptr<HttpServer>> listen_unix(asio::io_context& loop, const std::string& path, HttpServer::Handler handler) {
  using Protocol = asio::local::stream_protocol;
  if (path.empty() || path.size() > 100) return fail(ErrorCode::InvalidArgument, "the socket path \"{}\" must have 1 to 100 characters", path);
  error_code problem;
  {
    Protocol::socket probe(loop);
    probe.connect(Protocol::endpoint(path), problem);
    if (!problem) return fail(ErrorCode::AlreadyExists, "another dormouse answers on {}; give this one another --socket", path);
  }
  struct stat there{};
  if (::lstat(path.c_str(), &there) == 0) {
    if (!S_ISSOCK(there.st_mode)) return fail(ErrorCode::AlreadyExists, "{} exists and is not a socket", path);
    ::unlink(path.c_str());  // Left by one that is gone.
  }
  Protocol::acceptor acceptor(loop);
  acceptor.open(Protocol(), problem);
  const mode_t mask = ::umask(0077);
  if (!problem) acceptor.bind(Protocol::endpoint(path), problem);
  ::umask(mask);
  if (!problem) acceptor.listen(16, problem);
  if (problem) return fail(ErrorCode::PermissionDenied, "cannot listen on {}: {}", path, problem.message());
  return std::make_unique<Server<Protocol>>(std::move(acceptor), std::move(handler), "unix:" + path, path);
}

Result<std::unique_ptr<HttpServer>> listen_tcp(asio::io_context& loop, const std::string& address, HttpServer::Handler handler) {
  using Protocol = asio::ip::tcp;
  const std::size_t colon = address.rfind(':');
  std::uint16_t port = 0;
  const std::string_view digits = colon == std::string::npos ? std::string_view{} : std::string_view(address).substr(colon + 1);
  const auto [end, bad] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (digits.empty() || bad != std::errc() || end != digits.data() + digits.size()) return fail(ErrorCode::InvalidArgument, "\"{}\" is not an address: give HOST:PORT, :PORT or unix:PATH", address);
  std::string host = address.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  if (host.empty()) host = "0.0.0.0";
  if (host == "localhost") host = "127.0.0.1";
  error_code problem;
  const auto ip = asio::ip::make_address(host, problem);
  if (problem) return fail(ErrorCode::InvalidArgument, "\"{}\" is not an IP address", host);
  Protocol::acceptor acceptor(loop);
  const Protocol::endpoint endpoint(ip, port);
  acceptor.open(endpoint.protocol(), problem);
  if (!problem) acceptor.set_option(Protocol::acceptor::reuse_address(true), problem);
  if (!problem) acceptor.bind(endpoint, problem);
  if (!problem) acceptor.listen(64, problem);
  if (problem) return fail(ErrorCode::AlreadyExists, "cannot listen on {}: {}", address, problem.message());
  const auto bound = acceptor.local_endpoint();
  const std::string name = bound.address().is_v6() ? fmt::format("[{}]:{}", bound.address().to_string(), bound.port()) : fmt::format("{}:{}", bound.address().to_string(), bound.port());
  return std::make_unique<Server<Protocol>>(std::move(acceptor), std::move(handler), name, "");
}

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::create(asio::io_context& loop, const std::string& address, Handler handler) {
  if (address.starts_with("unix:")) return listen_unix(loop, address.substr(5), std::move(handler));
  return listen_tcp(loop, address, std::move(handler));
}

Result<std::string> get_from_unix_socket(const std::string& path, const std::string& target) {
  using Protocol = asio::local::stream_protocol;
  if (path.size() > 100) return fail(ErrorCode::InvalidArgument, "the socket path {} is too long", path);
  asio::io_context loop(1);
  Protocol::socket socket(loop);
  error_code problem;
  socket.connect(Protocol::endpoint(path), problem);
  if (problem) return fail(ErrorCode::Unavailable, "no dormouse answers on {} ({}); is `dormouse run` running, with this --socket?", path, problem.message());
  http::request<http::empty_body> request{http::verb::get, target, 11};
  request.set(http::field::host, "dormouse");
  http::write(socket, request, problem);
  beast::flat_buffer buffer;
  http::response_parser<http::string_body> parser;
  parser.body_limit(64 << 20);
  if (!problem) http::read(socket, buffer, parser, problem);
  if (problem) return fail(ErrorCode::Unavailable, "{}: {}", path, problem.message());
  if (parser.get().result_int() != 200) return fail(ErrorCode::Internal, "{}: answered {}: {}", path, parser.get().result_int(), parser.get().body());
  return std::move(parser.get().body());
}

}  // namespace dormouse::host
