// SPDX-License-Identifier: Apache-2.0
#include "kubepp/http.h"

#include <algorithm>
#include <charconv>
#include <cstdio>

namespace kubepp {
namespace {

std::unexpected<Error> malformed(const char* what) { return fail("Protocol", std::string("malformed HTTP response: ") + what); }

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

bool same_word(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return lower(x) == lower(y); });
}

bool is_token(std::string_view text) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
    return (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'z') || kMarks.find(c) != kMarks.npos;
  });
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// All of `text` as a number, no sign, no space.
bool parse_number(std::string_view text, int base, std::uint64_t& into) {
  if (text.empty()) return false;
  auto [stop, failure] = std::from_chars(text.data(), text.data() + text.size(), into, base);
  return failure == std::errc() && stop == text.data() + text.size();
}

}  // namespace

std::string_view HttpHead::header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (same_word(key, name)) return value;
  }
  return {};
}

Result<bool> ResponseParser::take_line(std::string_view& bytes) {
  const std::size_t stop = bytes.find('\n');
  const std::size_t size = stop == bytes.npos ? bytes.size() : stop + 1;
  if ((head_bytes_ += size) > kHeadBytesMax) return malformed("head too large");
  line_.append(bytes.substr(0, size));
  bytes.remove_prefix(size);
  if (stop == bytes.npos) return false;
  if (line_.size() < 2 || line_[line_.size() - 2] != '\r') return malformed("line without CR");
  line_.resize(line_.size() - 2);
  if (line_.find('\r') != line_.npos || line_.find('\0') != line_.npos) return malformed("control character");
  return true;
}

Result<void> ResponseParser::take_head_line() {
  if (head_.status == 0) {
    // HTTP/1.1 200 OK
    std::uint64_t status = 0;
    const std::string_view line = line_;
    if (!(line.starts_with("HTTP/1.1 ") || line.starts_with("HTTP/1.0 ")) || line.size() < 12 ||
        !parse_number(line.substr(9, 3), 10, status) || status < 100 || (line.size() > 12 && line[12] != ' ')) {
      return malformed("status line");
    }
    head_.status = static_cast<int>(status);
    keep_alive_ = line[7] == '1';
    return {};
  }
  const std::size_t colon = line_.find(':');
  if (colon == line_.npos || !is_token(std::string_view(line_).substr(0, colon))) return malformed("header line");
  head_.headers.emplace_back(line_.substr(0, colon), trim(std::string_view(line_).substr(colon + 1)));
  return {};
}

Result<void> ResponseParser::choose_framing() {
  if (head_.status == 101) return malformed("upgrade that nobody asked for");
  if (head_.status < 200) {  // Not the response yet.
    head_ = {};
    return {};
  }
  bool chunked = false;
  bool has_length = false;
  for (const auto& [name, value] : head_.headers) {
    if (same_word(name, "transfer-encoding")) {
      if (chunked || !same_word(value, "chunked")) return malformed("transfer encoding");
      chunked = true;
    } else if (same_word(name, "content-length")) {
      std::uint64_t length = 0;
      if (!parse_number(value, 10, length) || (has_length && length != left_)) return malformed("content length");
      has_length = true;
      left_ = length;
    } else if (same_word(name, "connection") && same_word(value, "close")) {
      keep_alive_ = false;
    }
  }
  if (chunked && has_length) return malformed("two lengths");
  head_bytes_ = 0;
  if (to_head_request_ || head_.status == 204 || head_.status == 304) {
    state_ = State::Done;
  } else if (chunked) {
    state_ = State::ChunkSize;
  } else if (has_length) {
    state_ = left_ == 0 ? State::Done : State::Length;
  } else {
    state_ = State::UntilEnd;
    keep_alive_ = false;
  }
  return {};
}

Result<std::size_t> ResponseParser::feed(std::string_view bytes, std::string& body) {
  const std::size_t given = bytes.size();
  if (given > 0) started_ = true;
  while (!bytes.empty() && state_ != State::Done) {
    if (state_ == State::Length || state_ == State::ChunkData || state_ == State::UntilEnd) {
      const std::size_t size =
          state_ == State::UntilEnd ? bytes.size() : static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size()));
      body.append(bytes.substr(0, size));
      bytes.remove_prefix(size);
      if (state_ == State::UntilEnd) continue;
      left_ -= size;
      if (left_ == 0) state_ = state_ == State::Length ? State::Done : State::ChunkEnd;
      continue;
    }
    const Result<bool> whole = take_line(bytes);
    if (!whole) return std::unexpected(whole.error());
    if (!*whole) break;
    Result<void> taken;
    switch (state_) {
      case State::Head:
        if (line_.empty() && head_.status != 0) {
          taken = choose_framing();
        } else {
          taken = take_head_line();
        }
        break;
      case State::ChunkSize: {
        const std::string_view digits = trim(std::string_view(line_).substr(0, line_.find(';')));
        if (digits.size() > 15 || !parse_number(digits, 16, left_)) return malformed("chunk size");
        state_ = left_ == 0 ? State::Trailers : State::ChunkData;
        head_bytes_ = 0;
        break;
      }
      case State::ChunkEnd:
        if (!line_.empty()) return malformed("chunk longer than its size");
        state_ = State::ChunkSize;
        break;
      default:  // Trailers: nobody wants them.
        if (line_.empty()) state_ = State::Done;
    }
    if (!taken) return std::unexpected(taken.error());
    line_.clear();
  }
  return given - bytes.size();
}

Result<void> ResponseParser::end() {
  keep_alive_ = false;
  if (state_ == State::UntilEnd) state_ = State::Done;
  if (state_ == State::Done) return {};
  return fail("Network", started_ ? "the API server closed the connection within a response"
                                  : "the API server closed the connection without a response");
}

HttpClient::Exchange::~Exchange() {
  if (stream_ && parser_.complete() && parser_.keep_alive() && client_.idle_.size() < kIdleConnectionsMax) {
    client_.idle_.push_back(std::move(stream_));
  }
}

Task<Result<void>> HttpClient::Exchange::read_head(Time deadline) {
  char bytes[4096];
  while (!parser_.head_complete()) {
    const Result<std::size_t> size = co_await stream_->read(bytes, sizeof(bytes), deadline);
    if (!size) co_return fail(size.error());
    if (*size == 0) {
      Result<void> ended = parser_.end();
      if (!ended) co_return fail(ended.error());
      break;
    }
    const Result<std::size_t> taken = parser_.feed(std::string_view(bytes, *size), pending_body_);
    if (!taken) co_return fail(taken.error());
    // Nothing may follow a response before the next request.
    if (*taken != *size) co_return malformed("bytes behind its end");
  }
  co_return Result<void>();
}

Task<Result<std::string>> HttpClient::Exchange::read_some(Time deadline) {
  char bytes[8 * 1024];
  while (pending_body_.empty() && !parser_.complete()) {
    const Result<std::size_t> size = co_await stream_->read(bytes, sizeof(bytes), deadline);
    if (!size) co_return fail(size.error());
    if (*size == 0) {
      Result<void> ended = parser_.end();
      if (!ended) co_return fail(ended.error());
      break;
    }
    const Result<std::size_t> taken = parser_.feed(std::string_view(bytes, *size), pending_body_);
    if (!taken) co_return fail(taken.error());
    if (*taken != *size) co_return malformed("bytes behind its end");
  }
  co_return std::exchange(pending_body_, std::string());
}

std::string HttpClient::render(const HttpRequest& request) const {
  std::string out = request.method + " " + request.target + " HTTP/1.1\r\nHost: " + endpoint_.host + "\r\n";
  std::string token = endpoint_.token;
  if (!endpoint_.token_file.empty()) {
    if (FILE* file = fopen(endpoint_.token_file.c_str(), "r")) {
      char bytes[8 * 1024];
      token.assign(bytes, fread(bytes, 1, sizeof(bytes), file));
      fclose(file);
      while (!token.empty() && (token.back() == '\n' || token.back() == ' ')) token.pop_back();
    }
  }
  if (!token.empty()) out += "Authorization: Bearer " + token + "\r\n";
  for (const auto& [name, value] : request.headers) out += name + ": " + value + "\r\n";
  if (!request.body.empty() || (request.method != "GET" && request.method != "DELETE")) {
    out += "Content-Length: " + std::to_string(request.body.size()) + "\r\n";
  }
  out += "\r\n";
  out += request.body;
  return out;
}

Task<Result<std::unique_ptr<HttpClient::Exchange>>> HttpClient::start(HttpRequest request, Time deadline) {
  const std::string bytes = render(request);
  // A POST that the server may have acted upon is not sent twice.
  const bool repeatable = request.method != "POST";
  for (;;) {
    std::unique_ptr<Stream> stream;
    const bool reused = !idle_.empty();
    if (reused) {
      stream = std::move(idle_.back());
      idle_.pop_back();
    } else {
      Result<std::unique_ptr<Stream>> dialled = co_await dial(loop_, endpoint_, deadline);
      if (!dialled) co_return fail(dialled.error());
      stream = std::move(*dialled);
    }
    std::unique_ptr<Exchange> exchange(new Exchange(*this, std::move(stream), request.method == "HEAD"));
    Result<void> done = co_await exchange->stream_->write(bytes, deadline);
    const bool written = done.has_value();
    if (done) done = co_await exchange->read_head(deadline);
    if (done) co_return std::move(exchange);
    const bool stale = reused && !exchange->parser_.started() && done.error().reason == "Network";
    if (!stale || (written && !repeatable)) co_return fail(done.error());
  }
}

}  // namespace kubepp
