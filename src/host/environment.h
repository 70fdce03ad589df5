// SPDX-License-Identifier: Apache-2.0
#pragma once
// A container's arguments and environment, as the kubelet would make them: literal values, ConfigMaps, Secrets,
// fields of the pod, resource limits, and $(NAME) expansion. Pure.

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "pods/pod.h"

namespace dormouse::host {

// Looks up a ConfigMap's (or Secret's) content; null if there is none.
using ConfigData = std::map<std::string, std::string>;
using ConfigLookup = std::function<const ConfigData*(bool secret, const std::string& name)>;

// "NAME=value" each; what the host always sets (HOME, KUBERNETES_SERVICE_HOST=kube, …) first, unless the pod sets it.
// Errors: NotFound with the ConfigMap or Secret, or its key, that is missing.
Result<std::vector<std::string>> container_environment(const pods::Pod& pod, const pods::Container& container, const ConfigLookup& lookup, std::uint64_t memory_limit_bytes);

// The program's arguments: command and args with $(NAME) replaced from `environment`.
std::vector<std::string> container_arguments(const pods::Container& container, const std::vector<std::string>& environment);

// The value of a downward-API field ("metadata.labels['x']"); labels and annotations whole give key="value" lines.
std::string pod_field(const pods::Pod& pod, const std::string& path);
std::string resource_field(const pods::Container& container, const pods::ResourceRef& ref, std::uint64_t memory_limit_bytes);

}  // namespace dormouse::host
