// SPDX-License-Identifier: Apache-2.0
#pragma once
// Whether a request is one that a cache may answer, and what it asks for: read so strictly that the API server cannot
// mean anything else by it. Whatever is not certain is forwarded untouched, with the reason counted.
//
// Ownership: values.
// Threads: any.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "kube/access_reviews.h"
#include "kube/upstream.h"
#include "watchcache/cache_key.h"
#include "watchcache/query.h"
#include "watchcache/selector.h"

namespace dormouse::gateway {

// Why a request was forwarded: a metric's label.
enum class Forwarded : std::uint8_t {
  NoIdentity,      // With the host's own credentials.
  Write,
  NotAResource,    // Discovery, OpenAPI, health, subresources, the old watch paths.
  Path,            // Not as clients write it.
  Accept,          // Table, YAML, or anything else that is not held here.
  Query,           // parse_query() says why.
  Consistent,      // The newest state, which only the API server knows.
  Limit,           // Pages.
  Cold,            // Nobody watches this, and this request does not begin to.
  NotReady,        // The cache did not come up in time, or cannot.
  Older,           // The cache is behind what is asked for, or what this client has written.
  TooOld,          // The log does not reach back that far: relayed, and joined to the cache later.
  Missing,         // GET of what the cache does not hold.
  Full,            // entries_max.
  Denied,          // The API server says so itself.
  ReviewFailed,
  NoDonor,         // May watch but not list: cannot keep a cache.
  kCount,
};
std::string_view to_string(Forwarded reason);

struct CacheRequest {
  watchcache::CacheKey key;         // Exactly what is asked for, as a cache of its own would be.
  watchcache::Query query;
  std::string name;                 // Of a GET.
  std::string resource;             // "deployments.apps".
  kube::AccessAttributes rights;    // What the API server's authorizer would be asked.

  watchcache::Selection selection() const;
};

struct ReadRequest {
  std::optional<CacheRequest> cached;
  Forwarded reason = Forwarded::Path;  // Without `cached`.
  std::string written;                 // The resource whose cached objects it may change ("deployments.apps"); empty: none.
};
ReadRequest read_request(const kube::Request& request);

// What a GET's Accept fields ask for; unset: not what is held here. As the API server reads it: the first that fits wins.
struct Accepted {
  watchcache::Encoding encoding = watchcache::Encoding::Json;
  bool metadata_only = false;
};
std::optional<Accepted> negotiate(const kube::Headers& headers, watchcache::Verb verb, bool built_in);

// The revision in a written object as the API server returned it: JSON or enveloped protobuf; unset where there is none.
std::optional<watchcache::Revision> written_revision(std::string_view body);

}  // namespace dormouse::gateway
