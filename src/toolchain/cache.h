// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where slow artefacts are kept between runs: compiled modules, patched crates, SDK files, build folders.

#include <string>

#include "base/result.h"

namespace dormouse::toolchain {

// $DORMOUSE_CACHE, else $XDG_CACHE_HOME/dormouse, else $HOME/.cache/dormouse; with `part` below it, made with mode 0700.
Result<std::string> cache_directory(const std::string& part);

// The SDK files that this binary carries, unpacked below the cache; the folder is named by their digest.
Result<std::string> unpacked_sdk();

}  // namespace dormouse::toolchain
