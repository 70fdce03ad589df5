// SPDX-License-Identifier: Apache-2.0
#pragma once
// What one upstream watch is for: whoever asks for the same shares it.
//
// Ownership: values.
// Threads: any.

#include <compare>
#include <cstdint>
#include <string>

namespace dormouse::watchcache {

enum class Encoding : std::uint8_t { Json, Protobuf };

struct CacheKey {
  std::string group, version, resource;  // "apps", "v1", "deployments"; the core group is empty.
  std::string namespace_name;            // Empty: all namespaces, or a resource without namespaces.
  std::string label_selector;            // Canonical (LabelSelector::canonical()); empty: all.
  std::string field_selector;            // Canonical (FieldSelector::canonical()); empty: all.
  Encoding encoding = Encoding::Json;
  bool metadata_only = false;            // As PartialObjectMetadata.

  // "/apis/apps/v1/namespaces/x/deployments".
  std::string path() const;
  // "deployments.apps", as the API server's messages name it.
  std::string group_resource() const;
  // What the upstream request accepts: exactly this encoding, so that an answer is never of another one. `list`: of the LIST, which is made
  // of metadata by another name.
  std::string accept(bool list) const;
  // Content types of answers, the API server's and those to readers.
  std::string_view list_content_type() const;
  std::string_view watch_content_type() const;

  auto operator<=>(const CacheKey&) const = default;
};

}  // namespace dormouse::watchcache
