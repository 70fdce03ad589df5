// SPDX-License-Identifier: Apache-2.0
#include "pods/host_ports.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <map>

namespace dormouse::pods {
namespace {

struct Place {
  std::uint16_t port = 0;
  IpAddress address;
  auto operator<=>(const Place&) const = default;
};
struct Holder {
  const Pod* pod;
  const Container* container;
  const Port* port;
};
using Taken = std::map<Place, Holder>;

const Holder* holder_of(const Taken& taken, const Place& wanted) {
  const Place everywhere{wanted.port, {.v6 = wanted.address.v6}};
  if (wanted.address.any()) {
    // `everywhere` sorts before each address of its kind.
    const auto first = taken.lower_bound(everywhere);
    const bool held = first != taken.end() && first->first.port == wanted.port && first->first.address.v6 == wanted.address.v6;
    return held ? &first->second : nullptr;
  }
  if (const auto found = taken.find(everywhere); found != taken.end()) return &found->second;
  const auto found = taken.find(wanted);
  return found == taken.end() ? nullptr : &found->second;
}

std::string name_of(const Holder& holder) {
  const std::string where = holder.port->host_ip.empty() ? "" : fmt::format(" on {}", holder.port->host_ip);
  return fmt::format("pod {}/{}, container {}{}", holder.pod->name_space, holder.pod->name, holder.container->name, where);
}

}  // namespace

std::optional<IpAddress> parse_ip(const std::string& text) {
  IpAddress address;
  if (::inet_pton(AF_INET, text.c_str(), address.bytes.data()) == 1) return address;
  address = {.v6 = true};
  if (::inet_pton(AF_INET6, text.c_str(), address.bytes.data()) == 1) return address;
  return std::nullopt;
}

std::vector<std::string> host_port_conflicts(std::span<const Pod> pods) {
  std::vector<std::string> conflicts;
  Taken taken;
  for (const Pod& pod : pods) {
    for (const Container& container : pod.containers) {
      for (const Port& port : container.ports) {
        if (port.host_port == 0) continue;
        const Place wanted{port.host_port, parse_ip(port.host_ip).value_or(IpAddress{})};
        const Holder asking{&pod, &container, &port};
        if (const Holder* holder = holder_of(taken, wanted)) {
          conflicts.push_back(fmt::format("{}: hostPort {} of {} is taken already by {} ({}); give one of them another hostPort{}", pod.origin, port.host_port, name_of(asking), name_of(*holder),
                                          holder->pod->origin, pod.origin == holder->pod->origin && &pod != holder->pod ? ", or one replica" : ""));
          if (conflicts.size() == kHostPortConflictsMax) return conflicts;
        } else {
          taken.emplace(wanted, asking);
        }
      }
    }
  }
  return conflicts;
}

}  // namespace dormouse::pods
