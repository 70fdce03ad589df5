// SPDX-License-Identifier: Apache-2.0
#pragma once
// The client's side of one HTTP/2 connection, without I/O: bytes in, bytes out (nghttp2 does the framing).
//
// Flow control is split so that a slow reader holds back only itself: what arrives is credited to the connection
// at once, but to its stream only when the reader says consumed(). So a stream never holds more unread bytes than
// Options::stream_window_bytes, and the connection never stalls.
//
//   connect --> preface and SETTINGS go out --> ready() once the server's SETTINGS are here
//   Stream: open() --> on_response --> on_data... --> on_end     (or on_failure at any point)
//
// Ownership: owned by whoever owns the byte stream; borrows sinks until on_end, on_failure or reset().
// Threads:   none shared.
// Invariant: a sink hears nothing after on_end, on_failure or reset(); sinks are never called from open() or write().

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace dormouse::http {

using Headers = std::vector<std::pair<std::string, std::string>>;  // Names in lower case.

// Any call may reset() any stream of the client.
class Http2StreamSink {
 public:
  virtual ~Http2StreamSink() = default;
  virtual void on_response(int status, Headers headers) = 0;
  virtual void on_data(std::span<const std::byte> bytes) = 0;
  virtual void on_end() = 0;
  // `not_processed`: the server has certainly done nothing (REFUSED_STREAM, beyond GOAWAY's last stream); try elsewhere.
  virtual void on_failure(const Error& error, bool not_processed) = 0;
  virtual void on_writable() = 0;
};

class Http2Client final : Immovable {
 public:
  using StreamId = std::int32_t;
  struct Options {
    std::uint32_t stream_window_bytes = 256 * 1024;
    std::uint32_t connection_window_bytes = 4 * 1024 * 1024;
    std::size_t send_buffer_bytes = 64 * 1024;      // Of a request's body, for each stream.
    std::size_t header_list_bytes_max = 64 * 1024;  // Of a response: names, values and 32 bytes each.
    std::size_t headers_max = 256;
    std::size_t output_bytes_max = 64 * 1024;       // take_output() gives about this much at a time.
  };
  struct Head {
    std::string_view method, scheme, authority, path;
    const Headers* headers;
  };

  explicit Http2Client(Options options);
  ~Http2Client();  // Sinks hear nothing of it.

  // Bytes from the server; calls sinks. After an error the connection is to be closed and lost() called; the text says
  // what the server did wrong. REQUIRES: not called from within a sink.
  Result<void> feed(std::span<const std::byte> bytes);
  // The next bytes for the server, empty if there are none; may call sinks. REQUIRES: not called from within a sink.
  std::string take_output();

  // Fails when draining(), or when the head is not what HTTP/2 allows.
  Result<StreamId> open(const Head& head, bool has_body, Http2StreamSink& sink);
  // Queues some of a body and returns how much; if less than all, on_writable() follows. REQUIRES: a stream opened with
  // has_body; ended streams swallow everything.
  std::size_t write(StreamId id, std::span<const std::byte> bytes);
  void finish_body(StreamId id);
  void consumed(StreamId id, std::size_t bytes);
  // The stream's owner has lost interest.
  void reset(StreamId id);

  // Sends a PING; pings_unanswered() goes down again when its answer is here.
  void ping();
  std::uint32_t pings_unanswered() const;

  // The connection is gone: every stream fails with `error`. REQUIRES: not called from within a sink.
  void lost(const Error& error);

  bool ready() const;          // The server's SETTINGS are here.
  bool draining() const;       // GOAWAY came, or stream numbers ran out: no more streams.
  std::size_t streams_open() const;
  std::uint32_t streams_max() const;  // The server's limit.
  bool wants_close() const;    // All is said, or the server broke the protocol: close the connection.
  // What the server did wrong or why it says goodbye; empty if nothing of the kind came.
  const std::string& problem() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dormouse::http
