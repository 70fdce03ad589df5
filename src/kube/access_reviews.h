// SPDX-License-Identifier: Apache-2.0
#pragma once
// Whether somebody may do something, asked of the API server as that somebody (SelfSubjectAccessReview) and remembered
// for as long as the API server itself remembers its webhook's answers (5 minutes allowed, 30 seconds denied).
//
//   check(): remembered ──▶ answer from within the call
//            else one review a (who, what) is under way, whoever and however many ask ──▶ answer later
//
// Fail closed: an answer that is not a plain "allowed" is Denied or Unknown, never Allowed.
//
// Ownership: owned by the host; borrows Clock and Upstream. Callbacks are dropped when it goes.
// Threads: the loop's.

#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/types.h"
#include "kube/service_account_tokens.h"
#include "kube/upstream.h"

namespace dormouse::kube {

// ResourceAttributes of authorization.k8s.io/v1; selectors as KEP-4601 has them (an API server that does not know them
// answers for the unselected request, which asks for more: that is safe).
struct AccessAttributes {
  std::string verb, group, version, resource, namespace_name, name;
  std::string field_selector, label_selector;
  auto operator<=>(const AccessAttributes&) const = default;
  std::string to_json() const;  // The body of the review.
};

class AccessReviews final : Immovable {
 public:
  enum class Verdict : std::uint8_t {
    Allowed,
    Denied,   // By the API server; or it takes the credentials for nobody's.
    Unknown,  // It could not be asked.
  };
  using Done = std::function<void(Verdict)>;
  struct Options {
    Nanoseconds allowed_for = std::chrono::minutes(5);   // kube-apiserver's --authorization-webhook-cache-authorized-ttl,
    Nanoseconds denied_for = std::chrono::seconds(30);   // and --authorization-webhook-cache-unauthorized-ttl.
    std::size_t remembered_max = 20'000;
  };
  AccessReviews(const Clock& clock, Upstream& upstream, Options options) : clock_(clock), upstream_(upstream), options_(options) {}

  // `who` names the subject, so that all its bearers share answers; `identity` has its token. `done` is called once, from within
  // if the answer is remembered; not at all if `identity` goes before it has given a token.
  void check(const std::string& who, Identity& identity, const AccessAttributes& what, Done done);
  // Asks anew whatever is remembered. If the API server cannot be asked, an earlier Allowed holds for the rest of its time.
  void check_again(const std::string& who, Identity& identity, const AccessAttributes& what, Done done);
  // A remembered answer was wrong.
  void forget(const std::string& who, const AccessAttributes& what) { remembered_.erase(packed({who, what})); }

  struct Counters { std::uint64_t reviews = 0, allowed = 0, denied = 0, failed = 0, remembered = 0; };
  const Counters& counters() const { return counters_; }

 private:
  using Key = std::pair<std::string, AccessAttributes>;
  // The key as one string: half its size, and there are thousands.
  static std::string packed(const Key& key);
  struct Answer {
    Verdict verdict = Verdict::Unknown;
    Nanoseconds until{};
  };
  void ask(const Key& key, Identity& identity, Done done);
  void send(const Key& key, std::string token);
  void answered(const Key& key, const Result<Response>& response);

  const Clock& clock_;
  Upstream& upstream_;
  const Options options_;
  std::map<std::string, Answer> remembered_;  // By packed key.
  std::map<Key, std::vector<Done>> under_way_;
  Counters counters_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace dormouse::kube
