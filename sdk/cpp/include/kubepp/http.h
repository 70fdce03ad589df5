// SPDX-License-Identifier: Apache-2.0
#pragma once
// HTTP/1.1 as a client needs it: a response parser without I/O, and exchanges over kept-alive connections.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kubepp/loop.h"
#include "kubepp/result.h"
#include "kubepp/stream.h"

namespace kubepp {

struct HttpHead {
  int status = 0;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string_view header(std::string_view name) const;  // The first of that name, in any case; "" if there is none.
};

// Takes bytes as they come and gives body bytes. Strict: what could be read in two ways is an error.
class ResponseParser {
 public:
  static constexpr std::size_t kHeadBytesMax = 64 * 1024;

  explicit ResponseParser(bool to_head_request = false) : to_head_request_(to_head_request) {}

  // Takes bytes up to the end of the response and appends body bytes to `body`. Yields how many it took.
  Result<std::size_t> feed(std::string_view bytes, std::string& body);
  // The stream is at its end: fine for a body without a length, an error within anything else.
  Result<void> end();

  bool head_complete() const { return state_ != State::Head; }
  bool complete() const { return state_ == State::Done; }
  bool started() const { return started_; }
  bool keep_alive() const { return keep_alive_; }
  const HttpHead& head() const { return head_; }

 private:
  enum class State : std::uint8_t { Head, Length, ChunkSize, ChunkData, ChunkEnd, Trailers, UntilEnd, Done };
  // Moves up to and including "\r\n" from `bytes` to line_. True when the line is whole.
  Result<bool> take_line(std::string_view& bytes);
  Result<void> take_head_line();
  Result<void> choose_framing();

  const bool to_head_request_;
  State state_ = State::Head;
  bool started_ = false;
  bool keep_alive_ = true;
  std::uint64_t left_ = 0;  // Of the body, or of the chunk.
  std::size_t head_bytes_ = 0;
  std::string line_;
  HttpHead head_;
};

struct HttpRequest {
  std::string method = "GET";
  std::string target = "/";  // Path and query.
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
};

// One request and its response. A connection whose response was read to its end goes back to the pool.
class HttpClient {
 public:
  static constexpr std::size_t kIdleConnectionsMax = 4;

  HttpClient(Loop& loop, Endpoint endpoint) : loop_(loop), endpoint_(std::move(endpoint)) {}
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  class Exchange {
   public:
    ~Exchange();
    const HttpHead& head() const { return parser_.head(); }
    // The next bytes of the body as they come; "" at its end.
    Task<Result<std::string>> read_some(Time deadline = kNever);

   private:
    friend class HttpClient;
    Exchange(HttpClient& client, std::unique_ptr<Stream> stream, bool to_head_request)
        : client_(client), stream_(std::move(stream)), parser_(to_head_request) {}
    Task<Result<void>> read_head(Time deadline);

    HttpClient& client_;
    std::unique_ptr<Stream> stream_;
    ResponseParser parser_;
    std::string pending_body_;
  };

  // Sends the request and waits for the response's head. An idle connection that turns out to be dead is replaced.
  Task<Result<std::unique_ptr<Exchange>>> start(HttpRequest request, Time deadline = kNever);

  Loop& loop() { return loop_; }

 private:
  std::string render(const HttpRequest& request) const;

  Loop& loop_;
  Endpoint endpoint_;
  std::vector<std::unique_ptr<Stream>> idle_;
};

}  // namespace kubepp
