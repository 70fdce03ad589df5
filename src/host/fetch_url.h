// SPDX-License-Identifier: Apache-2.0
#pragma once
// One GET of a manifest by http or https, as `kubectl apply -f URL` does. Blocking, bounded, 10 s at most.

#include <string>

#include "base/result.h"

namespace dormouse::host {

// TLS is verified against the system's roots. Redirects are not followed. Errors say the URL and what went wrong.
Result<std::string> fetch_url(const std::string& url, std::size_t bytes_max);

}  // namespace dormouse::host
