// SPDX-License-Identifier: Apache-2.0
#include "kube/service_account_tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "kube/test_support.h"
#include "kube/timestamp.h"

namespace dormouse::kube {
namespace {
using testing::HasSubstr;
using namespace std::chrono_literals;

class Tokens : public testing::Test {
 protected:
  Tokens() { remake({}); }
  void remake(ServiceAccountTokens::Options options) {
    options.seed = 1;
    tokens = ServiceAccountTokens::create(clock, log, upstream, options);
  }
  // A token that lives for an hour, by a server whose clock differs.
  static std::string granted(const std::string& token, const std::string& made = "2030-01-01T00:00:00Z", const std::string& expires = "2030-01-01T01:00:00Z") {
    return fmt::format(R"({{"metadata":{{"creationTimestamp":"{}"}},"status":{{"token":"{}","expirationTimestamp":"{}"}}}})", made, token, expires);
  }
  std::string ask(Identity& identity) {
    auto answer = std::make_shared<std::string>("pending");
    answers.push_back(answer);
    identity.with_token([answer](const Result<std::string>& got) { *answer = got ? *got : got.error().message; });
    return *answer;
  }
  boost::asio::io_context loop;
  ManualClock clock;
  Log log{Log::Options{.fd = -1}, clock};
  ScriptedUpstream upstream;
  std::vector<std::shared_ptr<std::string>> answers;
  std::unique_ptr<ServiceAccountTokens> tokens;
};

TEST_F(Tokens, AsksForATokenBoundToThePodAndKeepsIt) {
  const auto identity = tokens->hold({"shop", "greeter", "greeter-0", "uid-1"});
  EXPECT_EQ(ask(*identity), "pending");
  ASSERT_EQ(upstream.calls.size(), 1U);
  EXPECT_EQ(upstream.calls[0].request.method, "POST");
  EXPECT_EQ(upstream.calls[0].request.target, "/api/v1/namespaces/shop/serviceaccounts/greeter/token");
  EXPECT_FALSE(upstream.calls[0].request.bearer.has_value());
  EXPECT_EQ(boost::json::parse(upstream.calls[0].body), boost::json::parse(R"({"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest",
    "spec":{"expirationSeconds":3600,"boundObjectRef":{"kind":"Pod","apiVersion":"v1","name":"greeter-0","uid":"uid-1"}}})"));
  upstream.answer(201, granted("one"));
  EXPECT_EQ(*answers[0], "one");
  EXPECT_EQ(ask(*identity), "one");
  EXPECT_EQ(upstream.calls.size(), 0U);
}

TEST_F(Tokens, OneRequestServesAllWhoWait) {
  const auto first = tokens->hold({"shop", "greeter", "", ""}), second = tokens->hold({"shop", "greeter", "", ""});
  ask(*first);
  ask(*second);
  ask(*second);
  EXPECT_EQ(upstream.calls.size(), 1U);
  upstream.answer(201, granted("one"));
  for (const auto& answer : answers) EXPECT_EQ(*answer, "one");
}

TEST_F(Tokens, RotatesAtFourFifthsOfItsLifeWhileTheOldOneServes) {
  const auto identity = tokens->hold({"shop", "greeter", "", ""});
  ask(*identity);
  upstream.answer(201, granted("one"));
  clock.advance(44min);  // 75 % is 45 minutes.
  EXPECT_EQ(ask(*identity), "one");
  EXPECT_EQ(upstream.calls.size(), 0U);
  clock.advance(8min);   // 85 % is 51 minutes.
  EXPECT_EQ(ask(*identity), "one");
  EXPECT_EQ(ask(*identity), "one");
  EXPECT_EQ(upstream.calls.size(), 1U);
  upstream.answer(201, granted("two"));
  EXPECT_EQ(ask(*identity), "two");
}

TEST_F(Tokens, JitterSpreadsTheRotations) {
  std::vector<std::unique_ptr<Identity>> identities;
  for (int i = 0; i < 100; ++i) {
    identities.push_back(tokens->hold({"shop", fmt::format("sa-{}", i), "", ""}));
    ask(*identities.back());
    upstream.answer(201, granted("one"));
  }
  clock.advance(48min);
  for (const auto& identity : identities) ask(*identity);
  EXPECT_GT(upstream.calls.size(), 20U);
  EXPECT_LT(upstream.calls.size(), 80U);
}

TEST_F(Tokens, AnExpiredTokenIsNeverHandedOut) {
  const auto identity = tokens->hold({"shop", "greeter", "", ""});
  ask(*identity);
  upstream.answer(201, granted("one"));
  clock.advance(59min + 56s);
  EXPECT_EQ(ask(*identity), "pending");
  upstream.answer(201, granted("two"));
  EXPECT_EQ(*answers[1], "two");
  clock.advance(60min);
  EXPECT_EQ(ask(*identity), "pending");
  upstream.answer(500, "{}");
  EXPECT_THAT(*answers[2], HasSubstr("the API server answered 500"));
  EXPECT_THAT(ask(*identity), HasSubstr("the API server answered 500"));
}

TEST_F(Tokens, NobodyGetsATokenInItsLastMinuteIfThereIsANext) {
  const auto identity = tokens->hold({"shop", "greeter", "", ""});
  ask(*identity);
  upstream.answer(201, granted("one"));
  clock.advance(59min);
  EXPECT_EQ(ask(*identity), "pending");
  EXPECT_EQ(ask(*identity), "pending") << "the second waits as the first does";
  ASSERT_EQ(upstream.calls.size(), 1U);
  upstream.answer(201, granted("two"));
  EXPECT_EQ(*answers[1], "two");
  EXPECT_EQ(*answers[2], "two");
}

TEST_F(Tokens, ATokenInItsLastMinuteServesIfThereIsNoNext) {
  const auto identity = tokens->hold({"shop", "greeter", "", ""});
  ask(*identity);
  upstream.answer(201, granted("one"));
  clock.advance(59min + 30s);
  EXPECT_EQ(ask(*identity), "pending");
  upstream.answer(500, "{}");
  EXPECT_EQ(*answers[1], "one");
  EXPECT_EQ(ask(*identity), "one");  // While we back off.
}

TEST_F(Tokens, ATokensLifeBeginsWhenItWasAskedForHoweverLateItComes) {
  const auto identity = tokens->hold({"shop", "greeter", "", ""});
  ask(*identity);
  clock.advance(50s);  // The server is slow to answer.
  upstream.answer(201, granted("one"));
  clock.advance(58min + 30s);  // 40 s are left, though the answer is not an hour old by 90.
  EXPECT_EQ(ask(*identity), "pending");
}

TEST_F(Tokens, AShortLifeIsUsedForNineTenths) {
  remake({.rotate_at = 0.99, .jitter = 0});
  const auto identity = tokens->hold({"shop", "greeter", "", ""});
  ask(*identity);
  upstream.answer(201, granted("one", "2030-01-01T00:00:00Z", "2030-01-01T00:00:20Z"));
  clock.advance(17s);
  EXPECT_EQ(ask(*identity), "one");
  clock.advance(2s);
  EXPECT_EQ(ask(*identity), "pending");
}

TEST_F(Tokens, ATokenThatWasRejectedIsReplacedOnce) {
  const auto identity = tokens->hold({"shop", "greeter", "", ""});
  ask(*identity);
  upstream.answer(201, granted("one"));
  EXPECT_FALSE(identity->rejected("one"));  // Seconds old: another one would fare no better.
  clock.advance(1min);
  EXPECT_TRUE(identity->rejected("one"));
  ask(*identity);
  EXPECT_EQ(upstream.calls.size(), 1U);
  upstream.answer(201, granted("two"));
  EXPECT_EQ(*answers[1], "two");
  EXPECT_TRUE(identity->rejected("one"));   // A late 401 does not throw away the new one.
  EXPECT_EQ(ask(*identity), "two");
}

TEST_F(Tokens, ExplainsWhyThereIsNone) {
  const auto identity = tokens->hold({"shop", "greeter", "greeter-0", "u"});
  const auto error_of = [&](int status, const std::string& body) {
    clock.advance(10min);
    EXPECT_EQ(ask(*identity), "pending");
    upstream.answer(status, body);
    return *answers.back();
  };
  EXPECT_THAT(error_of(404, R"({"message":"serviceaccounts \"greeter\" not found","details":{"kind":"serviceaccounts"}})"), HasSubstr("ServiceAccount shop/greeter does not exist"));
  EXPECT_THAT(error_of(404, R"({"message":"pods \"greeter-0\" not found","details":{"kind":"pods"}})"), HasSubstr("the pod shop/greeter-0 that the token would be bound to does not exist"));
  EXPECT_THAT(error_of(403, R"({"message":"forbidden: User \"u\""})"), HasSubstr("the verb \"create\" on \"serviceaccounts/token\" in namespace shop (forbidden: User \"u\")"));
  EXPECT_THAT(error_of(401, "{}"), HasSubstr("Dormouse's own credentials"));
  EXPECT_THAT(error_of(500, "x"), HasSubstr("the API server answered 500"));
  EXPECT_THAT(error_of(201, "x"), HasSubstr("is not JSON"));
  EXPECT_THAT(error_of(201, R"({"status":{"token":"a b","expirationTimestamp":"2030-01-01T01:00:00Z"}})"), HasSubstr("characters that no token has"));
  EXPECT_THAT(error_of(201, R"({"status":{"token":"a"}})"), HasSubstr("when the token expires"));
  EXPECT_THAT(error_of(201, granted("a", "2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z")), HasSubstr("has expired"));
}

TEST_F(Tokens, ARefusalIsNotAskedAgainBeforeItsBackOff) {
  const auto identity = tokens->hold({"shop", "greeter", "", ""});
  ask(*identity);
  upstream.answer(404, "{}");
  EXPECT_THAT(ask(*identity), HasSubstr("does not exist"));
  EXPECT_EQ(upstream.calls.size(), 0U);
  clock.advance(1s);
  EXPECT_EQ(ask(*identity), "pending");
  upstream.answer(404, "{}");
  clock.advance(1s);  // It has doubled.
  EXPECT_THAT(ask(*identity), HasSubstr("does not exist"));
  clock.advance(1s);
  EXPECT_EQ(ask(*identity), "pending");
  upstream.answer(201, granted("one"));
  EXPECT_EQ(ask(*identity), "one");
}

TEST_F(Tokens, AnUnreachableServerIsAskedAgainWithTheNextUse) {
  const auto identity = tokens->hold({"shop", "greeter", "", ""});
  ask(*identity);
  upstream.answer(Error{ErrorCode::Unavailable, "refused"});
  EXPECT_THAT(*answers[0], HasSubstr("token of ServiceAccount shop/greeter: refused"));
  EXPECT_EQ(ask(*identity), "pending");
}

TEST_F(Tokens, AFailedRotationLeavesTheOldToken) {
  const auto identity = tokens->hold({"shop", "greeter", "", ""});
  ask(*identity);
  upstream.answer(201, granted("one"));
  clock.advance(52min);
  EXPECT_EQ(ask(*identity), "one");
  upstream.answer(500, "{}");
  EXPECT_EQ(ask(*identity), "one");
}

TEST_F(Tokens, AnIdentityThatHasGoneHearsNothingAndItsTokenIsForgotten) {
  auto identity = tokens->hold({"shop", "greeter", "", ""});
  ask(*identity);
  EXPECT_EQ(tokens->counters().subjects, 1U);
  identity.reset();
  EXPECT_EQ(tokens->counters().subjects, 0U);
  upstream.answer(201, granted("one"));
  EXPECT_EQ(*answers[0], "pending");
}

TEST_F(Tokens, NamesThatWouldLeaveTheirPathAreRefused) {
  EXPECT_THAT(ask(*tokens->hold({"shop", "x/../../../secrets", "", ""})), HasSubstr("is not the name"));
  EXPECT_THAT(ask(*tokens->hold({"shop?x", "greeter", "", ""})), HasSubstr("is not the name"));
  EXPECT_EQ(upstream.calls.size(), 0U);
}

TEST_F(Tokens, MayGoWhileARequestIsUnderWay) {
  auto identity = tokens->hold({"shop", "greeter", "", ""});
  ask(*identity);
  identity.reset();
  tokens.reset();
  upstream.answer(201, granted("one"));
}

TEST(Timestamp, ReadsWhatKubernetesWrites) {
  EXPECT_EQ(parse_timestamp("1970-01-01T00:00:00Z"), 0ns);
  EXPECT_EQ(parse_timestamp("2027-01-15T08:00:00Z"), 1'800'000'000s);
  EXPECT_EQ(parse_timestamp("2027-01-15T09:30:00.250+01:30"), 1'800'000'000s + 250ms);
  for (const char* text : {"", "2027", "2027-13-01T00:00:00Z", "2027-02-30T00:00:00Z", "2027-01-15T08:00:00", "2027-01-15T08:00:00Zx", "2027-01-15T25:00:00Z",
                           "9999-01-01T00:00:00Z", "2027-01-15T08:00:00.Z", "-027-01-15T08:00:00Z"}) {
    EXPECT_EQ(parse_timestamp(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace dormouse::kube
