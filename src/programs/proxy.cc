// SPDX-License-Identifier: Apache-2.0
// `dormouse proxy`: the gateway on a port of this machine, for native programs.

#include "programs/commands.h"

#include <memory>

#include "host/proxy.h"

namespace dormouse {

void add_proxy(CLI::App& app, int& exit_code) {
  struct Flags {
    host::ProxyOptions proxy;
    std::string kubeconfig, context, log_format = "text", log_level = "info";
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand("proxy", "Serve the gateway on loopback to native programs with bearer tokens of their own");
  command->footer("Each request needs \"Authorization: Bearer TOKEN\" and goes to the API server with that token alone; one without is answered 401.\nThis host's own credentials are never lent.");
  command->add_option("--port", flags->proxy.port, "Port on 127.0.0.1; 0 takes a free one")->required()->check(CLI::Range(0, 65535));
  command->add_option("--kubeconfig", flags->kubeconfig, "Path of the kubeconfig that names the cluster (else $KUBECONFIG, ~/.kube/config, in-cluster)");
  command->add_option("--context", flags->context, "Context of the kubeconfig");
  command->add_option("--write-kubeconfig", flags->proxy.write_kubeconfig, "Serve HTTPS, and write here a kubeconfig that trusts it; a user with a token is yours to add (kubectl --token)");
  command->add_option("--listen", flags->proxy.listen, "HOST:PORT for /healthz and /metrics");
  command->add_option("--socket", flags->proxy.socket, "Unix socket for `dormouse cache`");
  command->add_option("--watch-cache", flags->proxy.watch_cache, "Answer reads from one shared watch of each resource (true or false)")->default_str("true");
  command->add_option("--log-format", flags->log_format, "text or json")->check(CLI::IsMember({"text", "json"}));
  command->add_option("--log-level", flags->log_level, "debug, info, warning or error")->check(CLI::IsMember({"debug", "info", "warning", "error"}));
  command->callback([flags, &exit_code] {
    flags->proxy.kube = kube::ConfigOptions::from_environment();
    flags->proxy.kube.kubeconfig = flags->kubeconfig;
    flags->proxy.kube.context = flags->context;
    Log::Options log;
    log.format = flags->log_format == "json" ? Log::Format::Json : Log::Format::Text;
    log.level = flags->log_level == "debug" ? Log::Level::Debug : flags->log_level == "warning" ? Log::Level::Warning : flags->log_level == "error" ? Log::Level::Error : Log::Level::Info;
    const auto done = host::run_proxy(std::move(flags->proxy), log);
    exit_code = done ? 0 : failed(done.error());
  });
}

}  // namespace dormouse
