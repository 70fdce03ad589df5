// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the tests of this folder share: a loop that is run until something holds, and an API server that exists only as a script.
//
// Ownership: values of a test. Threads: the test's.

#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

#include "kube/upstream.h"

namespace dormouse::kube {

template <typename Condition>
void run_until(boost::asio::io_context& loop, Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!condition() && std::chrono::steady_clock::now() < deadline) {
    loop.restart();
    loop.run_one_for(std::chrono::milliseconds(100));
  }
  EXPECT_TRUE(condition());
}

// Does all that can be done at once, and no more.
inline void run_ready(boost::asio::io_context& loop) {
  do loop.restart();
  while (loop.poll() > 0);
}

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "dormouse-kube-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  std::string write(const std::string& name, const std::string& text, bool executable = false) const {
    const std::string path = path_ + "/" + name;
    std::ofstream(path) << text;
    if (executable) std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    return path;
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Notes requests; the test answers them.
class ScriptedUpstream final : public Upstream {
 public:
  struct Called {
    Request request;
    std::string body;
    Done done;
  };
  struct Started final : Exchange {
    Started(ScriptedUpstream& upstream, Request request, ExchangeSink& sink) : upstream(upstream), request(std::move(request)), sink(sink) { upstream.streams.push_back(this); }
    ~Started() override { std::erase(upstream.streams, this); }
    std::size_t write(std::span<const std::byte> bytes) override { return bytes.size(); }
    void finish_body() override {}
    void consumed(std::size_t bytes) override { upstream.consumed += bytes; }
    ScriptedUpstream& upstream;
    Request request;
    ExchangeSink& sink;
  };
  std::unique_ptr<Exchange> start(Request request, ExchangeSink& sink) override { return std::make_unique<Started>(*this, std::move(request), sink); }
  void call(Request request, std::string body, std::size_t, Done done) override { calls.push_back({std::move(request), std::move(body), std::move(done)}); }
  Counters counters() const override { return {}; }

  void answer(int status, const std::string& body) {
    ASSERT_FALSE(calls.empty());
    const Called call = std::move(calls.front());
    calls.pop_front();
    call.done(Response{status, {}, body});
  }
  void answer(Error error) {
    ASSERT_FALSE(calls.empty());
    const Called call = std::move(calls.front());
    calls.pop_front();
    call.done(std::unexpected(std::move(error)));
  }
  std::deque<Called> calls;
  std::vector<Started*> streams;
  std::size_t consumed = 0;
};

}  // namespace dormouse::kube
