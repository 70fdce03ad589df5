// SPDX-License-Identifier: Apache-2.0
// Whatever a server sends: no crash, and each sink hears of one end at most.

#include <cstdint>

#include "base/check.h"
#include "http/http2_client.h"

namespace {
using namespace dormouse::http;

struct Sink final : Http2StreamSink {
  void on_response(int status, Headers) override {
    CHECK(!ended && !responded && status >= 200);
    responded = true;
    if (reset_on_response) {
      ended = true;
      client->reset(id);
    }
  }
  void on_data(std::span<const std::byte> bytes) override {
    CHECK(!ended);
    client->consumed(id, bytes.size() / 2);
  }
  void on_end() override {
    CHECK(!ended && responded);
    ended = true;
  }
  void on_failure(const dormouse::Error&, bool) override {
    CHECK(!ended);
    ended = true;
  }
  void on_writable() override { CHECK(!ended); }
  Http2Client* client = nullptr;
  Http2Client::StreamId id = 0;
  bool ended = false, responded = false, reset_on_response = false;
};
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  const std::size_t piece = 1 + data[0] % 64;
  Http2Client client{Http2Client::Options{}};
  Sink sinks[3];
  const Headers headers{{"accept", "application/json"}};
  for (Sink& sink : sinks) {
    sink.client = &client;
    sink.reset_on_response = &sink == &sinks[2];
    const auto id = client.open({"POST", "https", "example", "/", &headers}, &sink != &sinks[0], sink);
    CHECK(id.has_value());
    sink.id = *id;
  }
  const std::string body(100'000, 'x');
  client.write(sinks[1].id, std::as_bytes(std::span(body)));
  static_cast<void>(client.take_output());
  for (std::size_t at = 1; at < size; at += piece) {
    const auto bytes = std::as_bytes(std::span(data + at, std::min(piece, size - at)));
    if (!client.feed(bytes)) break;
    static_cast<void>(client.take_output());
    if (client.wants_close()) break;
  }
  client.lost(dormouse::Error{dormouse::ErrorCode::Unavailable, "gone"});
  for (const Sink& sink : sinks) CHECK(sink.ended);
  return 0;
}
