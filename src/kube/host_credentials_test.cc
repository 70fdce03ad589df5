// SPDX-License-Identifier: Apache-2.0
#include "kube/host_credentials.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "kube/test_support.h"

namespace dormouse::kube {
namespace {
using testing::HasSubstr;
using Current = HostCredentials::Current;
using namespace std::chrono_literals;

class Plugin : public testing::Test {
 protected:
  // `script` is the body of a shell script.
  HostCredentials& credentials_of(const std::string& script) {
    Credentials credentials;
    credentials.name = "jane";
    ExecPlugin plugin;
    plugin.api_version = "client.authentication.k8s.io/v1";
    plugin.command = folder.write("plugin", "#!/bin/sh\ncd " + folder.path() + "\necho run >> runs\n" + script, true);
    plugin.args = {"one", "two words"};
    plugin.env = {{"EXTRA", "extra"}};
    plugin.install_hint = "Install it from example.com";
    plugin.provide_cluster_info = true;
    plugin.cluster_extension_json = R"({"audience":"x"})";
    credentials.exec = plugin;
    Cluster cluster;
    cluster.server = "https://api.example";
    cluster.ca_pem = "CA";
    made.emplace(loop, clock, cluster, credentials);
    return *made;
  }
  static std::string answer(const std::string& status) {
    return R"(echo '{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","status":)" + status + "}'\n";
  }
  Result<std::shared_ptr<const Current>> current() {
    std::optional<Result<std::shared_ptr<const Current>>> got;
    made->with_current([&](Result<std::shared_ptr<const Current>> result) { got = std::move(result); });
    run_until(loop, [&] { return got.has_value(); });
    return got ? std::move(*got) : fail(ErrorCode::Internal, "no answer");
  }
  std::string error_of(const std::string& script) {
    credentials_of(script);
    const auto got = current();
    return got ? "no error" : got.error().message;
  }
  int runs() const {
    std::ifstream file(folder.path() + "/runs");
    return static_cast<int>(std::count(std::istreambuf_iterator<char>(file), {}, '\n'));
  }
  TemporaryFolder folder;
  boost::asio::io_context loop;
  ManualClock clock{std::chrono::seconds(1'800'000'000)};  // 2027-01-15T08:00:00Z
  std::optional<HostCredentials> made;
};

TEST_F(Plugin, GivesATokenThatIsKeptUntilItExpires) {
  credentials_of(answer(R"({"token":"t","expirationTimestamp":"2027-01-15T08:10:00Z"})"));
  auto got = current();
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ((*got)->token, "t");
  ASSERT_TRUE(current());
  EXPECT_EQ(runs(), 1);
  clock.advance(9min + 55s);
  ASSERT_TRUE(current());
  EXPECT_EQ(runs(), 2);
  EXPECT_TRUE(made->rejected(**current()));
}

TEST_F(Plugin, RunsOnceForAllWhoWait) {
  credentials_of(answer(R"({"token":"t"})"));
  int done = 0;
  for (int i = 0; i < 5; ++i) made->with_current([&](const Result<std::shared_ptr<const Current>>& got) { done += got.has_value() ? 1 : 0; });
  run_until(loop, [&] { return done == 5; });
  EXPECT_EQ(runs(), 1);
}

TEST_F(Plugin, IsToldAboutTheClusterAndGetsArgumentsAndEnvironment) {
  credentials_of("echo \"$#|$2|$EXTRA\" > seen; echo \"$KUBERNETES_EXEC_INFO\" > info; " + answer(R"({"token":"t"})"));
  ASSERT_TRUE(current());
  std::string seen, info;
  std::getline(std::ifstream(folder.path() + "/seen"), seen);
  std::getline(std::ifstream(folder.path() + "/info"), info);
  EXPECT_EQ(seen, "2|two words|extra");
  EXPECT_EQ(info, R"({"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","spec":{"interactive":false,)"
                  R"("cluster":{"server":"https://api.example","certificate-authority-data":"Q0E=","config":{"audience":"x"}}}})");
}

TEST_F(Plugin, ItsFailureIsToldWithItsOwnWords) {
  EXPECT_THAT(error_of("echo 'please log in' >&2; exit 3"), HasSubstr("user \"jane\": exec plugin: " + folder.path() + "/plugin failed with exit status 3: please log in"));
  EXPECT_THAT(error_of("exit 1"), HasSubstr("said nothing on stderr"));
  EXPECT_THAT(error_of("kill -9 $$"), HasSubstr("failed with signal 9"));
}

TEST_F(Plugin, AnswersThatAreNoneAreRefused) {
  EXPECT_THAT(error_of("echo hello"), HasSubstr("did not print an ExecCredential"));
  EXPECT_THAT(error_of("echo '{\"kind\":\"ExecCredential\",\"apiVersion\":\"client.authentication.k8s.io/v1beta1\"}'"), HasSubstr("something else than an ExecCredential of client.authentication.k8s.io/v1"));
  EXPECT_THAT(error_of(answer("null")), HasSubstr("without a status"));
  EXPECT_THAT(error_of(answer("{}")), HasSubstr("neither a token nor a certificate"));
  EXPECT_THAT(error_of(answer(R"({"token":3})")), HasSubstr("not a string"));
  EXPECT_THAT(error_of(answer(R"({"clientKeyData":"k"})")), HasSubstr("without"));
  EXPECT_THAT(error_of(answer(R"({"token":"t","expirationTimestamp":"soon"})")), HasSubstr("not a timestamp"));
  EXPECT_THAT(error_of(answer(R"({"token":"t","expirationTimestamp":"2026-01-01T00:00:00Z"})")), HasSubstr("expired at"));
}

TEST_F(Plugin, AMissingOneIsToldWithItsInstallHint) {
  credentials_of("");
  std::filesystem::remove(folder.path() + "/plugin");
  const auto got = current();
  ASSERT_FALSE(got);
  EXPECT_THAT(got.error().message, HasSubstr("No such file or directory. Install it from example.com"));
}

TEST_F(Plugin, DoesNotOutliveWhoeverWaits) {
  const std::string fifo = folder.path() + "/pid";
  credentials_of("echo $$ > pid.new; mv pid.new pid; exec sleep 1000");
  made->with_current([](const Result<std::shared_ptr<const Current>>&) { FAIL(); });
  run_until(loop, [&] { return std::filesystem::exists(fifo); });
  pid_t pid = 0;
  std::ifstream(fifo) >> pid;
  ASSERT_GT(pid, 0);
  EXPECT_EQ(kill(pid, 0), 0);
  made.reset();
  EXPECT_EQ(kill(pid, 0), -1);
  run_ready(loop);
}

TEST(Subprocess, EndsWhenItsTimeIsUpWithItsChildren) {
  boost::asio::io_context loop;
  std::optional<Result<std::string>> got;
  Subprocess::Options options;
  options.command = "sh";
  options.args = {"-c", "sleep 1000 & echo waiting >&2; wait"};
  options.timeout = 100ms;
  const auto process = Subprocess::run(loop, options, [&](Result<std::string> result) { got = std::move(result); });
  run_until(loop, [&] { return got.has_value(); });
  ASSERT_FALSE(*got);
  EXPECT_EQ(got->error().code, ErrorCode::DeadlineExceeded);
  EXPECT_THAT(got->error().message, HasSubstr("did not end within 0.1 s"));
}

TEST(Subprocess, BoundsWhatItPrints) {
  boost::asio::io_context loop;
  std::optional<Result<std::string>> got;
  Subprocess::Options options;
  options.command = "yes";
  options.output_bytes_max = 10'000;
  const auto process = Subprocess::run(loop, options, [&](Result<std::string> result) { got = std::move(result); });
  run_until(loop, [&] { return got.has_value(); });
  EXPECT_EQ(got->error().code, ErrorCode::ResourceExhausted);
}

TEST(Subprocess, InheritsNoDescriptor) {
  boost::asio::io_context loop;
  int leak[2];
  ASSERT_EQ(pipe(leak), 0);  // Not close-on-exec, as a careless library's.
  std::optional<Result<std::string>> got;
  Subprocess::Options options;
  options.command = "sh";
  options.args = {"-c", fmt::format("test -e /proc/self/fd/{} && echo leaked || echo closed", leak[0])};
  const auto process = Subprocess::run(loop, options, [&](Result<std::string> result) { got = std::move(result); });
  run_until(loop, [&] { return got.has_value(); });
  EXPECT_EQ(**got, "closed\n");
  close(leak[0]);
  close(leak[1]);
}

TEST(TokenFile, IsReadAgainEveryMinute) {
  const TemporaryFolder folder;
  boost::asio::io_context loop;
  ManualClock clock;
  Credentials credentials;
  credentials.token_file = folder.write("token", "one\n");
  HostCredentials host(loop, clock, {}, credentials);
  std::string token;
  const auto read = [&] { host.with_current([&](const Result<std::shared_ptr<const Current>>& got) { token = got ? (*got)->token : got.error().message; }); };
  read();
  EXPECT_EQ(token, "one");
  folder.write("token", "two\n");
  read();
  EXPECT_EQ(token, "one");
  clock.advance(61s);
  read();
  EXPECT_EQ(token, "two");
  folder.write("token", "");
  clock.advance(61s);
  read();
  EXPECT_THAT(token, HasSubstr("is empty"));
}

}  // namespace
}  // namespace dormouse::kube
