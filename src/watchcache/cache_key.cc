// SPDX-License-Identifier: Apache-2.0
#include "watchcache/cache_key.h"

#include <string_view>

namespace dormouse::watchcache {

std::string CacheKey::path() const {
  std::string path = group.empty() ? "/api/" + version : "/apis/" + group + "/" + version;
  if (!namespace_name.empty()) path += "/namespaces/" + namespace_name;
  return path + "/" + resource;
}

std::string CacheKey::group_resource() const { return group.empty() ? resource : resource + "." + group; }

std::string_view CacheKey::accept() const {
  if (encoding == Encoding::Protobuf) {
    return metadata_only ? "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1" : "application/vnd.kubernetes.protobuf";
  }
  return metadata_only ? "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1" : "application/json";
}

std::string_view CacheKey::list_content_type() const { return encoding == Encoding::Protobuf ? "application/vnd.kubernetes.protobuf" : "application/json"; }

std::string_view CacheKey::watch_content_type() const {
  return encoding == Encoding::Protobuf ? "application/vnd.kubernetes.protobuf;stream=watch" : "application/json";
}

}  // namespace dormouse::watchcache
