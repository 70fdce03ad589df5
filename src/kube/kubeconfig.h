// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where the API server is and who the host is: from a kubeconfig, read and merged as kubectl does, or from inside a cluster.
//
// Everything in a kubeconfig is checked here, so that what comes out can be used as it stands: files are read,
// data is decoded, and what Dormouse does not support is refused with file, line and what to do. Unknown fields are
// left alone, as kubectl leaves them.
//
// Ownership: plain values.
// Threads:   any.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace dormouse::kube {

struct Cluster {
  std::string name;             // As the kubeconfig calls it; for messages.
  std::string server;           // The URL as given.
  std::string host;             // Of the URL: a name, an IPv4 address, or an IPv6 address without brackets.
  std::uint16_t port = 443;
  std::string path_prefix;      // Put before every target; "" or "/prefix", never with a slash at its end.
  std::string ca_pem;           // Empty: the system's roots.
  std::string tls_server_name;  // Expected in the certificate (and sent as SNI) instead of `host`; may be empty.
  bool insecure_skip_tls_verify = false;
};

// A program that hands out credentials (client.authentication.k8s.io).
struct ExecPlugin {
  std::string api_version;      // client.authentication.k8s.io/v1 or /v1beta1.
  std::string command;          // A path, or a name looked up in PATH.
  std::vector<std::string> args;
  std::vector<std::pair<std::string, std::string>> env;
  std::string install_hint;
  bool provide_cluster_info = false;
  std::string cluster_extension_json;  // The cluster's `client.authentication.k8s.io/exec` extension; may be empty.
  // interactiveMode Always is refused: the host has no terminal to give.
};

struct Impersonation {
  std::string user, uid;
  std::vector<std::string> groups;
  std::map<std::string, std::vector<std::string>> extra;
  bool empty() const { return user.empty() && uid.empty() && groups.empty() && extra.empty(); }
};

struct Credentials {
  std::string name;                    // The user as the kubeconfig calls it; for messages.
  std::string client_certificate_pem;  // With client_key_pem, or both empty.
  std::string client_key_pem;
  std::string token;
  std::string token_file;              // Read again every minute of use; wins over `token`.
  std::optional<ExecPlugin> exec;
  Impersonation impersonation;
};

struct Config {
  std::string source;          // For messages: the file(s), or "in-cluster".
  std::string context;         // Empty when in-cluster.
  std::string namespace_name;  // The context's; "default" if it names none.
  Cluster cluster;
  Credentials credentials;
};

struct ConfigOptions {
  std::string kubeconfig;  // --kubeconfig: this file alone. Empty: KUBECONFIG, then ~/.kube/config, then in-cluster.
  std::string context;     // --context. Empty: current-context.
  // Where the environment comes from; tests give their own.
  std::string kubeconfig_env;       // $KUBECONFIG
  std::string home;                 // $HOME
  std::string service_host, service_port;  // $KUBERNETES_SERVICE_HOST and _PORT
  std::string service_account_dir = "/var/run/secrets/kubernetes.io/serviceaccount";
  static ConfigOptions from_environment();
};

// Errors: NotFound (no configuration at all, or a file that was named is missing), InvalidArgument, Unsupported.
Result<Config> load_config(const ConfigOptions& options);

// Everything of load_config() but the reading of files: `documents` are pairs of file name and text, first wins.
// Certificates, keys and CAs named by path are read relative to their file's folder. The fuzz target's entry.
Result<Config> parse_kubeconfig(const std::vector<std::pair<std::string, std::string>>& documents, std::string_view context);

// "https://HOST[:PORT][/PREFIX]" into host, port and path_prefix. Errors: InvalidArgument, Unsupported (http).
Result<void> parse_server_url(std::string_view url, Cluster& cluster);

}  // namespace dormouse::kube
