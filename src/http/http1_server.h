// SPDX-License-Identifier: Apache-2.0
#pragma once
// The server's side of one HTTP/1.1 connection, without I/O: bytes in, events out, and the bytes of responses.
//
// It is strict: whatever two readers could understand differently is refused, so that no request can hide in
// another one. The owner keeps the input; step() says how much of it is done with, so a body is never gathered
// here and a request that waits behind another stays, bounded, with the owner.
//
//   step():  Head ──▶ Body* ──▶ End        (Refused at any place: answer refusal(), then close)
//   answer:  start_response() ──▶ response_body()* ──▶ end_response(), then step() gives the next Head
//
// Ownership: a value of one connection.
// Threads: not thread-safe.
// Invariant: what step() reports does not depend on how the input was cut into pieces.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dormouse::http {

using Headers = std::vector<std::pair<std::string, std::string>>;  // Names in lower case.

class Http1Server final {
 public:
  struct Limits {
    std::size_t head_bytes_max = 64 * 1024;      // Request line and fields together; 431 beyond.
    std::size_t target_bytes_max = 16 * 1024;    // A `continue` token and selectors fit; 414 beyond.
    std::size_t headers_max = 100;               // 431 beyond.
    std::size_t chunk_line_bytes_max = 256;      // A chunk's size and extensions.
    std::size_t chunk_overhead_bytes_max = 16 * 1024;  // Framing beyond 16 bytes and twice the data, over one body.
    std::size_t trailer_bytes_max = 8 * 1024;    // Trailers are checked and dropped.
  };
  struct Request {
    std::string method;
    std::string target;                          // Origin form: path and query, unchanged.
    Headers headers;                             // In their order, values without blanks at the ends.
    std::optional<std::uint64_t> content_length;
    bool chunked = false;
    bool expects_continue = false;               // Call append_continue() before waiting for the body.
    bool has_body() const { return chunked || content_length.value_or(0) > 0; }
  };
  struct Refusal {
    int status = 400;
    std::string_view reason;                     // A constant: nothing of the guest's is in it.
  };
  enum class Event : std::uint8_t { NeedInput, Head, Body, End, Refused };
  struct Step {
    Event event = Event::NeedInput;
    std::size_t consumed = 0;                    // This much of the input is done with.
    std::span<const std::byte> body;             // With Body: the last bytes of what was consumed; in the input.
  };

  Http1Server() : Http1Server(Limits{}) {}
  explicit Http1Server(Limits limits) : limits_(limits) {}

  // Goes on to the next event. REQUIRES: no answer is outstanding after End, and the connection persists.
  Step step(std::span<const std::byte> input);
  const Request& request() const { return request_; }
  Request take_request() { return std::move(request_); }
  const Refusal& refusal() const { return refusal_; }
  // Whether bytes of a request have come of which Head or End has not: the end of input would cut it.
  bool mid_request() const { return state_ != State::Done && (state_ != State::RequestLine || head_bytes_ > 0); }
  bool request_ended() const { return state_ == State::Done; }
  bool refused() const { return state_ == State::Refused; }
  // Of the head that is being read, or was read last: about what this object holds.
  std::size_t head_bytes() const { return head_bytes_; }

  void append_continue(std::string& out) const;
  // Begins the answer to the request under way (or to the refused one). Fields about the connection and framing in
  // `headers` are left out, as are values that could end a field. Without a `content_length` the body is chunked.
  // An answer that starts before the request has ended closes the connection.
  void start_response(std::string& out, int status, const Headers& headers, std::optional<std::uint64_t> content_length);
  // Appends framed bytes; those beyond the promised length and those of a bodiless answer are dropped.
  void response_body(std::string& out, std::span<const std::byte> bytes);
  // Ends the answer. False: the connection must be closed now (a promised length that was not reached included).
  bool end_response(std::string& out);
  bool response_started() const { return response_ != Response::None; }
  // The answer's end could not be told from a loss of the connection: it is chunked.
  bool response_chunked() const { return response_ == Response::Chunked; }
  void close_after_response() { keep_alive_ = false; }

 private:
  enum class State : std::uint8_t { RequestLine, Fields, SizedBody, ChunkSize, ChunkData, ChunkDataEnd, Trailers, Done, Refused };
  enum class Response : std::uint8_t { None, Bodiless, Sized, Chunked };

  struct Line {
    std::optional<std::string_view> text;        // Without CR LF; unset: not all there, or refused.
    std::size_t consumed = 0;
  };
  Line read_line(std::string_view input, std::size_t& used, std::size_t max, int status, std::string_view reason);
  void refuse(int status, std::string_view reason);
  void parse_request_line(std::string_view line);
  void parse_field(std::string_view line, bool trailer);
  void finish_head();
  void parse_chunk_size(std::string_view line);

  Limits limits_;
  State state_ = State::RequestLine;
  Response response_ = Response::None;
  bool keep_alive_ = true;
  bool head_request_ = false;
  std::string partial_line_;
  std::size_t head_bytes_ = 0, line_bytes_ = 0, trailer_bytes_ = 0, chunk_overhead_bytes_ = 0;
  std::uint64_t body_left_ = 0, response_left_ = 0;
  std::string absolute_authority_;
  Request request_;
  Refusal refusal_;
};

std::string_view reason_phrase(int status);

}  // namespace dormouse::http
