// SPDX-License-Identifier: Apache-2.0
#include "kube/access_reviews.h"

#include <gtest/gtest.h>

#include <optional>

#include "kube/test_support.h"

namespace dormouse::kube {
namespace {

using Verdict = AccessReviews::Verdict;

Response review(std::string_view status) { return {201, {}, R"({"kind":"SelfSubjectAccessReview","status":)" + std::string(status) + "}"}; }

struct AccessReviewsTest : testing::Test {
  ManualClock clock;
  ScriptedUpstream upstream;
  AccessReviews reviews{clock, upstream, {}};
  std::unique_ptr<Identity> identity = make_static_identity("ns", "sa", "token");
  AccessAttributes what{.verb = "watch", .group = "apps", .version = "v1", .resource = "deployments"};
  std::vector<Verdict> verdicts;

  void check() { reviews.check("ns/sa", *identity, what, [this](Verdict v) { verdicts.push_back(v); }); }
  void check_again() { reviews.check_again("ns/sa", *identity, what, [this](Verdict v) { verdicts.push_back(v); }); }
  void answer(const Result<Response>& response) { response ? upstream.answer(response->status, response->body) : upstream.answer(response.error()); }
};

TEST_F(AccessReviewsTest, AsksAsTheSubjectAndForAllThatTheRequestNames) {
  what.namespace_name = "team-a";
  what.name = "web";
  what.label_selector = "app=web";
  what.field_selector = "metadata.name=web";
  check();
  ASSERT_EQ(upstream.calls.size(), 1U);
  EXPECT_EQ(upstream.calls[0].request.bearer, "token");
  EXPECT_EQ(upstream.calls[0].request.method, "POST");
  EXPECT_EQ(upstream.calls[0].request.target, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews");
  EXPECT_EQ(upstream.calls[0].body,
            R"({"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectAccessReview","spec":{"resourceAttributes":{"verb":"watch","group":"apps","version":"v1",)"
            R"("resource":"deployments","namespace":"team-a","name":"web","fieldSelector":{"rawSelector":"metadata.name=web"},"labelSelector":{"rawSelector":"app=web"}}}})");
}

TEST_F(AccessReviewsTest, OneReviewServesAllWhoAskMeanwhileAndFiveMinutesAfter) {
  check();
  check();
  ASSERT_EQ(upstream.calls.size(), 1U);
  answer(review(R"({"allowed":true})"));
  clock.advance(std::chrono::seconds(299));
  check();
  EXPECT_EQ(verdicts, std::vector(3, Verdict::Allowed));
  clock.advance(std::chrono::seconds(2));
  check();
  EXPECT_EQ(verdicts.size(), 3U);
  EXPECT_EQ(upstream.calls.size(), 1U);
}

TEST_F(AccessReviewsTest, ADenialIsForgottenAfterThirtySeconds) {
  check();
  answer(review(R"({"allowed":false})"));
  check();
  EXPECT_EQ(verdicts, std::vector(2, Verdict::Denied));
  clock.advance(std::chrono::seconds(31));
  check();
  EXPECT_EQ(upstream.calls.size(), 1U);
}

TEST_F(AccessReviewsTest, NothingButAPlainYesIsAllowed) {
  const std::vector<std::pair<Result<Response>, Verdict>> cases = {
      {review(R"({"allowed":true,"denied":true})"), Verdict::Denied}, {review(R"({"allowed":"true"})"), Verdict::Unknown}, {review("{}"), Verdict::Unknown},
      {review("null"), Verdict::Unknown}, {Response{201, {}, "[]"}, Verdict::Unknown}, {Response{201, {}, ""}, Verdict::Unknown},
      {Response{500, {}, R"({"status":{"allowed":true}})"}, Verdict::Unknown}, {Response{403, {}, ""}, Verdict::Denied}, {Response{401, {}, ""}, Verdict::Denied},
      {Result<Response>(fail(ErrorCode::Unavailable, "down")), Verdict::Unknown}};
  for (const auto& [response, expected] : cases) {
    verdicts.clear();
    reviews.forget("ns/sa", what);
    check();
    answer(response);
    EXPECT_EQ(verdicts, std::vector{expected});
  }
}

TEST_F(AccessReviewsTest, SubjectsAndAttributesDoNotShareAnswers) {
  check();
  answer(review(R"({"allowed":true})"));
  reviews.check("ns/other", *identity, what, [](Verdict) {});
  EXPECT_EQ(upstream.calls.size(), 1U);
  what.namespace_name = "x";
  check();
  EXPECT_EQ(upstream.calls.size(), 2U);
}

TEST_F(AccessReviewsTest, AskedAgainARevokedRightIsDeniedAtOnce) {
  check();
  answer(review(R"({"allowed":true})"));
  check_again();
  answer(review(R"({"allowed":false})"));
  check();
  EXPECT_EQ(verdicts, (std::vector{Verdict::Allowed, Verdict::Denied, Verdict::Denied}));
}

TEST_F(AccessReviewsTest, WhenNobodyCanBeAskedAnEarlierYesHoldsForTheRestOfItsTime) {
  check();
  answer(review(R"({"allowed":true})"));
  clock.advance(std::chrono::seconds(200));
  check_again();
  answer(fail(ErrorCode::Unavailable, "down"));
  EXPECT_EQ(verdicts.back(), Verdict::Allowed);
  clock.advance(std::chrono::seconds(101));
  check_again();
  answer(fail(ErrorCode::Unavailable, "down"));
  EXPECT_EQ(verdicts.back(), Verdict::Unknown);
}

TEST_F(AccessReviewsTest, OneBadTokenIsNotHeldAgainstTheSubject) {
  check();
  answer(Response{401, {}, ""});
  EXPECT_EQ(verdicts, std::vector{Verdict::Denied});
  check();
  EXPECT_EQ(upstream.calls.size(), 1U);
}

}  // namespace
}  // namespace dormouse::kube
