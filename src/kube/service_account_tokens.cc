// SPDX-License-Identifier: Apache-2.0
#include "kube/service_account_tokens.h"

#include <algorithm>
#include <boost/json.hpp>
#include <map>
#include <random>

#include "kube/api_status.h"
#include "kube/timestamp.h"

namespace dormouse::kube {
namespace json = boost::json;
namespace {

constexpr std::size_t kAnswerBytesMax = 64 * 1024;
constexpr std::size_t kTokenBytesMax = 16 * 1024;
// A token that ends sooner might end before the server has read the request that carries it: a request waits while a
// connection is made, and again if that one is lost. The least life of a token is ten minutes.
constexpr Nanoseconds kExpiryMargin = std::chrono::seconds(60);
constexpr int kExpiryMarginShare = 10;                    // But no more than a tenth of its life.
constexpr auto kRejectedAgeMin = std::chrono::seconds(5); // One younger than this was rejected for a reason that another would share.

class Tokens;

// One subject and its token. Shared by its identities.
struct Account {
  ServiceAccountTokens::Subject subject;
  std::string token;
  Nanoseconds issued_monotonic{}, issued_realtime{};  // Not later than it was: when it was asked for.
  Nanoseconds asked_monotonic{}, asked_realtime{};    // Of the request under way.
  Nanoseconds lifetime{}, rotate_after{};
  bool fetching = false;
  unsigned failures = 0;
  Nanoseconds retry_at{};
  Error error;                 // Of the last try, if failures > 0.
  std::string logged_problem;  // So that each is said once.
  struct Waiter {
    std::weak_ptr<const bool> alive;
    Identity::TokenDone done;
  };
  std::vector<Waiter> waiting;
};

class HeldIdentity final : public Identity {
 public:
  HeldIdentity(Tokens& tokens, std::shared_ptr<Account> account) : tokens_(tokens), account_(std::move(account)) {}
  ~HeldIdentity() override;
  void with_token(TokenDone done) override;
  bool rejected(std::string_view token) override;
  const std::string& namespace_name() const override { return account_->subject.namespace_name; }
  const std::string& service_account() const override { return account_->subject.service_account; }

 private:
  Tokens& tokens_;
  std::shared_ptr<Account> account_;
  const std::shared_ptr<const bool> alive_ = std::make_shared<const bool>(true);
};

class StaticIdentity final : public Identity {
 public:
  StaticIdentity(std::string namespace_name, std::string service_account, std::string token)
      : namespace_name_(std::move(namespace_name)), service_account_(std::move(service_account)), token_(std::move(token)) {}
  void with_token(TokenDone done) override { done(token_); }
  bool rejected(std::string_view) override { return false; }
  const std::string& namespace_name() const override { return namespace_name_; }
  const std::string& service_account() const override { return service_account_; }

 private:
  const std::string namespace_name_, service_account_, token_;
};

class Tokens final : public ServiceAccountTokens {
 public:
  Tokens(const Clock& clock, Log& log, Upstream& upstream, Options options)
      : clock_(clock), log_(log), upstream_(upstream), options_(options), random_(options.seed != 0 ? options.seed : std::random_device{}()) {}

  std::unique_ptr<Identity> hold(Subject subject) override {
    std::shared_ptr<Account> account = accounts_[subject].lock();
    if (account == nullptr) {
      account = std::make_shared<Account>();
      account->subject = subject;
      accounts_[subject] = account;
    }
    return std::make_unique<HeldIdentity>(*this, std::move(account));
  }
  Counters counters() const override {
    Counters counters = counters_;
    counters.subjects = accounts_.size();
    return counters;
  }

  void released(std::shared_ptr<Account> account) {
    if (account.use_count() == 1) accounts_.erase(account->subject);
  }
  void with_token(const std::shared_ptr<Account>& account, std::weak_ptr<const bool> alive, Identity::TokenDone done);
  bool rejected(Account& account, std::string_view token);

 private:
  // The larger of both clocks' opinions: a suspended machine stops the one, a set clock jumps the other.
  Nanoseconds age(const Account& account) const {
    return std::max(clock_.monotonic() - account.issued_monotonic, clock_.realtime() - account.issued_realtime);
  }
  bool lives(const Account& account) const { return !account.token.empty() && age(account) < account.lifetime; }
  void fetch(const std::shared_ptr<Account>& account);
  void fetched(Account& account, const Result<Response>& response);
  Result<void> accept(Account& account, const Response& response);
  Error explain(const Subject& subject, const Response& response) const;

  const Clock& clock_;
  Log& log_;
  Upstream& upstream_;
  const Options options_;
  std::minstd_rand random_;
  std::map<Subject, std::weak_ptr<Account>> accounts_;
  Counters counters_;
  const std::shared_ptr<const bool> alive_ = std::make_shared<const bool>(true);
};

HeldIdentity::~HeldIdentity() { tokens_.released(std::move(account_)); }
void HeldIdentity::with_token(TokenDone done) { tokens_.with_token(account_, alive_, std::move(done)); }
bool HeldIdentity::rejected(std::string_view token) { return tokens_.rejected(*account_, token); }

void Tokens::with_token(const std::shared_ptr<Account>& account, std::weak_ptr<const bool> alive, Identity::TokenDone done) {
  // Names come out of manifests and go into a path.
  const Subject& subject = account->subject;
  if (!is_plain_name(subject.namespace_name) || !is_plain_name(subject.service_account)) {
    return done(dormouse::fail(ErrorCode::InvalidArgument, "\"{}/{}\" is not the name of a ServiceAccount", subject.namespace_name, subject.service_account));
  }
  const bool valid = lives(*account) && age(*account) + std::min(kExpiryMargin, account->lifetime / kExpiryMarginShare) < account->lifetime;
  const bool due = !valid || age(*account) >= account->rotate_after;
  const bool backing_off = account->failures > 0 && clock_.monotonic() < account->retry_at;
  if (due && !backing_off && !account->fetching) {
    if (!valid) account->waiting.push_back({std::move(alive), std::move(done)});
    fetch(account);  // Answers later, never from within.
    if (valid) done(account->token);
    return;
  }
  if (valid) return done(account->token);
  if (account->fetching) return account->waiting.push_back({std::move(alive), std::move(done)});
  if (lives(*account)) return done(account->token);  // No other can be had now, and it may still do.
  done(dormouse::fail(account->error));
}

bool Tokens::rejected(Account& account, std::string_view token) {
  if (account.token != token) return true;  // There is another one already, or one is being asked for.
  if (age(account) < kRejectedAgeMin) return false;
  account.token.clear();
  return true;
}

void Tokens::fetch(const std::shared_ptr<Account>& account) {
  const Subject& subject = account->subject;
  account->fetching = true;
  account->asked_monotonic = clock_.monotonic();
  account->asked_realtime = clock_.realtime();
  ++counters_.requests;
  json::object spec{{"expirationSeconds", options_.lifetime_s}};
  if (!subject.pod_name.empty()) {
    spec["boundObjectRef"] = {{"kind", "Pod"}, {"apiVersion", "v1"}, {"name", subject.pod_name}, {"uid", subject.pod_uid}};
  }
  std::string body = json::serialize(json::object{{"apiVersion", "authentication.k8s.io/v1"}, {"kind", "TokenRequest"}, {"spec", std::move(spec)}});
  Request request;
  request.method = "POST";
  request.target = fmt::format("/api/v1/namespaces/{}/serviceaccounts/{}/token", subject.namespace_name, subject.service_account);
  request.headers = {{"content-type", "application/json"}, {"accept", "application/json"}};
  upstream_.call(std::move(request), std::move(body), kAnswerBytesMax,
                 [this, us = std::weak_ptr(alive_), weak = std::weak_ptr(account)](const Result<Response>& response) {
                   if (us.expired()) return;
                   if (const auto still = weak.lock()) fetched(*still, response);
                 });
}

void Tokens::fetched(Account& account, const Result<Response>& response) {
  account.fetching = false;
  const std::string who = account.subject.namespace_name + "/" + account.subject.service_account;
  const Result<void> accepted = response ? accept(account, *response) : fail(Error{response.error()}.within("token of ServiceAccount " + who));
  if (accepted) {
    account.failures = 0;
    account.logged_problem.clear();
  } else {
    ++counters_.failures;
    account.error = accepted.error();
    // A server that cannot be reached is Upstream's to back off from; a server that says no is not asked at once again.
    const double least = response ? static_cast<double>(options_.backoff_min.count()) : 0;
    const double doubled = std::min(least * static_cast<double>(1ULL << std::min(account.failures++, 20U)), static_cast<double>(options_.backoff_max.count()));
    account.retry_at = clock_.monotonic() + Nanoseconds(static_cast<std::int64_t>(doubled * std::uniform_real_distribution<double>(0.75, 1.0)(random_)));
    // An outage is one problem, however its messages (which count down to the next try) differ.
    const std::string problem = response ? account.error.message : "unreachable";
    if (account.logged_problem != problem) {
      account.logged_problem = problem;
      log_.warning("no token for a ServiceAccount", {{"service_account", who}, {"pod", account.subject.pod_name}, {"problem", account.error.message}});
    }
  }
  const auto waiting = std::exchange(account.waiting, {});
  const Result<std::string> outcome = accepted || lives(account) ? Result<std::string>(account.token) : Result<std::string>(dormouse::fail(account.error));
  for (const auto& waiter : waiting) {
    if (!waiter.alive.expired()) waiter.done(outcome);
  }
}

Result<void> Tokens::accept(Account& account, const Response& response) {
  if (response.status != 201 && response.status != 200) return fail(explain(account.subject, response));
  const auto broken = [&](std::string_view what) {
    return dormouse::fail(ErrorCode::Corrupt, "the API server's answer to a TokenRequest for {}/{} {}", account.subject.namespace_name, account.subject.service_account, what);
  };
  boost::system::error_code error;
  const json::value parsed = json::parse(response.body, error);
  if (error || !parsed.is_object()) return broken("is not JSON");
  const json::value* const status = parsed.get_object().if_contains("status");
  if (status == nullptr || !status->is_object()) return broken("has no status");
  const json::value* const token = status->get_object().if_contains("token");
  const json::value* const expires = status->get_object().if_contains("expirationTimestamp");
  if (token == nullptr || !token->is_string() || token->get_string().empty() || token->get_string().size() > kTokenBytesMax) return broken("has no token");
  if (!std::ranges::all_of(token->get_string(), [](char c) { return c > 0x20 && c < 0x7f; })) return broken("has a token with characters that no token has");
  const auto until = expires != nullptr && expires->is_string() ? parse_timestamp(expires->get_string()) : std::nullopt;
  if (!until) return broken("does not say when the token expires");

  // Its life by the server's clock, as ours may differ: from when it was made, which was after we asked.
  Nanoseconds lifetime = *until - account.asked_realtime;
  if (const json::value* const metadata = parsed.get_object().if_contains("metadata"); metadata != nullptr && metadata->is_object()) {
    const json::value* const created = metadata->get_object().if_contains("creationTimestamp");
    const auto made = created != nullptr && created->is_string() ? parse_timestamp(created->get_string()) : std::nullopt;
    if (made && *made < *until) lifetime = *until - *made;
  }
  if (lifetime <= Nanoseconds(0)) return broken("gives a token that has expired");
  account.token = std::string(token->get_string());
  account.issued_monotonic = account.asked_monotonic;
  account.issued_realtime = account.asked_realtime;
  account.lifetime = lifetime;
  const double share = options_.rotate_at + std::uniform_real_distribution<double>(-options_.jitter, options_.jitter)(random_);
  account.rotate_after = Nanoseconds(static_cast<std::int64_t>(static_cast<double>(lifetime.count()) * share));
  return {};
}

Error Tokens::explain(const Subject& subject, const Response& response) const {
  const ApiStatus status = parse_api_status(response.status, response.body);
  const std::string who = subject.namespace_name + "/" + subject.service_account;
  std::string text;
  if (response.status == 404 && status.kind == "pods") {
    text = fmt::format("the pod {}/{} that the token would be bound to does not exist", subject.namespace_name, subject.pod_name);
  } else if (response.status == 404) {
    text = fmt::format("ServiceAccount {} does not exist; create it, or name another one in the pod's serviceAccountName", who);
  } else if (response.status == 403) {
    text = fmt::format("Dormouse may not get a token for ServiceAccount {}: its user needs the verb \"create\" on \"serviceaccounts/token\" in namespace {} ({})", who,
                       subject.namespace_name, status.message);
  } else if (response.status == 401) {
    text = fmt::format("the API server does not accept Dormouse's own credentials, so there is no token for ServiceAccount {} ({})", who, status.message);
  } else {
    text = fmt::format("no token for ServiceAccount {}: {}", who, status.message);
  }
  return Error{code_of_http_status(response.status), std::move(text)};
}

}  // namespace

std::unique_ptr<Identity> make_static_identity(std::string namespace_name, std::string service_account, std::string token) {
  return std::make_unique<StaticIdentity>(std::move(namespace_name), std::move(service_account), std::move(token));
}

std::unique_ptr<ServiceAccountTokens> ServiceAccountTokens::create(const Clock& clock, Log& log, Upstream& upstream, Options options) {
  return std::make_unique<Tokens>(clock, log, upstream, options);
}

}  // namespace dormouse::kube
