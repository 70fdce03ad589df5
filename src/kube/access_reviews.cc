// SPDX-License-Identifier: Apache-2.0
#include "kube/access_reviews.h"

#include <boost/json.hpp>
#include <fmt/format.h>

namespace dormouse::kube {

namespace {

namespace json = boost::json;

constexpr std::size_t kReviewBytesMax = 64 * 1024;
constexpr std::string_view kTarget = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

AccessReviews::Verdict verdict_of(const Result<Response>& response) {
  using Verdict = AccessReviews::Verdict;
  if (!response) return Verdict::Unknown;
  // Who may not even ask about himself (or is nobody) may not be helped to more.
  if (response->status == 401 || response->status == 403) return Verdict::Denied;
  if (response->status != 200 && response->status != 201) return Verdict::Unknown;
  boost::system::error_code problem;
  const json::value review = json::parse(response->body, problem);
  if (problem || !review.is_object()) return Verdict::Unknown;
  const json::value* const status = review.as_object().if_contains("status");
  if (status == nullptr || !status->is_object()) return Verdict::Unknown;
  const json::value* const allowed = status->as_object().if_contains("allowed");
  const json::value* const denied = status->as_object().if_contains("denied");
  if (denied != nullptr && denied->is_bool() && denied->as_bool()) return Verdict::Denied;
  if (allowed == nullptr || !allowed->is_bool()) return Verdict::Unknown;
  return allowed->as_bool() ? Verdict::Allowed : Verdict::Denied;
}

}  // namespace

std::string AccessAttributes::to_json() const {
  json::object attributes{{"verb", verb}, {"group", group}, {"version", version}, {"resource", resource}};
  if (!namespace_name.empty()) attributes["namespace"] = namespace_name;
  if (!name.empty()) attributes["name"] = name;
  if (!field_selector.empty()) attributes["fieldSelector"] = json::object{{"rawSelector", field_selector}};
  if (!label_selector.empty()) attributes["labelSelector"] = json::object{{"rawSelector", label_selector}};
  return json::serialize(json::object{{"apiVersion", "authorization.k8s.io/v1"}, {"kind", "SelfSubjectAccessReview"},
                                      {"spec", json::object{{"resourceAttributes", std::move(attributes)}}}});
}

std::string AccessReviews::packed(const Key& key) {
  const auto& [who, what] = key;
  std::string packed;
  // Each with its length, for a selector may hold anything.
  for (const std::string* part : {&who, &what.verb, &what.group, &what.version, &what.resource, &what.namespace_name, &what.name, &what.field_selector, &what.label_selector}) {
    packed += fmt::to_string(part->size());
    packed += ':';
    packed += *part;
  }
  packed.shrink_to_fit();
  return packed;
}

void AccessReviews::check(const std::string& who, Identity& identity, const AccessAttributes& what, Done done) {
  const Key key{who, what};
  if (const auto found = remembered_.find(packed(key)); found != remembered_.end()) {
    if (clock_.monotonic() < found->second.until) {
      ++counters_.remembered;
      return done(found->second.verdict);
    }
    remembered_.erase(found);
  }
  ask(key, identity, std::move(done));
}

void AccessReviews::check_again(const std::string& who, Identity& identity, const AccessAttributes& what, Done done) {
  const Key key{who, what};
  ask(key, identity, [this, key, done = std::move(done)](Verdict verdict) {
    if (verdict == Verdict::Unknown) {
      const auto found = remembered_.find(packed(key));
      if (found != remembered_.end() && clock_.monotonic() < found->second.until) verdict = found->second.verdict;
    }
    done(verdict);
  });
}

// The token comes first, for each asker alone: its identity may go while it waits. From then on the review is shared.
void AccessReviews::ask(const Key& key, Identity& identity, Done done) {
  identity.with_token([this, key, done = std::move(done), alive = std::weak_ptr<bool>(alive_)](Result<std::string> token) mutable {
    if (alive.expired()) return;
    if (!token) {
      ++counters_.failed;
      return done(Verdict::Unknown);
    }
    auto& askers = under_way_[key];
    askers.push_back(std::move(done));
    if (askers.size() == 1) send(key, std::move(*token));
  });
}

void AccessReviews::send(const Key& key, std::string token) {
  ++counters_.reviews;
  Request request{.method = "POST", .target = std::string(kTarget), .headers = {{"content-type", "application/json"}, {"accept", "application/json"}}, .bearer = std::move(token)};
  upstream_.call(std::move(request), key.second.to_json(), kReviewBytesMax, [this, key, alive = std::weak_ptr<bool>(alive_)](Result<Response> response) {
    if (!alive.expired()) answered(key, response);
  });
}

void AccessReviews::answered(const Key& key, const Result<Response>& response) {
  const Verdict verdict = verdict_of(response);
  const Nanoseconds now = clock_.monotonic();
  if (verdict == Verdict::Unknown) {
    ++counters_.failed;
  } else {
    ++(verdict == Verdict::Allowed ? counters_.allowed : counters_.denied);
    if (remembered_.size() >= options_.remembered_max) std::erase_if(remembered_, [now](const auto& entry) { return entry.second.until <= now; });
    if (remembered_.size() >= options_.remembered_max) remembered_.clear();  // Forgetting costs reviews, never rights.
    // 401 is about one token; others of the same subject may be good.
    if (response->status == 401) remembered_.erase(packed(key));
    else remembered_[packed(key)] = {verdict, now + (verdict == Verdict::Allowed ? options_.allowed_for : options_.denied_for)};
  }
  const auto found = under_way_.find(key);
  if (found == under_way_.end()) return;
  const std::vector<Done> askers = std::move(found->second);
  under_way_.erase(found);
  const std::weak_ptr<bool> alive = alive_;
  for (const Done& done : askers) {
    if (alive.expired()) return;
    done(verdict);
  }
}

}  // namespace dormouse::kube
