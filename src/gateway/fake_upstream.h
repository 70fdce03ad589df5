// SPDX-License-Identifier: Apache-2.0
#pragma once
// For tests: an API server whose every move is written in the test.
//
// Ownership: owned by the test; outlives the sessions.
// Threads: the test's loop.

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"
#include "kube/service_account_tokens.h"
#include "kube/upstream.h"

namespace dormouse::gateway {

class FakeUpstream final : public kube::Upstream {
 public:
  struct Stream {  // One request, as the API server sees it.
    kube::Request request;
    kube::ExchangeSink* sink = nullptr;
    std::string body;
    bool body_done = false, reset = false, over = false;
    std::size_t room_bytes = 1 << 20;  // For more of the body.
    std::size_t window_bytes = 256 * 1024, sent_bytes = 0, credited_bytes = 0;

    std::string header(std::string_view name) const {
      std::string all;
      for (const auto& [key, value] : request.headers) {
        if (key == name) all += all.empty() ? value : "|" + value;
      }
      return all;
    }
    bool open() const { return !reset && !over; }
    void respond(int status, kube::Headers headers = {}) {
      CHECK(open());
      sink->on_response(status, std::move(headers));
    }
    // As a real stream: never more than the window lets through. Yields how much was sent.
    std::size_t data(std::string_view text) {
      CHECK(open());
      const std::size_t size = std::min(text.size(), window_bytes - (sent_bytes - credited_bytes));
      sent_bytes += size;
      if (size > 0) sink->on_data(std::as_bytes(std::span(text.substr(0, size))));
      return size;
    }
    void end() {
      CHECK(open());
      over = true;
      sink->on_end();
    }
    void fail(std::string message = "connection reset", bool before_response = false) {
      CHECK(open());
      over = true;
      sink->on_failure({ErrorCode::Unavailable, std::move(message)}, before_response);
    }
    void more_room(std::size_t bytes) {
      CHECK(open());
      room_bytes += bytes;
      sink->on_writable();
    }
  };

  std::unique_ptr<kube::Exchange> start(kube::Request request, kube::ExchangeSink& sink) override {
    auto stream = std::make_shared<Stream>();
    stream->body_done = !request.has_body;
    stream->request = std::move(request);
    stream->sink = &sink;
    stream->room_bytes = room_bytes;
    streams.push_back(stream);
    return std::make_unique<FakeExchange>(stream);
  }
  void call(kube::Request request, std::string body, std::size_t, Done done) override { calls.push_back({std::move(request), std::move(body), std::move(done)}); }
  Counters counters() const override { return {}; }

  Stream& last() {
    CHECK(!streams.empty());
    return *streams.back();
  }
  std::size_t open_streams() const {
    return static_cast<std::size_t>(std::ranges::count_if(streams, [](const auto& stream) { return stream->open(); }));
  }

  struct Called {
    kube::Request request;
    std::string body;
    Done done;
  };
  std::vector<Called> calls;
  std::vector<std::shared_ptr<Stream>> streams;
  std::size_t room_bytes = 1 << 20;  // What new streams start with.

 private:
  class FakeExchange final : public kube::Exchange {
   public:
    explicit FakeExchange(std::shared_ptr<Stream> stream) : stream_(std::move(stream)) {}
    ~FakeExchange() override { stream_->reset = stream_->reset || !stream_->over; }
    std::size_t write(std::span<const std::byte> bytes) override {
      CHECK(!stream_->body_done);
      const std::size_t size = std::min(bytes.size(), stream_->room_bytes);
      stream_->room_bytes -= size;
      stream_->body.append(reinterpret_cast<const char*>(bytes.data()), size);
      return size;
    }
    void finish_body() override {
      CHECK(!std::exchange(stream_->body_done, true));
    }
    void consumed(std::size_t bytes) override {
      stream_->credited_bytes += bytes;
      CHECK(stream_->credited_bytes <= stream_->sent_bytes);
    }

   private:
    const std::shared_ptr<Stream> stream_;
  };
};

// An identity whose tokens the test hands out.
class FakeIdentity final : public kube::Identity {
 public:
  explicit FakeIdentity(std::string first = "guest-token") : token(std::move(first)) {}
  void with_token(TokenDone done) override {
    ++asked;
    if (held_back) waiting.push_back(std::move(done));
    else done(token);
  }
  bool rejected(std::string_view rejected_token) override {
    ++rejections;
    if (!token || rejected_token != *token) return true;
    token = *token + "+";
    return another;
  }
  const std::string& namespace_name() const override { return namespace_; }
  const std::string& service_account() const override { return account_; }

  Result<std::string> token;
  bool another = true, held_back = false;
  int asked = 0, rejections = 0;
  std::vector<TokenDone> waiting;

 private:
  std::string namespace_ = "ns", account_ = "sa";
};

}  // namespace dormouse::gateway
