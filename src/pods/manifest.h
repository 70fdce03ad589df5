// SPDX-License-Identifier: Apache-2.0
#pragma once
// From a YAML manifest (Pod, Deployment, List; multi-document) to pods, strictly.
//
// Every field is either used, accepted without effect because it has none for a guest (securityContext,
// scheduling, image pulling), refused because running without it would mislead (initContainers, hostNetwork),
// or unknown: an error with file:line and the name that was probably meant. All errors of a file are told at once.

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "pods/pod.h"

namespace dormouse::pods {

inline constexpr std::size_t kManifestBytesMax = 4 << 20;
inline constexpr std::size_t kPodsPerManifestMax = 20'000;

struct Manifest {
  std::vector<Pod> pods;
  // What is accepted but has no effect and the author may care about: "x.yaml:7: livenessProbe is not …".
  std::vector<std::string> notes;
};

// `source` names the text in messages (a file's path or a URL). Deployments become pods NAME-0 … NAME-(replicas-1).
// Errors: InvalidArgument; the message has one line for each thing that is wrong.
Result<Manifest> parse_manifest(std::string_view text, std::string_view source, std::string_view default_namespace);

}  // namespace dormouse::pods
