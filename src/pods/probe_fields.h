// SPDX-License-Identifier: Apache-2.0
#pragma once
// How livenessProbe, readinessProbe and startupProbe are read.

#include <optional>
#include <string_view>
#include <vector>

#include "pods/pod.h"
#include "pods/strict_yaml.h"

namespace dormouse::pods {

inline constexpr std::size_t kProbeRequestBytesMax = 8 * 1024;  // Path and headers together.

// The probe `field` of `container`, whose `ports` a probe may name. Unset if there is none, or one that Dormouse cannot
// call (exec, grpc, httpGet with HTTPS): that is noted, and the container is as if it had none. What the API server
// would refuse is an error.
std::optional<Probe> read_probe(Object& container, std::string_view field, const std::vector<Port>& ports);

}  // namespace dormouse::pods
