// SPDX-License-Identifier: Apache-2.0
#pragma once
// The query of a GET, LIST or WATCH, and what the cache can do for it (KEP-2340, KEP-3157, and the tables of
// "Semantics for get and list" in the API concepts page).
//
// Whatever is malformed, unknown or contradictory is forwarded with a reason, so that the API server's own words
// reach the client; nothing is refused here for its form.
//
//   parse_query() ──▶ Query ──▶ decide(): Forward(reason)
//                                         Probe      learn the server's current revision, then decide again with it
//                                         Serve      from a cache that is at least at `revision`: wait for it if need be
//
// Ownership: values.
// Threads: any.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "watchcache/revision.h"
#include "watchcache/selector.h"

namespace dormouse::watchcache {

enum class Verb : std::uint8_t { Get, List, Watch };

// Why a request goes to the API server instead: a label of a metric, so there are few.
enum class ForwardReason : std::uint8_t {
  None, Malformed, UnknownParameter, Exact, Continue, Limit, FieldSelector, Pretty, Probe /* the revision could not be learned */,
};
std::string_view to_string(ForwardReason reason);

struct Query {
  Verb verb = Verb::List;
  ForwardReason forward = ForwardReason::None;  // Set: nothing else here is of use.

  // resourceVersion: unset, "0" (any), or at least / exactly / from this.
  enum class From : std::uint8_t { Unset, Any, Revision };
  From from = From::Unset;
  Revision revision = 0;        // With From::Revision.
  std::uint64_t limit = 0;      // 0: none. Ignored by the API server, and here, with From::Any.
  LabelSelector labels;
  FieldSelector fields;

  // With Verb::Watch.
  bool initial_events = false;  // sendInitialEvents, or implied by a resourceVersion that is unset or "0" (as the API server defaults it).
  bool bookmarks = false;
  std::uint32_t timeout_seconds = 0;  // 0: the server's default.
};

// `has_name`: the path names an object, so that it is a GET. `query` is what follows the `?`, percent-encoded.
Query parse_query(bool has_name, std::string_view query);

struct CacheAnswer {
  enum class Kind : std::uint8_t { Serve, Probe, Forward };
  Kind kind = Kind::Forward;
  ForwardReason reason = ForwardReason::None;  // With Forward.
  // With Serve: the cache must be at least here first (0: as it is). After kFreshnessWait in vain: Forward if
  // `consistent`, else refuse as too_large_revision() says (a WATCH: as an ERROR event).
  Revision revision = 0;
  bool consistent = false;
  // With a WATCH that does not begin with the state: the revision to begin after; unset: whatever the cache holds then.
  std::optional<Revision> watch_from;
};
// `server_revision`: the API server's current one, asked for after the request had come.
CacheAnswer decide(const Query& query, std::optional<Revision> server_revision);

// How long the API server lets a reader wait for a revision (cacher's blockTimeout).
inline constexpr int kFreshnessWaitSeconds = 3;

}  // namespace dormouse::watchcache
