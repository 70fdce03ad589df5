// SPDX-License-Identifier: Apache-2.0
#include "host/probe_call.h"

#include <algorithm>
#include <array>
#include <chrono>

#include "http/field_syntax.h"
#include "http/status_line.h"

namespace dormouse::host {
namespace {

std::string request_of(const pods::Probe& probe) {
  std::string text = "GET ";
  for (const char c : probe.path) {
    if (static_cast<unsigned char>(c) > 0x7f) text += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    else text += c;
  }
  text += " HTTP/1.1\r\n";
  // An author's header takes the place of ours, as with the kubelet.
  const std::pair<std::string, std::string> ours[] = {
      {"Host", fmt::format("localhost:{}", probe.port)}, {"User-Agent", "kube-probe/1.36"}, {"Accept", "*/*"}, {"Connection", "close"}};
  for (const auto& [name, value] : ours) {
    if (std::ranges::none_of(probe.headers, [&](const auto& header) { return http::equal_ignoring_case(header.first, name); })) text += fmt::format("{}: {}\r\n", name, value);
  }
  for (const auto& [name, value] : probe.headers) text += fmt::format("{}: {}\r\n", name, value);
  return text + "\r\n";
}

}  // namespace

ProbeCall::ProbeCall(boost::asio::io_context& loop, std::shared_ptr<gateway::Network> network, const pods::Probe& probe, Done done)
    : network_(std::move(network)), probe_(probe), done_(std::move(done)), bell_(gateway::Doorbell::create(loop)), timer_(loop) {
  bell_->answer_with([this] { send(); });
  bell_->ring();
}

ProbeCall::~ProbeCall() {
  bell_->silence();
  timer_.cancel();
  if (channel_) channel_->host_fail(wasi::Errno::ConnReset);
}

void ProbeCall::send() {
  if (probe_.kind == pods::Probe::Kind::TcpSocket) {
    return answer(network_->listening(probe_.port) ? Result<void>() : fail(ErrorCode::Unavailable, "nothing listens on port {}", probe_.port));
  }
  auto channel = network_->connect(probe_.port);
  if (!channel) return answer(fail(channel.error()));
  channel_ = std::move(*channel);
  timer_.expires_after(std::chrono::seconds(probe_.timeout_s));
  timer_.async_wait([this, alive = std::weak_ptr(alive_)](boost::system::error_code problem) {
    if (problem || alive.expired()) return;
    // Also the end of a connection that the guest has not closed since it answered.
    channel_->host_fail(wasi::Errno::ConnReset);
    answer(fail(ErrorCode::Unavailable, "GET {} on port {} was not answered in {} s", probe_.path, probe_.port, probe_.timeout_s));
  });
  bell_->answer_with([this] { on_channel(); });
  channel_->set_host_notify([bell = bell_] { bell->ring(); });
  const std::string request = request_of(probe_);
  if (channel_->host_write(std::as_bytes(std::span(request))) < request.size()) {
    return answer(fail(ErrorCode::ResourceExhausted, "the guest has no memory left to receive GET {} on port {}", probe_.path, probe_.port));
  }
  bell_->ring();  // For what happened before it could ring.
}

void ProbeCall::on_channel() {
  std::array<std::byte, 4096> bytes;
  while (const std::size_t got = channel_->host_read(bytes)) {
    if (answered_) continue;  // The rest of the answer is read and dropped, so that the guest can finish it.
    received_.append(reinterpret_cast<const char*>(bytes.data()), got);
    const auto status = http::read_status_line(received_);
    if (!status) {
      answer(fail(ErrorCode::Corrupt, "GET {} on port {}: {}", probe_.path, probe_.port, status.error().message));
    } else if (*status) {
      const unsigned code = **status;
      answer(code >= 200 && code < 400 ? Result<void>() : fail(ErrorCode::Unavailable, "GET {} on port {} was answered {}", probe_.path, probe_.port, code));
    }
  }
  if (!channel_->host_at_end() && !channel_->guest_gone()) return;
  timer_.cancel();
  answer(fail(ErrorCode::Unavailable, "the guest closed the connection without an answer to GET {} on port {}", probe_.path, probe_.port));
  channel_->host_end();
}

void ProbeCall::answer(Result<void> outcome) {
  if (std::exchange(answered_, true)) return;
  if (channel_) channel_->host_end();
  done_(std::move(outcome));
}

}  // namespace dormouse::host
