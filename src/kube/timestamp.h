// SPDX-License-Identifier: Apache-2.0
#pragma once
// Kubernetes' timestamps (RFC 3339): "2026-11-24T11:36:40Z", "2026-11-24T11:36:40.5+01:00".
//
// Threads: pure.

#include <optional>
#include <string_view>

#include "base/clock.h"

namespace dormouse::kube {
// Since 1970; nothing if `text` is not a timestamp.
std::optional<Nanoseconds> parse_timestamp(std::string_view text);
}  // namespace dormouse::kube
