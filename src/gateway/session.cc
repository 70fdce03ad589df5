// SPDX-License-Identifier: Apache-2.0
#include "gateway/session.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/check.h"
#include "base/log.h"
#include "gateway/event_note.h"
#include "http/field_syntax.h"

namespace dormouse::gateway {

namespace {

// Fields of a guest's request that never reach the API server: credentials and claims about who asks, what belongs
// to this connection alone, and what is written anew.
bool stays_here(std::string_view name) {
  static constexpr std::array<std::string_view, 15> kNames = {
      "authorization", "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "host", "expect",
      "content-length", "forwarded", "http2-settings", "x-real-ip", "via", "x-original-url"};
  return std::ranges::find(kNames, name) != kNames.end() || name.starts_with("x-remote-") ||
         name.starts_with("proxy-") || name.starts_with("x-forwarded-");
}

// A claim to be somebody else, which the API server judges by whose token it comes with.
bool is_impersonation(std::string_view name) { return name.starts_with("impersonate-"); }

// The token of the one "Authorization: Bearer TOKEN" field (RFC 6750, section 2.1); empty if it is anything else.
std::string bearer_token(const http::Headers& headers) {
  static constexpr std::string_view kScheme = "bearer ";
  std::string token;
  bool seen = false;
  for (const auto& [name, value] : headers) {
    if (name != "authorization") continue;
    if (std::exchange(seen, true)) return {};
    if (value.size() <= kScheme.size() || !http::equal_ignoring_case(std::string_view(value).substr(0, kScheme.size()), kScheme)) return {};
    token = value.substr(value.find_first_not_of(' ', kScheme.size()));
  }
  const auto fits = [](char c) {
    return http::is_digit(c) || http::is_alpha(c) || std::string_view("-._~+/=").contains(c);
  };
  return std::ranges::all_of(token, fits) ? token : std::string();
}

// Empties and frees: an idle connection holds no buffers.
void drop(std::string& text) { std::string().swap(text); }

// The answer of an API server that cannot do what was asked: clients know how to read it.
std::string status_body(int status, std::string_view reason, std::string_view message) {
  std::string body = R"({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":")";
  append_json_escaped(body, message);
  body += R"(","reason":")";
  append_json_escaped(body, reason);
  if (status == 503) body += fmt::format(R"(","details":{{"retryAfterSeconds":{}}},"code":503}})", Session::kRetryAfterSeconds);
  else body += fmt::format(R"(","code":{}}})", status);
  return body + "\n";
}

}  // namespace

Session::Session(Caller& caller, std::shared_ptr<wasi::Channel> channel, Owner& owner, http::Http1Server::Limits limits)
    : caller_(caller), channel_(std::move(channel)), owner_(owner), server_(limits) {
  CHECK(!caller_.own_tokens || caller_.identity == nullptr);
  ++caller_.counters.connections_opened;
  ++caller_.counters.connections_open;
  channel_->host_connected();
}

Session::~Session() {
  request_over();
  charge_head(0);
  caller_.account.release(framed_bytes_ + held_.size() - held_at_);
  --caller_.counters.connections_open;
  if (state_ != State::Closed) channel_->host_fail(wasi::Errno::ConnReset);
}

void Session::on_channel() { advance(); }

void Session::advance() {
  for (int steps = 0; state_ != State::Closed; ++steps) {
    if (steps == kStepsPerTurnMax) return owner_.on_session_wants_turn();
    if (channel_->guest_gone()) return close();
    flush();
    if (!take_step()) return;
  }
}

// Whether there may be another step to take at once.
bool Session::take_step() {
  switch (state_) {
    case State::Idle:
      // The next request waits until this answer is out: that is the bound on what a guest may pipeline.
      return output_.empty() && read_request();
    case State::Exchange:
      forward_body();
      return state_ != State::Exchange;
    case State::Closing:
      if (!output_.empty() || held_at_ < held_.size()) return false;
      channel_->host_end();
      state_ = State::Draining;
      return true;
    case State::Draining: {
      // A client that is still sending would otherwise never come to read the answer.
      std::array<std::byte, kInputBytesMax> rest;
      if (channel_->host_read(rest) > 0) return true;
      if (channel_->host_at_end()) close();
      return false;
    }
    case State::Token:
    case State::Closed: return false;
  }
  return false;
}

// --- From the guest ---

bool Session::fill() {
  if (input_at_ < input_.size()) return true;
  std::array<std::byte, kInputBytesMax> buffer;
  const std::size_t size = channel_->host_read(buffer);
  caller_.counters.bytes_from_guest += size;
  input_at_ = 0;
  if (size == 0) {
    drop(input_);
    return false;
  }
  input_.assign(reinterpret_cast<const char*>(buffer.data()), size);
  return true;
}

http::Http1Server::Step Session::step() {
  const http::Http1Server::Step step = server_.step(std::as_bytes(std::span(input_)).subspan(input_at_));
  input_at_ += step.consumed;
  return step;
}

void Session::drop_spent_input() {
  if (input_at_ < input_.size()) return;
  drop(input_);
  input_at_ = 0;
}

// Whether a request has begun or was refused.
bool Session::read_request() {
  while (true) {
    const auto event = step();
    switch (event.event) {
      case http::Http1Server::Event::NeedInput:
        if (!charge_head(server_.head_bytes())) return true;
        if (fill()) break;
        if (!channel_->host_at_end()) return false;
        state_ = State::Closing;
        return true;
      case http::Http1Server::Event::Head:
        if (charge_head(server_.head_bytes())) begin_request();
        return true;
      case http::Http1Server::Event::Refused: refuse(server_.refusal()); return true;
      case http::Http1Server::Event::Body:
      case http::Http1Server::Event::End: CHECK(false);
    }
  }
}

// Makes the account carry `bytes` for the request's head. False: the guest's memory is used up, and this connection is gone.
bool Session::charge_head(std::size_t bytes) {
  if (bytes > head_charged_bytes_ && !caller_.account.try_charge(bytes - head_charged_bytes_)) {
    channel_->host_fail(wasi::Errno::NoMem);
    close();
    return false;
  }
  if (bytes < head_charged_bytes_) caller_.account.release(head_charged_bytes_ - bytes);
  head_charged_bytes_ = bytes;
  return true;
}

void Session::begin_request() {
  http::Http1Server::Request incoming = server_.take_request();
  ++caller_.counters.requests;
  response_over_ = cut_ = retried_ = false;
  request_body_done_ = !incoming.has_body();
  if (request_body_done_) {
    CHECK(step().event == http::Http1Server::Event::End);
    drop_spent_input();
  }
  body_sent_bytes_ = 0;
  unsent_ = {};

  std::vector<std::string> named;  // By Connection: these fields are for this hop.
  bool upgrade = false;
  impersonates_ = false;
  for (const auto& [name, value] : incoming.headers) {
    impersonates_ = impersonates_ || is_impersonation(name);
    if (name == "connection") {
      http::every_list_element(value, [&](std::string_view element) {
        named.push_back(http::to_lower(element));
        return true;
      });
    } else if (name == "upgrade") {
      // An offer of HTTP/2 may be ignored; anything else would turn the connection into another protocol.
      http::every_list_element(value, [&](std::string_view element) {
        upgrade = upgrade || !http::equal_ignoring_case(element, "h2c");
        return true;
      });
    }
  }
  if (upgrade) {
    return refuse({501, "connection upgrades (exec, attach, port-forward) are not supported through Dormouse; all other requests are"});
  }
  if (has_parent_segment(incoming.target)) return refuse({400, "the request's path has a segment \"..\""});

  // Never dropped in silence: what was meant to be done as somebody of few rights would be done with the guest's own.
  if (impersonates_ && !caller_.own_tokens) {
    return refuse({501, "impersonation (Impersonate-User and its like) is not supported for guests of Dormouse"});
  }

  if (caller_.own_tokens) {
    own_token_ = bearer_token(incoming.headers);
    if (own_token_.empty()) {
      ++caller_.counters.refused;
      return answer_status(401, "Unauthorized", "Dormouse forwards a request only with a bearer token of its own (Authorization: Bearer TOKEN)");
    }
  }

  request_ = std::make_unique<kube::Request>();
  request_->method = std::move(incoming.method);
  request_->target = std::move(incoming.target);
  request_->has_body = incoming.has_body();
  for (auto& [name, value] : incoming.headers) {
    if (!is_impersonation(name) && (stays_here(name) || std::ranges::find(named, name) != named.end())) continue;
    request_->headers.emplace_back(std::move(name), std::move(value));
  }
  if (request_->has_body && incoming.content_length) request_->headers.emplace_back("content-length", fmt::to_string(*incoming.content_length));
  const RequestInfo info = parse_request_info(request_->method, request_->target);
  watch_ = info.verb == "watch";
  if (!caller_.own_tokens) {  // A guest; nobody asks why a native client woke.
    purpose_ = std::make_shared<const std::string>(info.text());
    channel_->set_purpose(watch_ ? wasi::WakeCause::Kind::Watch : wasi::WakeCause::Kind::Answer, purpose_);
  }
  if (caller_.offload != nullptr) seen_ = std::make_unique<PollOffload::Seen>(*caller_.offload, *request_, info);
  request_open_ = true;
  ++caller_.counters.requests_open;
  if (watch_) {
    ++caller_.counters.watches;
    ++caller_.counters.watches_open;
  }
  if (incoming.expects_continue) server_.append_continue(output_);
  ask_for_token();
}

void Session::ask_for_token() {
  state_ = State::Token;
  if (caller_.own_tokens) return start_exchange(std::exchange(own_token_, {}));
  if (caller_.identity == nullptr) return start_exchange(std::nullopt);
  asking_ = true;
  caller_.identity->with_token([this, alive = std::weak_ptr<bool>(alive_)](Result<std::string> token) {
    if (alive.expired() || state_ != State::Token) return;
    if (token) {
      start_exchange(std::move(*token));
    } else {
      ++caller_.counters.token_failures;
      answer_status(503, "ServiceUnavailable", fmt::format("Dormouse has no token for the ServiceAccount: {}", token.error().message));
    }
    if (!asking_) advance();  // Else whoever asks goes on by itself.
  });
  asking_ = false;
}

void Session::start_exchange(std::optional<std::string> token) {
  state_ = State::Exchange;
  CHECK(!caller_.own_tokens || (token && !token->empty()));  // Else the host's own credentials would go along.
  request_->bearer = std::move(token);
  // A copy stays for a second try, without a body's bytes: those are gone once they are sent.
  // What is read as somebody else comes from the API server, which alone knows that one's rights.
  if (caller_.front == nullptr || (impersonates_ && (request_->method == "GET" || request_->method == "HEAD"))) {
    exchange_ = caller_.upstream.start(*request_, *this);
  } else {
    exchange_ = caller_.front->start(*request_, caller_.own_tokens ? caller_.client_of(*request_->bearer) : caller_.client, *this);
  }
}

// Hands on as much of the request's body as the upstream takes.
void Session::forward_body() {
  while (state_ == State::Exchange && exchange_ != nullptr && !request_body_done_) {
    if (!unsent_.empty()) {
      const std::size_t taken = exchange_->write(unsent_);
      body_sent_bytes_ += taken;
      unsent_ = unsent_.subspan(taken);
      if (!unsent_.empty()) return;
    }
    const auto event = step();
    switch (event.event) {
      case http::Http1Server::Event::NeedInput:
        if (fill()) break;
        if (channel_->host_at_end()) return close();  // The guest has cut its own request short.
        return;
      case http::Http1Server::Event::Body: unsent_ = event.body; break;
      case http::Http1Server::Event::End:
        request_body_done_ = true;
        exchange_->finish_body();
        drop_spent_input();
        break;
      case http::Http1Server::Event::Refused: refuse(server_.refusal()); return;
      case http::Http1Server::Event::Head: CHECK(false); return;
    }
  }
}

void Session::refuse(const http::Http1Server::Refusal& refusal) {
  ++caller_.counters.refused;
  exchange_.reset();
  if (server_.response_started()) {  // An answer is half out already: the guest sees it cut.
    cut_ = response_over_ = true;
    state_ = State::Closing;
    return;
  }
  server_.close_after_response();
  std::string_view reason = "BadRequest";
  if (refusal.status == 501) reason = "NotImplemented";
  if (refusal.status == 413 || refusal.status == 414 || refusal.status == 431) reason = "RequestEntityTooLarge";
  answer_status(refusal.status, reason, refusal.reason);
}

// --- From the API server ---

void Session::on_response(int status, kube::Headers headers) {
  if (state_ != State::Exchange || server_.response_started() || status < 200) return;
  if (status == 401 && request_->bearer && caller_.identity != nullptr) {
    const bool another = caller_.identity->rejected(*request_->bearer);
    if (another && !retried_ && body_sent_bytes_ == 0 && request_->has_body != request_body_done_) {
      retried_ = true;
      ++caller_.counters.token_retries;
      exchange_.reset();
      ask_for_token();
      return advance();
    }
  }
  if (status == 403) {
    ++caller_.counters.forbidden;
    if (caller_.on_forbidden) caller_.on_forbidden(parse_request_info(request_->method, request_->target));
  }
  ++caller_.counters.responses[std::min(status / 100, 5)];
  if (seen_) seen_->head(status, headers);
  server_.start_response(output_, status, headers, http::content_length_of(headers));
  request_.reset();
  charge_head(0);
  advance();
}

void Session::on_data(std::span<const std::byte> bytes) {
  if (state_ != State::Exchange || bytes.empty()) return;
  if (!caller_.account.try_charge(bytes.size())) {
    // As for a process whose socket buffers cannot grow: this connection is lost, the guest goes on.
    channel_->host_fail(wasi::Errno::NoMem);
    return close();
  }
  note_event(bytes);
  if (held_at_ > held_.size() / 2) held_.erase(0, std::exchange(held_at_, 0));
  held_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  advance();
}

// If these are the bytes that wake the guest: says which object they are about.
void Session::note_event(std::span<const std::byte> bytes) {
  if (!watch_ || purpose_ == nullptr || held_at_ < held_.size() || !channel_->wakes_next()) return;
  const std::string note = event_note({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  channel_->set_purpose(wasi::WakeCause::Kind::Watch, note.empty() ? purpose_ : std::make_shared<const std::string>(*purpose_ + ": " + note));
}

void Session::on_end() {
  exchange_.reset();
  response_over_ = true;
  if (!server_.response_started()) return on_failure({ErrorCode::Unavailable, "the API server ended the stream without an answer"}, true);
  advance();
}

void Session::on_failure(const Error& error, bool /*before_response*/) {
  exchange_.reset();
  ++caller_.counters.upstream_failures;
  if (!server_.response_started()) {
    answer_status(503, "ServiceUnavailable", fmt::format("the API server cannot be reached: {}", error.message));
  } else {
    // A watch ends as when an API server goes down in order: the client opens it again. Anything else is not whole.
    response_over_ = true;
    cut_ = !(watch_ && server_.response_chunked());
  }
  advance();
}

void Session::on_writable() { advance(); }

// --- To the guest ---

void Session::flush() {
  while (true) {
    if (output_at_ < output_.size()) {
      const std::size_t taken = channel_->host_write(std::as_bytes(std::span(output_)).subspan(output_at_));
      output_at_ += taken;
      caller_.counters.bytes_to_guest += taken;
      if (output_at_ < output_.size()) return;
    }
    drop(output_);
    output_at_ = 0;
    if (framed_bytes_ > 0) {
      caller_.account.release(framed_bytes_);
      if (exchange_ != nullptr) exchange_->consumed(framed_bytes_);
      framed_bytes_ = 0;
    }
    if (held_at_ < held_.size()) {
      if (channel_->host_writable_bytes() == 0) return;
      const std::span<const std::byte> piece = std::as_bytes(std::span(held_)).subspan(held_at_).first(std::min(held_.size() - held_at_, kFrameBytesMax));
      if (seen_) seen_->body(piece);
      server_.response_body(output_, piece);
      framed_bytes_ = piece.size();
      held_at_ += piece.size();
      if (held_at_ == held_.size()) {
        drop(held_);
        held_at_ = 0;
      }
      continue;
    }
    if (!response_over_ || !server_.response_started()) return;
    finish_response();
  }
}

void Session::finish_response() {
  if (seen_ && !cut_) seen_->whole();
  request_over();
  response_over_ = false;
  if (cut_) {
    state_ = State::Closing;
    server_.close_after_response();
    std::string unsaid;
    server_.end_response(unsaid);
    return;
  }
  state_ = server_.end_response(output_) ? State::Idle : State::Closing;
}

void Session::answer_status(int status, std::string_view reason, std::string_view message) {
  const std::string body = status_body(status, reason, message);
  http::Headers headers = {{"content-type", "application/json"}, {"cache-control", "no-cache, private"}};
  if (status == 503) headers.emplace_back("retry-after", fmt::to_string(kRetryAfterSeconds));
  ++caller_.counters.responses[std::min(status / 100, 5)];
  server_.start_response(output_, status, headers, body.size());
  server_.response_body(output_, std::as_bytes(std::span(body)));
  request_over();
  state_ = server_.end_response(output_) ? State::Idle : State::Closing;
}

void Session::request_over() {
  if (seen_) std::exchange(seen_, nullptr)->spoiled();  // Unless it was whole.
  exchange_.reset();
  request_.reset();
  unsent_ = {};
  charge_head(0);
  if (!request_open_) return;
  request_open_ = false;
  --caller_.counters.requests_open;
  if (watch_) --caller_.counters.watches_open;
  watch_ = false;
}

void Session::close() {
  if (state_ == State::Closed) return;
  state_ = State::Closed;
  request_over();
  channel_->host_end();
  owner_.on_session_closed();
}

}  // namespace dormouse::gateway
