// SPDX-License-Identifier: Apache-2.0
#pragma once
// Tokens of ServiceAccounts for guests, asked for by the host (TokenRequest) and kept fresh.
//
// One token for each (namespace, ServiceAccount, pod), whoever and however many ask. It is rotated at about 80 %
// of its life, at the first use after that: a token that nobody uses costs neither a timer nor a request.
//
// Nobody gets a token that is about to end: in its last minute, who wants one waits for the next (and gets the old one
// if there is no next), so that a request under way is not refused for its age.
//
//   Empty --use--> Fetching --> Fresh --80 % of life--> Due --use--> Refreshing (the old one still serves) --> Fresh
//                    `--error--> Failed (answers the error until the back-off is over) --use--> Fetching
//
// Ownership: owned by the host; every Identity dies before it. Borrows Upstream, Clock and Log.
// Threads:   the loop's.
// Invariant: at most one TokenRequest a subject is under way; a token is forgotten with its last Identity.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/log.h"
#include "base/result.h"
#include "kube/upstream.h"

namespace dormouse::kube {

// Whom requests are made as. A loan to whoever makes the requests; it goes with the guest.
class Identity {
 public:
  using TokenDone = std::function<void(Result<std::string>)>;
  virtual ~Identity() = default;  // Pending callbacks are dropped, not called.

  // Hands over a token: from within this call if one is there, else when it has come. The error says in a sentence
  // why there is none (the ServiceAccount does not exist; the host may not create tokens for it).
  virtual void with_token(TokenDone done) = 0;

  // The server answered 401 to `token`: the next with_token() asks for another, unless that has happened already.
  // True if another try makes sense; callers try once more, no oftener.
  virtual bool rejected(std::string_view token) = 0;

  virtual const std::string& namespace_name() const = 0;
  virtual const std::string& service_account() const = 0;
};

// An identity that always has this token: for tests and for `dormouse run` of a bare module as the current user.
std::unique_ptr<Identity> make_static_identity(std::string namespace_name, std::string service_account, std::string token);

class ServiceAccountTokens {
 public:
  struct Subject {
    std::string namespace_name;
    std::string service_account;
    // Both or neither: the token is bound to this pod and dies with it.
    std::string pod_name, pod_uid;
    auto operator<=>(const Subject&) const = default;
  };
  struct Options {
    std::uint32_t lifetime_s = 3600;         // Asked for; the server may give another. Its least is 600.
    double rotate_at = 0.8, jitter = 0.05;   // Of a token's life; jitter is added to or taken from that share.
    Nanoseconds backoff_min = std::chrono::seconds(1), backoff_max = std::chrono::seconds(60);
    std::uint64_t seed = 0;                  // Of the jitter; 0: random.
  };
  static std::unique_ptr<ServiceAccountTokens> create(const Clock& clock, Log& log, Upstream& upstream, Options options);
  virtual ~ServiceAccountTokens() = default;

  // Someone who acts as `subject`. No request is made until a token is asked for.
  virtual std::unique_ptr<Identity> hold(Subject subject) = 0;

  struct Counters { std::uint64_t subjects = 0, requests = 0, failures = 0; };
  virtual Counters counters() const = 0;
};

}  // namespace dormouse::kube
