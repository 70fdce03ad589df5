// SPDX-License-Identifier: Apache-2.0
#include "host/fetch_url.h"

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>

#include <chrono>
#include <optional>

namespace dormouse::host {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using boost::system::error_code;

constexpr auto kTimeout = std::chrono::seconds(10);

struct Target {
  bool tls = false;
  std::string host, port, path;
};

Result<Target> parse(const std::string& url) {
  Target target;
  std::string_view rest = url;
  target.tls = rest.starts_with("https://");
  rest.remove_prefix(target.tls ? 8 : 7);
  const std::size_t slash = std::min(rest.find('/'), rest.size());
  std::string_view authority = rest.substr(0, slash);
  target.path = slash == rest.size() ? "/" : std::string(rest.substr(slash));
  if (const std::size_t fragment = target.path.find('#'); fragment != std::string::npos) target.path.resize(fragment);
  if (authority.find('@') != std::string_view::npos) return fail(ErrorCode::InvalidArgument, "{}: credentials in a URL are not supported", url);
  target.port = target.tls ? "443" : "80";
  const std::size_t bracket = authority.rfind(']');
  const std::size_t colon = authority.rfind(':');
  if (colon != std::string_view::npos && (bracket == std::string_view::npos || colon > bracket)) {
    target.port = std::string(authority.substr(colon + 1));
    authority = authority.substr(0, colon);
  }
  if (authority.starts_with('[') && authority.ends_with(']')) authority = authority.substr(1, authority.size() - 2);
  target.host = std::string(authority);
  const bool printable = url.find_first_of(" \t\r\n") == std::string::npos;
  if (target.host.empty() || target.port.empty() || !printable) return fail(ErrorCode::InvalidArgument, "{}: not a valid URL", url);
  return target;
}

// Runs `loop` until the one operation that `outcome` tells of is over.
error_code complete(asio::io_context& loop, std::optional<error_code>& outcome) {
  loop.restart();
  while (!outcome && loop.run_one() > 0) {
  }
  return *std::exchange(outcome, std::nullopt);
}

template <typename Stream>
Result<std::string> exchange(asio::io_context& loop, Stream& stream, const Target& target, const std::string& url, std::size_t bytes_max) {
  http::request<http::empty_body> request{http::verb::get, target.path, 11};
  request.set(http::field::host, target.host + ":" + target.port);
  request.set(http::field::user_agent, "dormouse");
  request.set(http::field::connection, "close");
  std::optional<error_code> outcome;
  http::async_write(stream, request, [&](error_code e, std::size_t) { outcome = e; });
  if (const error_code problem = complete(loop, outcome)) return fail(ErrorCode::Unavailable, "{}: {}", url, problem.message());
  beast::flat_buffer buffer;
  http::response_parser<http::string_body> parser;
  parser.body_limit(bytes_max);
  http::async_read(stream, buffer, parser, [&](error_code e, std::size_t) { outcome = e; });
  if (const error_code problem = complete(loop, outcome)) return fail(ErrorCode::Unavailable, "{}: {}", url, problem.message());
  if (parser.get().result_int() != 200) return fail(ErrorCode::Unavailable, "{}: the server answered {} {}", url, parser.get().result_int(), std::string(parser.get().reason()));
  return std::move(parser.get().body());
}

}  // namespace

Result<std::string> fetch_url(const std::string& url, std::size_t bytes_max) {
  const auto target = parse(url);
  if (!target) return fail(target.error());
  asio::io_context loop(1);
  std::optional<error_code> outcome;
  asio::ip::tcp::resolver resolver(loop);
  error_code problem;
  const auto endpoints = resolver.resolve(target->host, target->port, problem);
  if (problem) return fail(ErrorCode::Unavailable, "{}: cannot resolve {}: {}", url, target->host, problem.message());
  beast::tcp_stream plain(loop);
  plain.expires_after(kTimeout);
  plain.async_connect(endpoints, [&](error_code e, const auto&) { outcome = e; });
  if ((problem = complete(loop, outcome))) return fail(ErrorCode::Unavailable, "{}: cannot connect: {}", url, problem.message());
  if (!target->tls) return exchange(loop, plain, *target, url, bytes_max);

  asio::ssl::context tls(asio::ssl::context::tls_client);
  ::SSL_CTX_set_min_proto_version(tls.native_handle(), TLS1_2_VERSION);
  tls.set_default_verify_paths(problem);
  beast::ssl_stream<beast::tcp_stream> stream(std::move(plain), tls);
  stream.set_verify_mode(asio::ssl::verify_peer, problem);
  stream.set_verify_callback(asio::ssl::host_name_verification(target->host), problem);
  ::SSL_set_tlsext_host_name(stream.native_handle(), target->host.c_str());
  stream.async_handshake(asio::ssl::stream_base::client, [&](error_code e) { outcome = e; });
  if ((problem = complete(loop, outcome))) return fail(ErrorCode::Unavailable, "{}: TLS: {}", url, problem.message());
  return exchange(loop, stream, *target, url, bytes_max);
}

}  // namespace dormouse::host
