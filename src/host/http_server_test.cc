// SPDX-License-Identifier: Apache-2.0
#include "host/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/executor_work_guard.hpp>
#include <fstream>
#include <thread>

#include "host/fetch_url.h"

namespace dormouse::host {
namespace {

using ::testing::HasSubstr;

class HttpServerTest : public ::testing::Test {
 protected:
  HttpServerTest() : thread_([this] { loop_.run(); }) {}
  ~HttpServerTest() override {
    loop_.stop();
    thread_.join();
  }
  static HttpServer::Reply reply(std::string_view target) {
    return target == "/missing" ? HttpServer::Reply{.status = 404, .body = "no\n"} : HttpServer::Reply{.body = "you asked for " + std::string(target)};
  }
  boost::asio::io_context loop_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_ = boost::asio::make_work_guard(loop_);
  const std::string path_ = ::testing::TempDir() + "dormouse-http-" + std::to_string(::getpid()) + ".sock";
  std::thread thread_;
};

TEST_F(HttpServerTest, AnswersOnAUnixSocketOfItsOwner) {
  {
    const auto server = HttpServer::create(loop_, "unix:" + path_, reply);
    ASSERT_TRUE(server) << server.error().message;
    struct stat file{};
    ASSERT_EQ(::stat(path_.c_str(), &file), 0);
    EXPECT_EQ(file.st_mode & 0077, 0U);
    EXPECT_EQ(get_from_unix_socket(path_, "/guests").value(), "you asked for /guests");
    EXPECT_THAT(get_from_unix_socket(path_, "/missing").error().message, HasSubstr("answered 404"));
    EXPECT_THAT(HttpServer::create(loop_, "unix:" + path_, reply).error().message, HasSubstr("another dormouse answers"));
    loop_.stop();
    thread_.join();
    thread_ = std::thread([] {});
  }
  EXPECT_THAT(get_from_unix_socket(path_, "/").error().message, HasSubstr("no dormouse answers"));
}

TEST_F(HttpServerTest, AStaleSocketIsReplacedButAFileIsNot) {
  std::ofstream(path_) << "precious";
  EXPECT_THAT(HttpServer::create(loop_, "unix:" + path_, reply).error().message, HasSubstr("is not a socket"));
  ::unlink(path_.c_str());
}

TEST_F(HttpServerTest, AnswersOnAnAddress) {
  const auto server = HttpServer::create(loop_, "127.0.0.1:0", reply);
  ASSERT_TRUE(server) << server.error().message;
  EXPECT_EQ(fetch_url("http://" + (*server)->address() + "/healthz", 1000).value(), "you asked for /healthz");
  EXPECT_THAT(fetch_url("http://" + (*server)->address() + "/missing", 1000).error().message, HasSubstr("404"));
  EXPECT_THAT(fetch_url("http://" + (*server)->address() + "/long", 5).error().message, HasSubstr("body"));
  loop_.stop();
  thread_.join();
  thread_ = std::thread([] {});
}

TEST_F(HttpServerTest, SaysWhatIsWrongWithAnAddress) {
  for (const char* bad : {"", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999", "not a host:80"}) EXPECT_FALSE(HttpServer::create(loop_, bad, reply)) << bad;
}

}  // namespace
}  // namespace dormouse::host
