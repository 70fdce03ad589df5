// SPDX-License-Identifier: Apache-2.0
#include "http/tls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "http/test_pki.h"

namespace dormouse::http {
namespace {
using testing::HasSubstr;

class Tls : public testing::Test {
 protected:
  void server_with(const TestPki::Pair& pair, TlsContext::Options options = {}) {
    options.certificate_pem = pair.certificate_pem;
    options.key_pem = pair.key_pem;
    auto context = TlsContext::create(TlsContext::Role::Server, options);
    ASSERT_TRUE(context.has_value()) << context.error().message;
    auto session = TlsSession::create(*context, "");
    ASSERT_TRUE(session.has_value());
    server = std::move(*session);
  }
  void client_for(const std::string& name, TlsContext::Options options) {
    auto context = TlsContext::create(TlsContext::Role::Client, options);
    ASSERT_TRUE(context.has_value()) << context.error().message;
    auto session = TlsSession::create(*context, name);
    ASSERT_TRUE(session.has_value()) << session.error().message;
    client = std::move(*session);
  }
  // Carries bytes both ways until neither has any; the client's error if it fails.
  Result<void> shake_hands() {
    if (auto fed = client->feed({}, from_server); !fed) return fed;
    while (true) {
      const std::string up = client->take_output();
      server_result = server->feed(std::as_bytes(std::span(up)), from_client);
      const std::string down = server->take_output();
      if (up.empty() && down.empty()) return {};
      for (const char& byte : down) {  // One at a time: records are cut anywhere.
        if (auto fed = client->feed(std::as_bytes(std::span(&byte, 1)), from_server); !fed) return fed;
      }
    }
  }
  TestPki pki;
  std::unique_ptr<TlsSession> server, client;
  Result<void> server_result;
  std::string from_server, from_client;
};

TEST_F(Tls, CarriesDataBothWaysAndAgreesOnAProtocol) {
  server_with(pki.issue("DNS:api.example"), {.alpn = {"h2", "http/1.1"}});
  client_for("api.example", {.ca_pem = pki.ca_pem(), .alpn = {"h2"}});
  ASSERT_TRUE(shake_hands());
  ASSERT_TRUE(client->established() && server->established());
  EXPECT_EQ(client->alpn(), "h2");
  const std::string much(100'000, 'x');
  ASSERT_TRUE(client->write(much));
  ASSERT_TRUE(server->write("hello"));
  ASSERT_TRUE(shake_hands());
  EXPECT_EQ(from_client, much);
  EXPECT_EQ(from_server, "hello");
  EXPECT_FALSE(server->has_peer_certificate());
  server->close();
  ASSERT_TRUE(shake_hands());
  EXPECT_TRUE(client->peer_closed());
}

TEST_F(Tls, RefusesACertificateForAnotherNameAndSaysForWhomItIs) {
  server_with(pki.issue("DNS:other.example,IP:10.0.0.1"));
  client_for("api.example", {.ca_pem = pki.ca_pem()});
  const auto result = shake_hands();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::PermissionDenied);
  EXPECT_THAT(result.error().message, HasSubstr("not valid for api.example (it is valid for: other.example, 10.0.0.1)"));
}

TEST_F(Tls, ChecksAddressesAgainstAddresses) {
  server_with(pki.issue("IP:127.0.0.1,IP:::1"));
  client_for("127.0.0.1", {.ca_pem = pki.ca_pem()});
  EXPECT_TRUE(shake_hands());
  server_with(pki.issue("IP:::1"));
  client_for("::1", {.ca_pem = pki.ca_pem()});
  EXPECT_TRUE(shake_hands());
  server_with(pki.issue("DNS:127.0.0.1"));  // A name that looks like an address is none.
  client_for("127.0.0.1", {.ca_pem = pki.ca_pem()});
  EXPECT_FALSE(shake_hands());
}

TEST_F(Tls, RefusesAnUnknownAuthorityAndAnExpiredCertificate) {
  const TestPki stranger("stranger");
  server_with(stranger.issue("DNS:api.example"));
  client_for("api.example", {.ca_pem = pki.ca_pem()});
  auto result = shake_hands();
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("cannot be trusted"));
  server_with(pki.issue("DNS:api.example", -7200, -3600));
  client_for("api.example", {.ca_pem = pki.ca_pem()});
  result = shake_hands();
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("expired"));
}

TEST_F(Tls, VerifiesNothingOnlyWhenToldSo) {
  const TestPki stranger("stranger");
  server_with(stranger.issue("DNS:other.example", -7200, -3600));
  client_for("api.example", {.insecure_skip_verify = true});
  EXPECT_TRUE(shake_hands());
  EXPECT_TRUE(client->established());
}

TEST_F(Tls, ShowsItsCertificateWhenAskedAndTellsOfARefusal) {
  const TestPki::Pair user = pki.issue("DNS:user");
  server_with(pki.issue("DNS:api.example"), {.ca_pem = pki.ca_pem(), .ask_for_client_certificate = true});
  client_for("api.example", {.ca_pem = pki.ca_pem(), .certificate_pem = user.certificate_pem, .key_pem = user.key_pem});
  ASSERT_TRUE(shake_hands());
  EXPECT_TRUE(server->has_peer_certificate());

  const TestPki stranger("stranger");
  const TestPki::Pair unknown = stranger.issue("DNS:user");
  server_with(pki.issue("DNS:api.example"), {.ca_pem = pki.ca_pem(), .ask_for_client_certificate = true});
  client_for("api.example", {.ca_pem = pki.ca_pem(), .certificate_pem = unknown.certificate_pem, .key_pem = unknown.key_pem});
  const auto result = shake_hands();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::PermissionDenied);
  EXPECT_THAT(result.error().message, HasSubstr("the other side refused TLS"));
}

TEST_F(Tls, SaysWhenTheServerDoesNotSpeakTls) {
  client_for("api.example", {.ca_pem = pki.ca_pem()});
  ASSERT_TRUE(client->feed({}, from_server));
  const std::string_view answer = "HTTP/1.0 400 Bad Request\r\n\r\n";
  const auto result = client->feed(std::as_bytes(std::span(answer)), from_server);
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("is it a TLS server?"));
}

TEST_F(Tls, ExplainsBrokenCertificatesAndKeys) {
  const TestPki::Pair one = pki.issue("DNS:a"), two = pki.issue("DNS:b");
  const auto error_of = [](const TlsContext::Options& options) {
    const auto context = TlsContext::create(TlsContext::Role::Client, options);
    return context ? std::string() : context.error().message;
  };
  EXPECT_THAT(error_of({.ca_pem = "nonsense"}), HasSubstr("certificate authority holds no PEM certificate"));
  EXPECT_THAT(error_of({.ca_pem = pki.ca_pem() + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}), HasSubstr("certificate 2 is broken"));
  EXPECT_THAT(error_of({.certificate_pem = one.certificate_pem, .key_pem = two.key_pem}), HasSubstr("does not belong to the certificate"));
  EXPECT_THAT(error_of({.certificate_pem = one.certificate_pem, .key_pem = TestPki::encrypted_key_pem()}), HasSubstr("encrypted"));
  EXPECT_THAT(error_of({.certificate_pem = one.certificate_pem, .key_pem = "x"}), HasSubstr("not a PEM private key"));
  EXPECT_THAT(error_of({.certificate_pem = one.certificate_pem}), HasSubstr("together"));
  EXPECT_EQ(error_of({.certificate_pem = one.certificate_pem, .key_pem = one.key_pem}), "");
}

TEST_F(Tls, NeverVerifiesAgainstNoName) {
  auto context = TlsContext::create(TlsContext::Role::Client, {.ca_pem = pki.ca_pem()});
  ASSERT_TRUE(context.has_value());
  EXPECT_FALSE(TlsSession::create(*context, ""));
}

}  // namespace
}  // namespace dormouse::http
