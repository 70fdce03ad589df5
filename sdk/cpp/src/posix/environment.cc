// SPDX-License-Identifier: Apache-2.0
// Where a native program finds the API server.

#include <cstdlib>

#include "../fd_stream.h"
#include "kubeconfig.h"

namespace kubepp {
namespace {

constexpr std::string_view kServiceAccount = "/var/run/secrets/kubernetes.io/serviceaccount/";

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

}  // namespace

Result<Endpoint> endpoint_of_url(std::string_view url) {
  Endpoint endpoint;
  if (url.starts_with("https://")) {
    endpoint.tls = true;
  } else if (!url.starts_with("http://")) {
    return fail("Configuration", "\"" + std::string(url) + "\" is no http:// or https:// address");
  }
  std::string_view rest = url.substr(endpoint.tls ? 8 : 7);
  while (rest.ends_with('/')) rest.remove_suffix(1);
  if (rest.empty() || rest.find_first_of("/@?#") != rest.npos) {
    return fail("Configuration", "\"" + std::string(url) + "\": only http(s)://HOST[:PORT] is understood");
  }
  endpoint.host = rest;
  const bool has_port = rest.rfind(':') != rest.npos && rest.back() != ']';
  endpoint.address = std::string(rest) + (has_port ? "" : endpoint.tls ? ":443" : ":80");
  return endpoint;
}

Result<Endpoint> Endpoint::from_environment() {
  if (const std::string url = environment("KUBE_API_URL"); !url.empty()) return endpoint_of_url(url);
  if (const std::string path = environment("KUBECONFIG"); !path.empty()) return endpoint_of_kubeconfig(path);
  const std::string host = environment("KUBERNETES_SERVICE_HOST");
  if (!host.empty()) {
    Endpoint endpoint;
    endpoint.tls = true;
    const std::string bracketed = host.find(':') != host.npos ? "[" + host + "]" : host;
    const std::string port = environment("KUBERNETES_SERVICE_PORT");
    endpoint.address = bracketed + ":" + (port.empty() ? "443" : port);
    endpoint.host = endpoint.address;
    endpoint.token_file = std::string(kServiceAccount) + "token";
    endpoint.ca_pem = read_file(std::string(kServiceAccount) + "ca.crt");
    return endpoint;
  }
  return endpoint_of_kubeconfig(environment("HOME") + "/.kube/config");
}

}  // namespace kubepp
