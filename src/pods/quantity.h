// SPDX-License-Identifier: Apache-2.0
#pragma once
// Kubernetes quantities: "128Mi", "0.5", "100m", "1e3".
// Grammar: apimachinery pkg/api/resource, type Quantity. Values round up, as there.

#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace dormouse::pods {

// In whole units (bytes for memory). Errors: InvalidArgument, also for negative and for more than 2^63 - 1.
Result<std::uint64_t> parse_quantity(std::string_view text);
// In thousandths (milli-CPUs).
Result<std::uint64_t> parse_quantity_millis(std::string_view text);

}  // namespace dormouse::pods
