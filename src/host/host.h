// SPDX-License-Identifier: Apache-2.0
#pragma once
// The host: wires every part together and runs pods until it is told to stop.
//
// One loop (the calling thread) for network, timers, signals and status; a few worker threads for guests; one thread for
// loading modules. SIGTERM or SIGINT: guests get SIGTERM and their grace period, then the host ends. SIGHUP, or a changed
// manifest or module: pods are added, replaced and removed, the others are not touched.

#include <string>
#include <vector>

#include "base/log.h"
#include "base/result.h"
#include "kube/kubeconfig.h"
#include "wasm/module.h"

namespace dormouse::host {

struct HostOptions {
  std::vector<std::string> sources;            // Manifests.
  std::string module;                          // A bare module, instead of manifests or beside them.
  std::vector<std::string> module_arguments;
  bool module_as_pod = false;                  // The bare module gets a pod's name space and the cluster.
  std::vector<std::string> directories;        // Bare module: HOST::GUEST.
  std::vector<std::string> environment;        // Bare module: NAME=VALUE, or NAME.
  std::vector<std::string> egress;             // Bare module: HOST:PORT.
  std::string stdin_from, memory_limit, service_account;
  std::string name_space;                      // Of pods that name none.
  kube::ConfigOptions kube;
  bool watch_cache = true;                     // Guests' reads come from one shared watch of each resource.
  std::string listen, socket;
  unsigned workers = 0;                        // 0: cores, at most 4.
  std::string sleep;                           // Of pods without the annotation; as pods::parse_sleep() reads it.
  std::string memory_budget;                   // A quantity or "none"; empty: 90 % of the cgroup's limit, else half the machine.
  std::string record_trace;                    // A file; empty: none.
  std::string page_directory, page_budget;     // Empty: /var/tmp; half of what is free there.
  bool encrypt_pages = false, drop_page_cache = false;
  wasm::Module::CompileOptions compile;
};

// Runs until stopped. The exit code: a bare module's own, else 0 when stopped by a signal, 1 when every pod has failed for good.
// Errors: what keeps the host from starting at all.
Result<int> run_host(HostOptions options, Log::Options log);

}  // namespace dormouse::host
