// SPDX-License-Identifier: Apache-2.0
#pragma once
// One connection of a guest to /net/kube: requests come in as strict HTTP/1.1 and go to the API server as the guest.
//
// Nothing is gathered: a request's body goes on as far as the upstream takes it, an answer as far as the guest
// takes it, and only bytes that the guest's channel holds are credited to the upstream stream. So a guest that
// does not read stops its own stream and nothing else.
//
//   Idle ──head──▶ Token ──▶ Exchange ──answer is out──▶ Idle
//     │              └───────── 401, once ◀──┘   └──▶ Closing ──answer is out──▶ Draining ──guest closes──▶ Closed
//     └── refused (400…) ──▶ Closing
//
// Ownership: owned by the guest's Network; borrows Caller's parts, which outlive it. Shares the channel with the guest.
// Threads: the loop's.
// Invariant: a request carries exactly one credential, the guest's token; nothing the guest wrote can be one. A native
//   client's request (`own_tokens`) carries the bearer token that it came with and nothing else that could be one; its
//   impersonation goes along for the API server to judge, and is never answered out of a cache. A guest's is refused.
// Invariant: bytes held for the guest are charged to its account and at most the upstream stream's window.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/memory_account.h"
#include "gateway/api_client.h"
#include "gateway/poll_offload.h"
#include "gateway/request_info.h"
#include "http/http1_server.h"
#include "kube/service_account_tokens.h"
#include "kube/upstream.h"
#include "wasi/channel.h"

namespace dormouse::gateway {

struct KubeCounters {
  std::uint64_t connections_opened = 0, connections_open = 0;
  std::uint64_t requests = 0, requests_open = 0, watches = 0, watches_open = 0;
  std::uint64_t refused = 0;            // Answered here: malformed, upgrades, parent segments.
  std::uint64_t responses[6] = {};      // By the hundreds of the status; [0] unused.
  std::uint64_t forbidden = 0;          // 403 from the API server.
  std::uint64_t token_failures = 0, token_retries = 0;
  std::uint64_t upstream_failures = 0;  // Before an answer: 503. Afterwards: the stream ended early.
  std::uint64_t bytes_from_guest = 0, bytes_to_guest = 0;
};

class Session final : public kube::ExchangeSink, Immovable {
 public:
  static constexpr std::size_t kInputBytesMax = 16 * 1024;  // Read from the channel at a time.
  static constexpr std::size_t kFrameBytesMax = 16 * 1024;  // Of an answer's body, framed at a time.
  static constexpr int kStepsPerTurnMax = 16;               // Requests answered here, or pieces thrown away, before others have a turn.
  static constexpr int kRetryAfterSeconds = 1;

  // Whom all connections of one guest act for.
  struct Caller {
    kube::Upstream& upstream;
    kube::Identity* identity;  // Null for a bare module that its user runs as himself (the host's credentials), or with own_tokens.
    MemoryAccount& account;
    KubeCounters& counters;
    std::function<void(const RequestInfo&)> on_forbidden;  // The API server has answered 403 to this.
    PollOffload* offload = nullptr;  // Null: nobody does the guest's looks in its stead.
    // Who answers, and for whom. Null: the API server, with nothing in between.
    ApiFront* front = nullptr;
    std::shared_ptr<ApiClient> client;
    // A native client: each request brings a bearer token of its own, and without one is answered 401. REQUIRES: no identity.
    bool own_tokens = false;
    // With own_tokens and a front: the client whose token this is.
    std::function<std::shared_ptr<ApiClient>(const std::string& token)> client_of;
  };
  // Called from within the session's own calls: the owner acts on it later, from the loop.
  class Owner {
   public:
    virtual void on_session_closed() = 0;      // Once: destroy the session.
    virtual void on_session_wants_turn() = 0;  // Call on_channel() again, after what others have to do.
   protected:
    ~Owner() = default;
  };
  Session(Caller& caller, std::shared_ptr<wasi::Channel> channel, Owner& owner, http::Http1Server::Limits limits);
  ~Session();

  // The guest wrote, made room, or closed.
  void on_channel();

 private:
  enum class State : std::uint8_t { Idle, Token, Exchange, Closing, Draining, Closed };

  void on_response(int status, kube::Headers headers) override;
  void on_data(std::span<const std::byte> bytes) override;
  void on_end() override;
  void on_failure(const Error& error, bool before_response) override;
  void on_writable() override;

  void advance();
  bool take_step();
  bool read_request();
  bool fill();
  void drop_spent_input();
  bool charge_head(std::size_t bytes);
  http::Http1Server::Step step();
  void begin_request();
  void ask_for_token();
  void start_exchange(std::optional<std::string> token);
  void forward_body();
  void flush();
  void finish_response();
  void note_event(std::span<const std::byte> bytes);
  void refuse(const http::Http1Server::Refusal& refusal);
  void answer_status(int status, std::string_view reason, std::string_view message);
  void request_over();
  void close();

  Caller& caller_;
  const std::shared_ptr<wasi::Channel> channel_;
  Owner& owner_;
  http::Http1Server server_;
  State state_ = State::Idle;

  std::string input_;                   // Read from the channel, not yet done with.
  std::size_t input_at_ = 0;
  std::span<const std::byte> unsent_;   // Of the request's body, within input_.
  std::unique_ptr<kube::Request> request_;  // Kept until the answer starts; charged to the account, as a head that is being read.
  std::string own_token_;               // With own_tokens: what this request came with.
  std::size_t head_charged_bytes_ = 0;
  std::unique_ptr<kube::Exchange> exchange_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // For callbacks that may come later than the session's end.
  std::size_t body_sent_bytes_ = 0;

  std::string output_;                  // Framed; the guest's channel has not taken it all.
  std::size_t output_at_ = 0;
  std::size_t framed_bytes_ = 0;        // Of the body, in output_: credited when the channel has taken output_.
  std::string held_;                    // The answer's body as it came; charged to the account, as framed_bytes_ is.
  std::size_t held_at_ = 0;

  std::shared_ptr<const std::string> purpose_;  // What the request under way is, for the record of why the guest woke.
  std::unique_ptr<PollOffload::Seen> seen_;  // Of the request under way, with an offload.

  bool request_open_ = false, watch_ = false, retried_ = false;
  bool impersonates_ = false;           // The request under way, with own_tokens.
  bool asking_ = false;                 // Inside with_token().
  bool request_body_done_ = false;
  bool response_over_ = false;          // The upstream has said all.
  bool cut_ = false;                    // It has not: the guest must see that the answer is not whole.
};

}  // namespace dormouse::gateway
