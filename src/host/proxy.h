// SPDX-License-Identifier: Apache-2.0
#pragma once
// The gateway alone, for native programs on this machine: `dormouse proxy`.

#include <cstdint>
#include <string>

#include "base/log.h"
#include "base/result.h"
#include "kube/kubeconfig.h"

namespace dormouse::host {

struct ProxyOptions {
  std::uint16_t port = 0;  // On 127.0.0.1; 0: a free one, told in the log.
  kube::ConfigOptions kube;
  bool watch_cache = true;
  std::string listen, socket;  // HOST:PORT for /healthz and /metrics; a unix socket for `dormouse cache`. Empty: none.
  // Serve HTTPS with a certificate made at start, and write a kubeconfig that trusts it and names no user. kubectl and
  // client-go send tokens over HTTPS only.
  std::string write_kubeconfig;
};

// Serves until SIGTERM or SIGINT. Errors: what keeps it from starting.
Result<void> run_proxy(ProxyOptions options, Log::Options log);

}  // namespace dormouse::host
