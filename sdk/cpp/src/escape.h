// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <string_view>

namespace kubepp {
// Percent-encodes all but letters, digits and "-._~": for one segment of a path, or one value of a query.
std::string escape(std::string_view text);
}  // namespace kubepp
