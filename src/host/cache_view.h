// SPDX-License-Identifier: Apache-2.0
#pragma once
// The shared watch cache as others read it: JSON for `dormouse cache -o json`, a table for people, Prometheus text for scrapes.
//
// Threads: the loop's (the cache is read); cache_table() any.

#include <string>
#include <string_view>

#include "base/result.h"
#include "gateway/shared_cache.h"

namespace dormouse::host {

// Null: the host runs without a cache.
std::string cache_json(const gateway::SharedCache* cache);
// The table of `dormouse cache` from that JSON. Errors: Corrupt.
Result<std::string> cache_table(std::string_view json);
// Prometheus text format 0.0.4.
std::string cache_metrics(const gateway::SharedCache& cache);

}  // namespace dormouse::host
