// SPDX-License-Identifier: Apache-2.0
#include "gateway/proxy_server.h"

#include <openssl/evp.h>

#include <array>
#include <map>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include <boost/asio/steady_timer.hpp>

#include "base/check.h"
#include "gateway/proxy_connection.h"

namespace dormouse::gateway {
namespace {

namespace asio = boost::asio;
using Tcp = asio::ip::tcp;

constexpr auto kAcceptPause = std::chrono::milliseconds(100);  // After an accept that failed: out of descriptors, most likely.

class Server final : public ProxyServer {
 public:
  explicit Server(Options options) : options_(std::move(options)), acceptor_(options_.loop), pause_(options_.loop) {}
  ~Server() override {
    boost::system::error_code ignored;
    acceptor_.close(ignored);
    for (auto& [id, connection] : connections_) connection->stop();
  }

  Result<void> listen() {
    boost::system::error_code error;
    acceptor_.open(options_.endpoint.protocol(), error);
    if (!error) acceptor_.set_option(Tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(options_.endpoint, error);
    if (!error) acceptor_.listen(Tcp::acceptor::max_listen_connections, error);
    if (!error) options_.endpoint = acceptor_.local_endpoint(error);
    if (error) return fail_errno(error.value(), fmt::format("listen on {}:{}", options_.endpoint.address().to_string(), options_.endpoint.port()));
    accept();
    return {};
  }
  Tcp::endpoint endpoint() const override { return options_.endpoint; }

 private:
  void accept() {
    if (accepting_ || connections_.size() >= options_.connections_max) return;
    accepting_ = true;
    // The acceptor is closed with this object, and the handler then gets an error and touches nothing.
    acceptor_.async_accept([this](boost::system::error_code error, Tcp::socket socket) {
      if (error == asio::error::operation_aborted) return;
      accepting_ = false;
      if (!error) return take(std::move(socket)), accept();
      accepting_ = true;
      pause_.expires_after(kAcceptPause);
      pause_.async_wait([this](boost::system::error_code cancelled) {
        if (cancelled) return;
        accepting_ = false;
        accept();
      });
    });
  }

  void take(Tcp::socket socket) {
    const std::uint64_t id = next_id_++;
    auto connection = std::make_shared<ProxyConnection>(
        ProxyConnection::Options{.loop = options_.loop, .upstream = options_.upstream, .counters = counters_, .front = options_.front,
                                 .client_of = [this](const std::string& token) { return client_of(token); }, .tls = options_.tls,
                                 .memory_bytes = options_.connection_memory_bytes, .http = options_.http,
                                 .on_stopped = [this, id] {
                                   connections_.erase(id);
                                   accept();
                                 }},
        std::move(socket));
    connections_.emplace(id, connection);
    connection->start();
  }

  // Who this is, as far as anybody can tell without asking: the bearer of this token.
  std::shared_ptr<ApiClient> client_of(const std::string& token) {
    std::array<unsigned char, 32> digest{};
    unsigned size = 0;
    CHECK(EVP_Digest(token.data(), token.size(), digest.data(), &size, EVP_sha256(), nullptr) == 1 && size == digest.size());
    const std::string name = fmt::format("token:{:02x}", fmt::join(digest, ""));
    Known& known = clients_[name];
    known.used = ++uses_;
    if (known.client == nullptr) {
      known.client = std::make_shared<ApiClient>();
      known.client->name = name;
      known.client->owned_identity = kube::make_static_identity("", "", token);
      known.client->identity = known.client->owned_identity.get();
      if (clients_.size() > options_.clients_max) forget_one(name);
    }
    return known.client;
  }
  // The one that was idle for longest; what it has written is forgotten with it.
  void forget_one(const std::string& but) {
    auto oldest = clients_.end();
    for (auto it = clients_.begin(); it != clients_.end(); ++it) {
      if (it->second.client.use_count() == 1 && it->first != but && (oldest == clients_.end() || it->second.used < oldest->second.used)) oldest = it;
    }
    if (oldest != clients_.end()) clients_.erase(oldest);
  }

  struct Known {
    std::shared_ptr<ApiClient> client;
    std::uint64_t used = 0;
  };
  std::map<std::string, Known> clients_;
  std::uint64_t uses_ = 0;
  Options options_;
  Tcp::acceptor acceptor_;
  asio::steady_timer pause_;
  KubeCounters counters_;
  bool accepting_ = false;
  std::uint64_t next_id_ = 1;
  std::unordered_map<std::uint64_t, std::shared_ptr<ProxyConnection>> connections_;
};

}  // namespace

Result<std::unique_ptr<ProxyServer>> ProxyServer::create(Options options) {
  auto server = std::make_unique<Server>(std::move(options));
  if (auto listening = server->listen(); !listening) return fail(listening.error());
  return server;
}

}  // namespace dormouse::gateway
