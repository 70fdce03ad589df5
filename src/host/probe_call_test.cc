// SPDX-License-Identifier: Apache-2.0
#include "host/probe_call.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/test_support.h"

namespace dormouse::host {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// A guest of the test's own, behind a real network.
class ProbeCallTest : public ::testing::Test {
 protected:
  ProbeCallTest() : network_(std::make_shared<gateway::Network>(gateway::Network::Options{.guest = "ns/pod", .loop = loop_, .log = *log_, .account = account_})) {}
  ~ProbeCallTest() override {
    call_.reset();
    listener_.reset();
    accepted_.reset();
    network_.reset();
    settle();
    EXPECT_EQ(account_.used_bytes(), 0U);
  }
  void settle() {
    loop_.restart();
    loop_.poll();
  }
  void listen() { listener_ = std::move(*network_->listen(8080, [this] { ++wakes_; })); }
  void call(pods::Probe probe) {
    probe_ = std::move(probe);
    answers_ = 0;
    call_ = std::make_unique<ProbeCall>(loop_, network_, probe_, [this](const Result<void>& result) {
      ++answers_;
      outcome_ = result ? "well" : result.error().message;
    });
    EXPECT_EQ(answers_, 0) << "never from within";
    settle();
  }
  std::string request() {
    accepted_ = listener_->accept();
    if (!accepted_) return "(nobody called)";
    std::string text(16 * 1024, '\0');
    const auto moved = accepted_->guest_read(std::as_writable_bytes(std::span(text)));
    text.resize(moved.error == wasi::Errno::Success ? moved.bytes : 0);
    return text;
  }
  void say(std::string_view text) {
    accepted_->guest_write(std::as_bytes(std::span(text)));
    settle();
  }
  static pods::Probe get(std::string path = "/healthz") { return {.kind = pods::Probe::Kind::HttpGet, .port = 8080, .path = std::move(path)}; }

  testing::ReadableLog log_;
  boost::asio::io_context loop_;
  MemoryAccount account_{1 << 20};
  std::shared_ptr<gateway::Network> network_;
  std::unique_ptr<wasi::Listener> listener_;
  std::shared_ptr<wasi::Channel> accepted_;
  pods::Probe probe_;
  std::unique_ptr<ProbeCall> call_;
  std::string outcome_;
  int answers_ = 0, wakes_ = 0;
};

TEST_F(ProbeCallTest, AsksAsTheKubeletDoes) {
  listen();
  pods::Probe probe = get("/healthz?x=\xc3\xa4");
  probe.headers = {{"X-Token", "a b"}, {"host", "op.example"}};
  call(probe);
  EXPECT_EQ(request(), "GET /healthz?x=%C3%A4 HTTP/1.1\r\nUser-Agent: kube-probe/1.36\r\nAccept: */*\r\nConnection: close\r\nX-Token: a b\r\nhost: op.example\r\n\r\n");
}

TEST_F(ProbeCallTest, From200To399IsSuccess) {
  listen();
  for (const auto& [status, expected] : {std::pair{200, "well"}, {204, "well"}, {302, "well"}, {399, "well"}, {400, "GET /healthz on port 8080 was answered 400"}, {500, "was answered 500"}, {100, "was answered 100"}}) {
    call(get());
    EXPECT_THAT(request(), StartsWith("GET /healthz HTTP/1.1\r\nHost: localhost:8080\r\n"));
    say(fmt::format("HTTP/1.1 {} Why\r\nContent-Le", status));
    EXPECT_THAT(outcome_, HasSubstr(expected)) << status;
    EXPECT_EQ(answers_, 1);
  }
}

TEST_F(ProbeCallTest, AnAnswerMayComeInPiecesAndItsRestIsReadToTheEnd) {
  listen();
  call(get());
  request();
  for (const char c : std::string_view("HTTP/1.1 200 OK\r")) say(std::string_view(&c, 1));
  EXPECT_EQ(answers_, 0);
  say("\n");
  EXPECT_EQ(outcome_, "well");
  const std::string body(40'000, 'x');
  for (int i = 0; i < 4; ++i) say(body);
  EXPECT_EQ(accepted_->readiness().writable_bytes, wasi::Channel::kCapacityBytes) << "the guest can finish what it says";
  accepted_->guest_close();
  settle();
  EXPECT_EQ(answers_, 1);
}

TEST_F(ProbeCallTest, WhatIsNoAnswerIsAFailureWithItsReason) {
  call(get());
  EXPECT_THAT(outcome_, HasSubstr("does not listen on port 8080"));
  listen();
  call(get());
  request();
  say("SSH-2.0-x\r\n");
  EXPECT_THAT(outcome_, HasSubstr("not HTTP/1.0 or HTTP/1.1"));
  call(get());
  request();
  accepted_->guest_close();
  settle();
  EXPECT_THAT(outcome_, HasSubstr("closed the connection without an answer"));
}

TEST_F(ProbeCallTest, AGuestThatSaysNothingIsGivenUpAfterTheTimeOut) {
  listen();
  call(get());
  request();
  loop_.restart();
  while (answers_ == 0 && loop_.run_one() > 0) {
  }
  EXPECT_THAT(outcome_, HasSubstr("was not answered in 1 s"));
  EXPECT_TRUE(accepted_->readiness().failed) << "its connection is cut";
}

TEST_F(ProbeCallTest, AGuestWithoutMemoryFails) {
  listen();
  ASSERT_TRUE(account_.try_charge(account_.limit_bytes() - account_.used_bytes()));
  call(get());
  EXPECT_THAT(outcome_, HasSubstr("no memory left"));
  account_.release(account_.used_bytes());
}

TEST_F(ProbeCallTest, ATcpProbeDoesNotWakeTheGuest) {
  const pods::Probe tcp{.kind = pods::Probe::Kind::TcpSocket, .port = 8080};
  call(tcp);
  EXPECT_EQ(outcome_, "nothing listens on port 8080");
  listen();
  call(tcp);
  EXPECT_EQ(outcome_, "well");
  EXPECT_EQ(wakes_, 0);
}

TEST_F(ProbeCallTest, MayGoWhileItWaits) {
  listen();
  call(get());
  request();
  call_.reset();
  EXPECT_TRUE(accepted_->readiness().failed);
  settle();
  EXPECT_EQ(answers_, 0);
}

}  // namespace
}  // namespace dormouse::host
