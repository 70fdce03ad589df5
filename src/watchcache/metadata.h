// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the cache must know of an object, read out of its bytes without knowing its type: in JSON the member "metadata",
// in protobuf field 1 (every Kubernetes object's ObjectMeta).
//
// Ownership: values.
// Threads: any.

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "watchcache/cache_key.h"
#include "watchcache/revision.h"
#include "watchcache/selector.h"

namespace dormouse::watchcache {

struct Metadata {
  std::string kind, api_version;  // Of JSON that has them.
  std::string namespace_name, name, uid;
  Revision revision = 0;
  Labels labels;

  // JSON only; all empty where there is no such thing.
  std::uint32_t type_end = 0;                        // Text up to here is {"kind":"…","apiVersion":"…", and nothing else.
  std::uint32_t revision_at = 0, revision_end = 0;   // metadata.resourceVersion's value, with its quotes.
  std::uint32_t managed_at = 0, managed_end = 0;     // The member managedFields and one comma.
};

// `bytes`: JSON text, which must be one whole well-formed object, or a protobuf message without its envelope.
// Errors: Corrupt (malformed, no name, no resourceVersion, something twice).
Result<Metadata> read_metadata(Encoding encoding, std::string_view bytes);

// Appends a protobuf message with its ObjectMeta changed: without managedFields, or with `revision` (0: as it is).
void append_with_metadata(std::string& out, std::string_view message, bool drop_managed_fields, Revision revision);

// Whether these can stand in answers as they are: "Deployment", "apps/v1".
bool is_plain_type(std::string_view text);

}  // namespace dormouse::watchcache
