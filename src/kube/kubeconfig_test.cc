// SPDX-License-Identifier: Apache-2.0
#include "kube/kubeconfig.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kube/test_support.h"

namespace dormouse::kube {
namespace {
using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::string_view kPlain = R"(apiVersion: v1
kind: Config
current-context: one
clusters:
- name: c
  cluster:
    server: https://api.example:6443/prefix/
contexts:
- name: one
  context: {cluster: c, user: u, namespace: shop}
- name: two
  context: {cluster: c}
users:
- name: u
  user:
    token: secret
)";

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}
std::string with_user(const std::string& fields) { return replaced(std::string(kPlain), "token: secret", fields); }
std::string with_cluster(const std::string& fields) { return replaced(std::string(kPlain), "server: https://api.example:6443/prefix/", fields); }

Result<Config> parse(const std::string& text, std::string_view context = "") { return parse_kubeconfig({{"config", text}}, context); }
std::string error_of(const std::string& text, std::string_view context = "") {
  const auto config = parse(text, context);
  return config ? "no error" : config.error().message;
}

TEST(Kubeconfig, ReadsAPlainOne) {
  const auto config = parse(std::string(kPlain));
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->context, "one");
  EXPECT_EQ(config->namespace_name, "shop");
  EXPECT_EQ(config->cluster.host, "api.example");
  EXPECT_EQ(config->cluster.port, 6443);
  EXPECT_EQ(config->cluster.path_prefix, "/prefix");
  EXPECT_EQ(config->credentials.token, "secret");
}

TEST(Kubeconfig, TheContextCanBeChosen) {
  const auto config = parse(std::string(kPlain), "two");
  ASSERT_TRUE(config);
  EXPECT_EQ(config->namespace_name, "default");
  EXPECT_EQ(config->credentials.token, "");
  EXPECT_THAT(error_of(std::string(kPlain), "three"), HasSubstr("there is no context \"three\"; there is: one, two"));
}

TEST(Kubeconfig, TheFirstFileWinsAsWithKubectl) {
  const std::string other = R"(
current-context: two
clusters: [{name: c, cluster: {server: "https://other.example"}}, {name: d, cluster: {server: "https://[::1]"}}]
contexts: [{name: three, context: {cluster: d, user: v}}]
users: [{name: v, user: {token: other}}]
)";
  auto config = parse_kubeconfig({{"a", std::string(kPlain)}, {"b", other}}, "");
  ASSERT_TRUE(config);
  EXPECT_EQ(config->context, "one");
  EXPECT_EQ(config->cluster.host, "api.example");
  config = parse_kubeconfig({{"a", std::string(kPlain)}, {"b", other}}, "three");
  ASSERT_TRUE(config);
  EXPECT_EQ(config->cluster.host, "::1");
  EXPECT_EQ(config->cluster.port, 443);
  EXPECT_EQ(config->credentials.token, "other");
}

TEST(Kubeconfig, ReadsFilesRelativeToItself) {
  const TemporaryFolder folder;
  folder.write("ca.crt", "CA");
  folder.write("user.crt", "CERT");
  folder.write("user.key", "KEY");
  const std::string text = replaced(with_user("client-certificate: user.crt\n    client-key: ./user.key\n    tokenFile: token"), "server:", "certificate-authority: ca.crt\n    server:");
  const auto config = parse_kubeconfig({{folder.path() + "/config", text}}, "");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->cluster.ca_pem, "CA");
  EXPECT_EQ(config->credentials.client_certificate_pem, "CERT");
  EXPECT_EQ(config->credentials.client_key_pem, "KEY");
  EXPECT_EQ(config->credentials.token_file, folder.path() + "/token");
}

TEST(Kubeconfig, DataWinsOverFiles) {
  const auto config = parse(with_user("client-certificate: /nowhere\n    client-certificate-data: Q0VSVA==\n    client-key-data: S0VZIQ=="));
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->credentials.client_certificate_pem, "CERT");
  EXPECT_EQ(config->credentials.client_key_pem, "KEY!");
}

TEST(Kubeconfig, RefusesWhatIsNotSupportedWithFileAndLine) {
  EXPECT_THAT(error_of(with_user("username: a")), HasSubstr("config:16: user \"u\": username and password are not supported"));
  EXPECT_THAT(error_of(with_user("auth-provider: {name: gcp}")), HasSubstr("config:16: user \"u\": auth-provider is not supported"));
  EXPECT_THAT(error_of(with_cluster("server: https://a\n    proxy-url: http://p")), HasSubstr("config:8: cluster \"c\": proxy-url is not supported"));
  EXPECT_THAT(error_of(with_cluster("server: http://127.0.0.1:8001")), HasSubstr("plain http is not supported"));
  EXPECT_THAT(error_of(with_user("exec: {apiVersion: client.authentication.k8s.io/v1alpha1, command: x}")), HasSubstr("v1alpha1\" is not supported"));
  EXPECT_THAT(error_of(with_user("exec: {apiVersion: client.authentication.k8s.io/v1, command: x, interactiveMode: Always}")), HasSubstr("no terminal"));
}

TEST(Kubeconfig, TellsWhatIsWrongAndWhere) {
  EXPECT_THAT(error_of("["), HasSubstr("config:"));
  EXPECT_THAT(error_of("a"), HasSubstr("not a kubeconfig"));
  EXPECT_THAT(error_of("kind: Pod"), HasSubstr("config:1: not a kubeconfig: its kind is \"Pod\""));
  EXPECT_THAT(error_of(""), HasSubstr("no current-context"));
  EXPECT_THAT(error_of(replaced(std::string(kPlain), "cluster: c,", "cluster: x,")), HasSubstr("config:10: context \"one\": cluster \"x\" does not exist"));
  EXPECT_THAT(error_of(replaced(std::string(kPlain), "user: u,", "user: x,")), HasSubstr("user \"x\" does not exist"));
  EXPECT_THAT(error_of(with_cluster("certificate-authority-data: '!!'\n    server: https://a")), HasSubstr("certificate-authority-data is not base64"));
  EXPECT_THAT(error_of(with_cluster("certificate-authority: /nowhere/ca\n    server: https://a")), HasSubstr("open /nowhere/ca: No such file"));
  EXPECT_THAT(error_of(with_cluster("certificate-authority: /dev/zero\n    server: https://a")), HasSubstr("not a regular file"));
  EXPECT_THAT(error_of(with_user("client-certificate-data: Q0VSVA==")), HasSubstr("without the other"));
  EXPECT_THAT(error_of(with_user("as-groups: [a]")), HasSubstr("as is required"));
  EXPECT_THAT(error_of(with_cluster("insecure-skip-tls-verify: true\n    certificate-authority-data: Q0VSVA==\n    server: https://a")), HasSubstr("contradict"));
  EXPECT_THAT(error_of(with_cluster("insecure-skip-tls-verify: yes\n    server: https://a")), HasSubstr("must be true or false"));
  EXPECT_THAT(error_of(with_cluster("tls-server-name: a")), HasSubstr("server is required"));
}

TEST(Kubeconfig, ReadsAnExecPlugin) {
  const std::string text = replaced(with_user(R"(exec:
      apiVersion: client.authentication.k8s.io/v1beta1
      command: ./bin/plugin
      args: [a, "b c"]
      env: [{name: A, value: "1"}]
      installHint: install it
      provideClusterInfo: true
      interactiveMode: IfAvailable)"),
                                    "server:", "extensions: [{name: client.authentication.k8s.io/exec, extension: {audience: x, n: 3, s: \"3\", l: [true, null]}}]\n    server:");
  const auto config = parse_kubeconfig({{"/etc/kube/config", text}}, "");
  ASSERT_TRUE(config) << config.error().message;
  const ExecPlugin& plugin = *config->credentials.exec;
  EXPECT_EQ(plugin.command, "/etc/kube/bin/plugin");
  EXPECT_THAT(plugin.args, ElementsAre("a", "b c"));
  EXPECT_THAT(plugin.env, ElementsAre(std::pair<std::string, std::string>("A", "1")));
  EXPECT_TRUE(plugin.provide_cluster_info);
  EXPECT_EQ(plugin.cluster_extension_json, R"({"audience":"x","n":3,"s":"3","l":[true,null]})");
}

TEST(Kubeconfig, SurvivesBombs) {
  std::string laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n";
  for (int i = 1; i < 30; ++i) laughs += fmt::format("a{0}: &a{0} [*a{1},*a{1},*a{1},*a{1},*a{1},*a{1},*a{1},*a{1},*a{1}]\n", i, i - 1);
  EXPECT_THAT(error_of(laughs), HasSubstr("no current-context"));
  const std::string exec = "exec: {apiVersion: client.authentication.k8s.io/v1, command: x, provideClusterInfo: true}";
  EXPECT_THAT(error_of(laughs + replaced(with_user(exec), "server:", "extensions: [{name: client.authentication.k8s.io/exec, extension: *a29}]\n    server:")), HasSubstr("too large or too deep"));
  EXPECT_THAT(error_of(std::string(100'000, '[')), HasSubstr("config:1"));
  std::string deep = "x: ";
  for (int i = 0; i < 100'000; ++i) deep += "{a: ";
  EXPECT_THAT(error_of(deep), HasSubstr("config:1"));
}

TEST(Kubeconfig, ServerUrlsAreStrict) {
  const auto host_of = [](std::string_view url) {
    Cluster cluster;
    const auto parsed = parse_server_url(url, cluster);
    return parsed ? fmt::format("{} {} {}", cluster.host, cluster.port, cluster.path_prefix) : "refused";
  };
  EXPECT_EQ(host_of("https://a"), "a 443 ");
  EXPECT_EQ(host_of("https://10.0.0.1:1/x/y//"), "10.0.0.1 1 /x/y");
  EXPECT_EQ(host_of("https://[fd00::1]:6443"), "fd00::1 6443 ");
  for (const std::string_view url : {"https://", "https://user@a", "https://a:0", "https://a:65536", "https://a:", "https://a:1x", "https://[::1", "https://a b", "https://a/?q",
                                     "https://a/#f", "ftp://a", "a:6443", "https://a:b:c", "https://::1"}) {
    EXPECT_EQ(host_of(url), "refused") << url;
  }
}

TEST(LoadConfig, LooksWhereKubectlLooks) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder.path() + "/.kube");
  folder.write(".kube/config", std::string(kPlain));
  const std::string other = folder.write("other", replaced(std::string(kPlain), "api.example", "other.example"));

  ConfigOptions options;
  options.home = folder.path();
  auto config = load_config(options);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->cluster.host, "api.example");

  options.kubeconfig_env = folder.path() + "/missing:" + other;
  config = load_config(options);
  ASSERT_TRUE(config);
  EXPECT_EQ(config->cluster.host, "other.example");

  options.kubeconfig = folder.path() + "/.kube/config";
  config = load_config(options);
  ASSERT_TRUE(config);
  EXPECT_EQ(config->cluster.host, "api.example");

  options.kubeconfig = folder.path() + "/missing";
  config = load_config(options);
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().code, ErrorCode::NotFound);

  options.kubeconfig.clear();
  options.kubeconfig_env = folder.path() + "/missing";
  EXPECT_THAT(load_config(options).error().message, HasSubstr("KUBECONFIG names"));
}

TEST(LoadConfig, FallsBackToTheClusterItRunsIn) {
  const TemporaryFolder folder;
  ConfigOptions options;
  options.home = folder.path();
  EXPECT_THAT(load_config(options).error().message, HasSubstr("no Kubernetes configuration: give --kubeconfig"));
  options.service_host = "10.0.0.1";
  options.service_port = "443";
  options.service_account_dir = folder.path();
  EXPECT_THAT(load_config(options).error().message, HasSubstr("ca.crt"));
  folder.write("ca.crt", "CA");
  folder.write("token", "t");
  folder.write("namespace", "shop");
  const auto config = load_config(options);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->namespace_name, "shop");
  EXPECT_EQ(config->credentials.token_file, folder.path() + "/token");
  EXPECT_EQ(config->cluster.host, "10.0.0.1");
}

}  // namespace
}  // namespace dormouse::kube
