// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the cache says when it says no: a metav1.Status with the code, reason and message the API server would give.
//
// Ownership: values.
// Threads: any.

#include <string>
#include <string_view>

#include "watchcache/cache_key.h"
#include "watchcache/revision.h"

namespace dormouse::watchcache {

struct ApiStatus {
  int code = 500;
  std::string reason, message;
  int retry_after_seconds = 0;                // 0: no such detail.
  std::string cause, cause_message;           // Empty: none.
  std::string name, group, resource;          // Of what is not there.

  // `{"kind":"Status",…}`, or the protobuf envelope of the same.
  std::string encode(Encoding encoding) const;
};

// 410 Expired: "too old resource version: 5 (1000)".
ApiStatus too_old_revision(Revision asked, Revision oldest);
// 504 Timeout, with a second to wait: "Too large resource version: 9, current: 5".
ApiStatus too_large_revision(Revision asked, Revision current);
// 404 NotFound: `pods "x" not found`.
ApiStatus not_found(const CacheKey& key, std::string_view name);

}  // namespace dormouse::watchcache
