// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "base/utf8.h"
#include "pods/host_ports.h"
#include "pods/manifest.h"

using namespace dormouse;
using namespace dormouse::pods;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto parsed = parse_manifest(text, "fuzz.yaml", "default");
  if (!parsed) {
    CHECK(!parsed.error().message.empty());
    CHECK(is_utf8(parsed.error().message));
    return 0;
  }
  for (const Pod& pod : parsed->pods) {
    CHECK(is_utf8(pod.name) && is_utf8(pod.name_space) && is_utf8(pod.service_account));
    for (const Container& container : pod.containers) {
      for (const std::string& argument : container.args) CHECK(is_utf8(argument));
    }
  }
  // Whoever reads the same text twice has each host port twice.
  std::vector<Pod> twice = parsed->pods;
  twice.insert(twice.end(), parsed->pods.begin(), parsed->pods.end());
  bool any = false;
  for (const Pod& pod : parsed->pods) {
    for (const Container& container : pod.containers) {
      for (const Port& port : container.ports) any |= port.host_port != 0;
    }
  }
  CHECK(host_port_conflicts(twice).empty() == !any);
  return 0;
}
