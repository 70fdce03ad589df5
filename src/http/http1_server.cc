// SPDX-License-Identifier: Apache-2.0
#include "http/http1_server.h"

#include <array>
#include <charconv>

#include <fmt/format.h>

#include "base/check.h"
#include "http/field_syntax.h"

namespace dormouse::http {

namespace {

// The methods of the Kubernetes API. CONNECT and TRACE would make a tunnel or a mirror of the gateway.
constexpr std::array<std::string_view, 7> kMethods = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};
constexpr std::size_t kMethodBytesMax = 16;
// A chunk of 2^60 bytes will never end; more digits could only serve to overflow somebody's counter.
constexpr std::size_t kChunkSizeDigitsMax = 15;
constexpr std::size_t kContentLengthDigitsMax = 18;

// Visible ASCII and whole percent-encodings; no fragment.
bool is_origin_form(std::string_view target) {
  if (!target.starts_with('/')) return false;
  for (std::size_t i = 0; i < target.size(); ++i) {
    const char c = target[i];
    if (c <= 0x20 || c >= 0x7f || c == '#') return false;
    if (c == '%' && (i + 2 >= target.size() || hex_value(target[i + 1]) < 0 || hex_value(target[i + 2]) < 0)) return false;
  }
  return true;
}

// uri-host [":" port], without user information.
bool is_authority(std::string_view text) {
  std::string_view port;
  if (text.starts_with('[')) {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos || close < 3) return false;
    if (!std::ranges::all_of(text.substr(1, close - 1), [](char c) { return hex_value(c) >= 0 || c == ':' || c == '.'; })) return false;
    port = text.substr(close + 1);
  } else {
    const std::size_t colon = text.find(':');
    const std::string_view host = text.substr(0, colon);
    if (host.empty()) return false;
    if (!std::ranges::all_of(host, [](char c) { return is_digit(c) || is_alpha(c) || c == '-' || c == '.' || c == '_'; })) return false;
    port = colon == std::string_view::npos ? std::string_view() : text.substr(colon);
  }
  if (port.empty()) return true;
  port.remove_prefix(1);
  return text[text.size() - port.size() - 1] == ':' && !port.empty() && port.size() <= 5 && std::ranges::all_of(port, is_digit);
}

// About the connection, the framing or the way there: never passed on from one side to the other.
bool is_framing_field(std::string_view name) {
  return name == "connection" || name == "keep-alive" || name == "transfer-encoding" || name == "content-length" ||
         name == "upgrade" || name == "trailer" || name == "te" || name.starts_with("proxy-") || name.starts_with(':');
}

}  // namespace

std::string_view reason_phrase(int status) {
  switch (status) {
    case 100: return "Continue";
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 304: return "Not Modified";
    case 307: return "Temporary Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 406: return "Not Acceptable";
    case 409: return "Conflict";
    case 410: return "Gone";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 417: return "Expectation Failed";
    case 422: return "Unprocessable Content";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    default: return "Status";
  }
}

void Http1Server::refuse(int status, std::string_view reason) {
  if (state_ == State::Refused) return;  // The first fault is the one that is told.
  state_ = State::Refused;
  refusal_ = {status, reason};
  keep_alive_ = false;
  partial_line_ = {};
}

// Takes bytes up to and with the next LF. `used` counts the bytes of the whole section, which may be at most `max`.
Http1Server::Line Http1Server::read_line(std::string_view input, std::size_t& used, std::size_t max, int status, std::string_view reason) {
  const std::string_view allowed = input.substr(0, max - used);
  const std::size_t newline = allowed.find('\n');
  const bool complete = newline != std::string_view::npos;
  const std::size_t taken = complete ? newline + 1 : allowed.size();
  used += taken;
  if (!complete && used >= max) {
    refuse(status, reason);
    return {std::nullopt, taken};
  }
  if (!complete) {
    partial_line_.append(allowed);
    return {std::nullopt, taken};
  }
  std::string_view line = input.substr(0, taken);
  if (!partial_line_.empty()) {
    partial_line_.append(line);
    line = partial_line_;
  }
  if (!line.ends_with("\r\n")) {
    refuse(400, "a line ends with LF alone");
    return {std::nullopt, taken};
  }
  line.remove_suffix(2);
  if (!is_field_value(line)) {
    refuse(400, "a control character (such as a bare CR or NUL) in a line");
    return {std::nullopt, taken};
  }
  return {line, taken};
}

Http1Server::Step Http1Server::step(std::span<const std::byte> input) {
  CHECK(state_ != State::Done);
  const std::string_view text(reinterpret_cast<const char*>(input.data()), input.size());
  std::size_t at = 0;
  const auto line_of = [&](std::size_t& used, std::size_t max, int status, std::string_view reason, auto&& parse) {
    const Line line = read_line(text.substr(at), used, max, status, reason);
    at += line.consumed;
    if (!line.text) return;
    parse(*line.text);
    partial_line_.clear();
  };
  while (state_ != State::Refused) {
    if (at == text.size() && state_ != State::Done) {
      // A body whose length is reached ends without another byte.
      if (!(state_ == State::SizedBody && body_left_ == 0)) return {Event::NeedInput, at, {}};
    }
    switch (state_) {
      case State::RequestLine: {
        const std::size_t max = std::min(limits_.head_bytes_max, limits_.target_bytes_max + kMethodBytesMax + 12);
        line_of(head_bytes_, max, 414, "the request line is too long", [&](std::string_view line) { parse_request_line(line); });
        break;
      }
      case State::Fields: {
        bool done = false;
        line_of(head_bytes_, limits_.head_bytes_max, 431, "the request's fields are too large", [&](std::string_view line) {
          if (line.empty()) {
            done = true;
            finish_head();
          } else {
            parse_field(line, false);
          }
        });
        if (done && state_ != State::Refused) return {Event::Head, at, {}};
        break;
      }
      case State::SizedBody:
      case State::ChunkData: {
        if (body_left_ == 0) {
          if (state_ == State::SizedBody) {
            state_ = State::Done;
            return {Event::End, at, {}};
          }
          state_ = State::ChunkDataEnd;
          line_bytes_ = 0;
          break;
        }
        const std::size_t size = static_cast<std::size_t>(std::min<std::uint64_t>(body_left_, text.size() - at));
        body_left_ -= size;
        return {Event::Body, at + size, input.subspan(at, size)};
      }
      case State::ChunkDataEnd:
        line_of(line_bytes_, 2, 400, "a chunk's data does not end where its size says", [&](std::string_view line) {
          if (!line.empty()) return refuse(400, "a chunk's data does not end where its size says");
          state_ = State::ChunkSize;
          line_bytes_ = 0;
        });
        break;
      case State::ChunkSize:
        line_of(line_bytes_, limits_.chunk_line_bytes_max, 400, "a chunk's size line is too long",
                [&](std::string_view line) { parse_chunk_size(line); });
        break;
      case State::Trailers: {
        bool done = false;
        line_of(trailer_bytes_, limits_.trailer_bytes_max, 400, "the trailers are too large", [&](std::string_view line) {
          if (line.empty()) {
            done = true;
          } else {
            parse_field(line, true);
          }
        });
        if (!done || state_ == State::Refused) break;
        state_ = State::Done;
        return {Event::End, at, {}};
      }
      case State::Done:
      case State::Refused: break;
    }
  }
  return {Event::Refused, at, {}};
}

void Http1Server::parse_request_line(std::string_view line) {
  request_ = {};
  absolute_authority_.clear();
  head_request_ = false;
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) return refuse(400, "the request line is not METHOD TARGET VERSION");
  const std::string_view method = line.substr(0, first);
  std::string_view target = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  if (!is_token(method) || method.size() > kMethodBytesMax) return refuse(400, "the method is malformed");
  if (version != "HTTP/1.1") {
    const bool well_formed = version.size() == 8 && version.starts_with("HTTP/") && is_digit(version[5]) && version[6] == '.' && is_digit(version[7]);
    return well_formed ? refuse(505, "only HTTP/1.1 is spoken here") : refuse(400, "the protocol version is malformed");
  }
  if (std::ranges::find(kMethods, method) == kMethods.end()) return refuse(501, "the method is not one of the Kubernetes API");
  if (target.size() > limits_.target_bytes_max) return refuse(414, "the request's target is too long");
  if (target.size() > 7 && equal_ignoring_case(target.substr(0, 7), "http://")) {
    target.remove_prefix(7);
    const std::size_t slash = target.find('/');
    if (slash == std::string_view::npos || slash == 0) return refuse(400, "the request's target is malformed");
    absolute_authority_ = target.substr(0, slash);
    target.remove_prefix(slash);
  }
  if (!is_origin_form(target)) return refuse(400, "the request's target is malformed");
  request_.method = method;
  request_.target = target;
  head_request_ = method == "HEAD";
  state_ = State::Fields;
}

void Http1Server::parse_field(std::string_view line, bool trailer) {
  if (line.front() == ' ' || line.front() == '\t') return refuse(400, "a field is folded over two lines");
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return refuse(400, "a field has no colon");
  const std::string_view name = line.substr(0, colon);
  if (!is_token(name)) return refuse(400, "a field's name is malformed");  // Blanks before the colon included.
  if (trailer) return;
  if (request_.headers.size() >= limits_.headers_max) return refuse(431, "the request has too many fields");
  request_.headers.emplace_back(to_lower(name), trim_blanks(line.substr(colon + 1)));
}

void Http1Server::finish_head() {
  std::optional<std::string_view> host, length, coding;
  for (const auto& [name, value] : request_.headers) {
    if (name == "host") {
      if (host) return refuse(400, "Host is given twice");
      host = value;
    } else if (name == "content-length") {
      if (length) return refuse(400, "Content-Length is given twice");
      length = value;
    } else if (name == "transfer-encoding") {
      if (coding) return refuse(400, "Transfer-Encoding is given twice");
      coding = value;
    } else if (name == "expect") {
      if (!equal_ignoring_case(value, "100-continue")) return refuse(417, "only Expect: 100-continue is known");
      request_.expects_continue = true;
    } else if (name == "connection") {
      const bool tokens = every_list_element(value, [&](std::string_view element) {
        if (equal_ignoring_case(element, "close")) keep_alive_ = false;
        return is_token(element);
      });
      if (!tokens) return refuse(400, "Connection is malformed");
    }
  }
  if (!host) return refuse(400, "Host is missing");
  if (!is_authority(*host)) return refuse(400, "Host is malformed");
  if (!absolute_authority_.empty() && !equal_ignoring_case(absolute_authority_, *host)) {
    return refuse(400, "the target names another host than Host does");
  }
  if (length && coding) return refuse(400, "both Content-Length and Transfer-Encoding are given");
  if (coding && !equal_ignoring_case(*coding, "chunked")) return refuse(400, "the only known Transfer-Encoding is chunked");
  if (length) {
    if (length->empty() || length->size() > kContentLengthDigitsMax || !std::ranges::all_of(*length, is_digit)) {
      return refuse(400, "Content-Length is malformed");
    }
    std::uint64_t value = 0;
    std::from_chars(length->data(), length->data() + length->size(), value);
    request_.content_length = value;
  }
  request_.chunked = coding.has_value();
  request_.expects_continue = request_.expects_continue && request_.has_body();
  body_left_ = request_.content_length.value_or(0);
  line_bytes_ = trailer_bytes_ = chunk_overhead_bytes_ = 0;
  state_ = request_.chunked ? State::ChunkSize : State::SizedBody;
}

void Http1Server::parse_chunk_size(std::string_view line) {
  const std::size_t digits = std::min(line.find(';'), line.size());
  if (digits == 0 || digits > kChunkSizeDigitsMax) return refuse(400, "a chunk's size is malformed");
  std::uint64_t size = 0;
  for (const char c : line.substr(0, digits)) {
    const int digit = hex_value(c);
    if (digit < 0) return refuse(400, "a chunk's size is malformed");
    size = size << 4 | static_cast<std::uint64_t>(digit);
  }
  // Many tiny chunks with long extensions would cost far more than they carry.
  const std::uint64_t earned = 16 + 2 * std::min<std::uint64_t>(size, limits_.chunk_overhead_bytes_max);
  chunk_overhead_bytes_ += line.size() + 2;
  chunk_overhead_bytes_ -= static_cast<std::size_t>(std::min<std::uint64_t>(chunk_overhead_bytes_, earned));
  if (chunk_overhead_bytes_ > limits_.chunk_overhead_bytes_max) return refuse(400, "the body's chunk extensions are too large");
  body_left_ = size;
  state_ = size == 0 ? State::Trailers : State::ChunkData;
}

void Http1Server::append_continue(std::string& out) const { out.append("HTTP/1.1 100 Continue\r\n\r\n"); }

void Http1Server::start_response(std::string& out, int status, const Headers& headers, std::optional<std::uint64_t> content_length) {
  CHECK(response_ == Response::None && status >= 200 && status <= 999);
  if (state_ != State::Done) keep_alive_ = false;
  fmt::format_to(std::back_inserter(out), "HTTP/1.1 {} {}\r\n", status, reason_phrase(status));
  for (const auto& [name, value] : headers) {
    if (is_framing_field(name) || !is_token(name) || !is_field_value(value)) continue;
    out.append(name).append(": ").append(value).append("\r\n");
  }
  const bool never_a_body = status == 204 || status == 304;
  if (content_length && !never_a_body) fmt::format_to(std::back_inserter(out), "Content-Length: {}\r\n", *content_length);
  if (never_a_body || head_request_) {
    response_ = Response::Bodiless;
  } else if (content_length) {
    response_ = Response::Sized;
    response_left_ = *content_length;
  } else {
    response_ = Response::Chunked;
    out.append("Transfer-Encoding: chunked\r\n");
  }
  if (!keep_alive_) out.append("Connection: close\r\n");
  out.append("\r\n");
}

void Http1Server::response_body(std::string& out, std::span<const std::byte> bytes) {
  CHECK(response_ != Response::None);
  if (bytes.empty() || response_ == Response::Bodiless) return;
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (response_ == Response::Sized) {
    if (text.size() > response_left_) {
      text = text.substr(0, static_cast<std::size_t>(response_left_));
      keep_alive_ = false;
    }
    response_left_ -= text.size();
    out.append(text);
    return;
  }
  fmt::format_to(std::back_inserter(out), "{:x}\r\n", text.size());
  out.append(text).append("\r\n");
}

bool Http1Server::end_response(std::string& out) {
  CHECK(response_ != Response::None);
  if (response_ == Response::Chunked) out.append("0\r\n\r\n");
  if (response_ == Response::Sized && response_left_ > 0) keep_alive_ = false;
  response_ = Response::None;
  if (!keep_alive_) return false;
  CHECK(state_ == State::Done);
  state_ = State::RequestLine;
  head_bytes_ = 0;
  head_request_ = false;
  request_ = {};
  return true;
}

}  // namespace dormouse::http
