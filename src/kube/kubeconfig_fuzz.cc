// SPDX-License-Identifier: Apache-2.0
// Whatever a kubeconfig holds: an error or a configuration that can be used, and no crash.

#include <cstdint>

#include "base/check.h"
#include "kube/kubeconfig.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::size_t half = text.find("\n---\n");
  std::vector<std::pair<std::string, std::string>> documents{{"/nonexistent/a", std::string(text.substr(0, half))}};
  if (half != std::string_view::npos) documents.emplace_back("/nonexistent/b", std::string(text.substr(half + 5)));
  const auto config = dormouse::kube::parse_kubeconfig(documents, "");
  if (config) {
    CHECK(!config->cluster.host.empty() && config->cluster.port != 0 && !config->namespace_name.empty());
    CHECK(config->credentials.client_certificate_pem.empty() == config->credentials.client_key_pem.empty());
  } else {
    CHECK(!config.error().message.empty());
  }
  return 0;
}
