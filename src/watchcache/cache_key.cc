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

std::string CacheKey::accept(bool list) const {
  std::string accept(list_content_type());
  if (metadata_only) accept += list ? ";as=PartialObjectMetadataList;g=meta.k8s.io;v=v1" : ";as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
  return accept;
}

std::string_view CacheKey::list_content_type() const { return encoding == Encoding::Protobuf ? "application/vnd.kubernetes.protobuf" : "application/json"; }

std::string_view CacheKey::watch_content_type() const {
  return encoding == Encoding::Protobuf ? "application/vnd.kubernetes.protobuf;stream=watch" : "application/json";
}

}  // namespace dormouse::watchcache
