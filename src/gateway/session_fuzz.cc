// SPDX-License-Identifier: Apache-2.0
// Any order of what a guest and an API server can do, with any bytes.
//
// Oracles: what reaches the API server carries the guest's token and nothing that claims to be somebody; memory is
// within the account and all of it comes back; the fake upstream checks credits, bodies and the window.
#include <array>
#include <map>
#include <optional>

#include <fmt/format.h>

#include "base/check.h"
#include "gateway/fake_upstream.h"
#include "gateway/session.h"

namespace dormouse::gateway {
namespace {

class Run final : public Session::Owner {
 public:
  explicit Run(std::span<const std::uint8_t> script) : script_(script) {
    channel_->set_host_notify([this] { rung_ = true; });
    identity_.held_back = next() % 4 == 0;
    upstream_.room_bytes = 1 + next() * 16U;
    session_.emplace(caller_, channel_, *this, http::Http1Server::Limits{.head_bytes_max = 2048, .target_bytes_max = 512, .headers_max = 20});
    while (!script_.empty()) {
      act(next());
      settle();
      CHECK(account_.used_bytes() <= account_.limit_bytes());
      for (; checked_ < upstream_.streams.size(); ++checked_) check(upstream_.streams[checked_]->request);
    }
    channel_->guest_close();
    settle();
    CHECK(!session_ && upstream_.open_streams() == 0);
    channel_.reset();
    CHECK(account_.used_bytes() == 0);
    CHECK(counters_.connections_open == 0 && counters_.requests_open == 0 && counters_.watches_open == 0);
  }

 private:
  static void check(const kube::Request& request) {
    CHECK(request.bearer && request.bearer->starts_with("token"));
    CHECK(request.target.starts_with('/') && request.target.find("/../") == std::string::npos);
    for (const auto& [name, value] : request.headers) {
      for (const std::string_view bad : {"authorization", "impersonate-", "x-remote-", "proxy-", "x-forwarded-", "connection", "transfer-encoding", "host", "te", "upgrade", "forwarded"}) {
        CHECK(bad.ends_with('-') ? !name.starts_with(bad) : name != bad);
      }
      CHECK(value.find_first_of(std::string_view("\r\n\0", 3)) == std::string::npos);
    }
  }
  void act(std::uint8_t op) {
    FakeUpstream::Stream* const stream = upstream_.streams.empty() || !upstream_.streams.back()->open() ? nullptr : upstream_.streams.back().get();
    switch (op % 20) {
      case 0: case 1: return write(take(next()));
      case 2: return write("GET /api/v1/pods?watch=1 HTTP/1.1\r\nHost: k\r\n");
      case 3: return write("POST /a HTTP/1.1\r\nHost: k\r\nTransfer-Encoding: chunked\r\n");
      case 4: return write(fmt::format("PUT /a%2F HTTP/1.1\r\nHost: k\r\nContent-Length: {}\r\n", next()));
      case 5: return write("\r\n");
      case 6: return write(fmt::format("Authorization: Bearer {}\r\nConnection: x-{}\r\n", next(), next()));
      case 7: return write("4\r\nbody\r\n");
      case 8: return write("0\r\n\r\n");
      case 9: return write(std::string(next() * 64U, 'b'));
      case 10: return read(1 + next() * 64U);
      case 11: return read(1 << 20);
      case 12: if (stream != nullptr && !responded_[stream]) respond(stream, next()); return;
      case 13: if (stream != nullptr && responded_[stream]) stream->data(std::string(1 + next() * 256U, 'd')); return;
      case 14: if (stream != nullptr) stream->end(); return;
      case 15: if (stream != nullptr) stream->fail(); return;
      case 16: if (stream != nullptr && !stream->body_done) stream->more_room(1 + next()); return;
      case 17: {
        auto waiting = std::exchange(identity_.waiting, {});
        for (auto& done : waiting) done(next() % 4 == 0 ? Result<std::string>(fail(ErrorCode::NotFound, "none")) : Result<std::string>("token"));
        return;
      }
      case 18: if (next() % 8 == 0) channel_->guest_shutdown_write(); return;
      case 19: if (next() % 8 == 0) channel_->guest_shutdown_read(); return;
    }
  }
  void respond(FakeUpstream::Stream* stream, std::uint8_t how) {
    const int status = std::array{200, 200, 201, 204, 304, 401, 403, 500}[how % 8];
    kube::Headers headers;
    if (how & 8) headers.emplace_back("content-length", fmt::to_string(how * 100));
    responded_[stream] = true;
    stream->respond(status, std::move(headers));
  }
  void write(std::string_view text) {
    if (channel_->guest_write(std::as_bytes(std::span(text))).error == wasi::Errno::NoMem) read(1 << 20);
  }
  void read(std::size_t max) {
    std::array<std::byte, 4096> buffer;
    for (std::size_t done = 0; done < max;) {
      const auto moved = channel_->guest_read(std::span(buffer).first(std::min(buffer.size(), max - done)));
      if (moved.error != wasi::Errno::Success || moved.bytes == 0) return;
      done += moved.bytes;
      settle();
    }
  }
  void settle() {
    while (session_ && (std::exchange(rung_, false) || std::exchange(wants_turn_, false))) session_->on_channel();
    if (closed_) session_.reset();
  }
  std::uint8_t next() {
    if (script_.empty()) return 0;
    const std::uint8_t byte = script_.front();
    script_ = script_.subspan(1);
    return byte;
  }
  std::string_view take(std::size_t size) {
    const auto taken = script_.first(std::min(size, script_.size()));
    script_ = script_.subspan(taken.size());
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }
  void on_session_closed() override { CHECK(!std::exchange(closed_, true)); }
  void on_session_wants_turn() override { wants_turn_ = true; }

  std::span<const std::uint8_t> script_;
  MemoryAccount account_{300'000};
  FakeUpstream upstream_;
  FakeIdentity identity_{"token"};
  KubeCounters counters_;
  Session::Caller caller_{upstream_, &identity_, account_, counters_, nullptr};
  std::shared_ptr<wasi::Channel> channel_ = std::make_shared<wasi::Channel>(account_);
  std::optional<Session> session_;
  std::map<FakeUpstream::Stream*, bool> responded_;
  std::size_t checked_ = 0;
  bool rung_ = false, wants_turn_ = false, closed_ = false;
};

}  // namespace
}  // namespace dormouse::gateway

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  dormouse::gateway::Run run(std::span(data, size));
  return 0;
}
