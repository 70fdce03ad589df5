// SPDX-License-Identifier: Apache-2.0
#include "host/proxy.h"

#include <signal.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>

#include <fmt/format.h>


#include <fstream>
#include <optional>

#include "base/clock.h"
#include "gateway/proxy_server.h"
#include "host/cache_view.h"
#include "host/http_server.h"
#include "host/loop_cache.h"
#include "http/self_signed.h"
#include "kube/base64.h"
#include "kube/upstream.h"

namespace dormouse::host {

namespace asio = boost::asio;

namespace {

constexpr int kCertificateDays = 365;

Result<void> write_kubeconfig(const std::string& path, const std::string& server, const std::string& ca_pem) {
  std::ofstream file(path, std::ios::trunc);
  file << "apiVersion: v1\nkind: Config\ncurrent-context: dormouse\n"
       << "clusters:\n- name: dormouse\n  cluster:\n    server: " << server << "\n    certificate-authority-data: " << kube::base64(ca_pem) << "\n"
       << "contexts:\n- name: dormouse\n  context:\n    cluster: dormouse\n    user: \"\"\nusers: []\n";
  file.close();
  if (!file) return fail(ErrorCode::Unavailable, "--write-kubeconfig {}: cannot be written", path);
  return {};
}

}  // namespace

Result<void> run_proxy(ProxyOptions options, Log::Options log_options) {
  ::signal(SIGPIPE, SIG_IGN);
  const SystemClock clock;
  Log log(log_options, clock);
  asio::io_context loop{1};
  auto config = kube::load_config(options.kube);
  if (!config) return fail(config.error());
  log.info("cluster", {{"server", config->cluster.server}, {"config", config->source}, {"context", config->context}});
  auto upstream = kube::Upstream::create(loop, clock, log, {.cluster = std::move(config->cluster), .credentials = std::move(config->credentials)});
  if (!upstream) return fail(upstream.error());
  std::optional<LoopCache> cache;
  if (options.watch_cache) cache.emplace(loop, clock, log, **upstream);
  http::SelfSigned own;
  std::shared_ptr<const http::TlsContext> tls;
  if (!options.write_kubeconfig.empty()) {
    auto made = http::make_self_signed("IP:127.0.0.1,DNS:localhost", kCertificateDays);
    if (!made) return fail(made.error());
    own = std::move(*made);
    auto context = http::TlsContext::create(http::TlsContext::Role::Server, {.certificate_pem = own.certificate_pem, .key_pem = own.key_pem, .alpn = {"http/1.1"}});
    if (!context) return fail(context.error());
    tls = std::move(*context);
  }
  auto server = gateway::ProxyServer::create({.loop = loop, .upstream = **upstream, .front = cache ? &cache->cache() : nullptr, .endpoint = {asio::ip::address_v4::loopback(), options.port}, .tls = tls});
  if (!server) return fail(server.error());
  const std::string address = fmt::format("{}://127.0.0.1:{}", tls == nullptr ? "http" : "https", (*server)->endpoint().port());
  if (tls != nullptr) {
    if (auto written = write_kubeconfig(options.write_kubeconfig, address, own.certificate_pem); !written) return written;
  }
  log.info("serving", {{"address", address}});
  const auto answer = [&](std::string_view target) -> HttpServer::Reply {
    const std::string_view path = target.substr(0, target.find('?'));
    const gateway::SharedCache* const shared = cache ? &cache->cache() : nullptr;
    if (path == "/healthz" || path == "/livez" || path == "/readyz") return {.body = "ok\n"};
    if (path == "/metrics") return {.content_type = "text/plain; version=0.0.4; charset=utf-8", .body = shared == nullptr ? "" : cache_metrics(*shared)};
    if (path == "/cache") return {.content_type = "application/json", .body = cache_json(shared)};
    return {.status = 404, .body = "there are /healthz, /metrics and /cache here\n"};
  };
  std::vector<std::unique_ptr<HttpServer>> own_servers;
  for (const std::string& at : {options.listen, options.socket.empty() ? std::string() : "unix:" + options.socket}) {
    if (at.empty()) continue;
    auto own_server = HttpServer::create(loop, at, answer);
    if (!own_server) return fail(own_server.error());
    own_servers.push_back(std::move(*own_server));
  }
  asio::signal_set signals(loop, SIGTERM, SIGINT);
  signals.async_wait([&](boost::system::error_code, int) { loop.stop(); });
  loop.run();
  return {};
}

}  // namespace dormouse::host
