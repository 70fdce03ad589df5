// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where `dormouse run -f` gets its pods from: files, folders and URLs, read again on a reload.
//
// A pod's local images are found relative to the manifest they stand in.
//
// Threads: blocking reads, called at start and on a reload (a manifest is small; a URL has a time-out of 10 s and is
// read on a thread of its own by the caller).

#include <string>
#include <vector>

#include "base/result.h"
#include "pods/manifest.h"

namespace dormouse::host {

struct LoadedPods {
  std::vector<pods::Pod> pods;             // Images are absolute paths.
  std::vector<std::string> notes;
  std::vector<std::string> watched_paths;  // Files and folders whose change means a reload.
};

// `sources` are paths or http(s) URLs; "-" is standard input. Folders give their *.yaml, *.yml and *.json, in order.
// Errors: all that is wrong in any of them, one line each; nothing is loaded then.
Result<LoadedPods> load_pods(const std::vector<std::string>& sources, const std::string& default_namespace);

// "x.wasm", "./x", "/x", "file:x" to an absolute path. Errors: Unsupported for a registry reference.
Result<std::string> resolve_image(const std::string& image, const std::string& base_directory);

}  // namespace dormouse::host
