// SPDX-License-Identifier: Apache-2.0
#pragma once
// Base64 as kubeconfigs have it (RFC 4648, padded).
//
// Threads: any.

#include <string>
#include <string_view>

namespace dormouse::kube {

std::string base64(std::string_view bytes);

}  // namespace dormouse::kube
