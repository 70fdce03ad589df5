// SPDX-License-Identifier: Apache-2.0
#include "posix/kubeconfig.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

namespace kubepp {
namespace {

TEST(SimpleYaml, ReadsWhatKubectlWrites) {
  const Result<Json> parsed = parse_simple_yaml(R"(# comment
apiVersion: v1
clusters:
- cluster:
    server: https://127.0.0.1:6443
    certificate-authority-data: QUJD
  name: one
- name: "two"
  cluster: {}
contexts: []
current-context: 'one'
preferences:
users:
  - name: u
    user:
      token: a#b # comment
)");
  ASSERT_TRUE(parsed.has_value()) << parsed.error().message;
  EXPECT_EQ(parsed->dump(),
            R"({"apiVersion":"v1","clusters":[{"cluster":{"server":"https://127.0.0.1:6443","certificate-authority-data":"QUJD"},)"
            R"("name":"one"},{"name":"two","cluster":null}],"contexts":[],"current-context":"one","preferences":null,)"
            R"("users":[{"name":"u","user":{"token":"a#b"}}]})");
}

TEST(SimpleYaml, RefusesWhatItDoesNotUnderstandWithItsLine) {
  for (const char* text : {"a: {b: c}", "a: &x 1", "a: *x", "a: |\n  text", "a: !!str 1", "just text", "a:\n  b: 1\n c: 2", "- a\nb: 1",
                           "a: 'b", "a: \"b", "\tb: 1", "? a\n: b"}) {
    const Result<Json> parsed = parse_simple_yaml(text);
    ASSERT_FALSE(parsed.has_value()) << text << " became " << parsed->dump();
    EXPECT_EQ(parsed.error().message.find("line "), 0u);
  }
}

Result<Endpoint> endpoint_of(const std::string& text) {
  const std::string path = testing::TempDir() + "kubepp-kubeconfig";
  std::ofstream(path) << text;
  return endpoint_of_kubeconfig(path);
}

constexpr const char* kConfig = R"(
current-context: c
contexts:
- name: c
  context: {}
)";

TEST(Kubeconfig, GivesServerCredentialsAndCaOfTheCurrentContext) {
  const Result<Endpoint> endpoint = endpoint_of(R"({"current-context":"b",
    "contexts":[{"name":"a","context":{"cluster":"x","user":"x"}},{"name":"b","context":{"cluster":"y","user":"z"}}],
    "clusters":[{"name":"y","cluster":{"server":"https://[::1]:6443/","certificate-authority-data":"UEVN"}}],
    "users":[{"name":"z","user":{"token":"secret","client-certificate-data":"Q0VSVA==","client-key-data":"S0VZ"}}]})");
  ASSERT_TRUE(endpoint.has_value()) << endpoint.error().message;
  EXPECT_EQ(endpoint->address, "[::1]:6443");
  EXPECT_TRUE(endpoint->tls);
  EXPECT_EQ(endpoint->ca_pem, "PEM");
  EXPECT_EQ(endpoint->token, "secret");
  EXPECT_EQ(endpoint->client_certificate_pem, "CERT");
  EXPECT_EQ(endpoint->client_key_pem, "KEY");
}

TEST(Kubeconfig, SaysWhatIsMissing) {
  EXPECT_NE(endpoint_of(kConfig).error().message.find("has no cluster"), std::string::npos);
  EXPECT_NE(endpoint_of_kubeconfig("/no/such/file").error().message.find("is not there"), std::string::npos);
  EXPECT_FALSE(endpoint_of_url("ftp://x").has_value());
  EXPECT_FALSE(endpoint_of_url("http://x/y").has_value());
  EXPECT_FALSE(endpoint_of_url("http://u@x").has_value());
  EXPECT_FALSE(endpoint_of_url("http://").has_value());
  EXPECT_EQ(endpoint_of_url("http://x")->address, "x:80");
  EXPECT_EQ(endpoint_of_url("https://[::1]")->address, "[::1]:443");
}

}  // namespace
}  // namespace kubepp
