// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a request to the Kubernetes API asks for, read from its method and target as the API server reads it:
// the verb and resource that RBAC rules name.
//
//   GET /api/v1/namespaces/a/pods/b/log   get pods/log "b" in a
//   GET /apis/apps/v1/deployments?watch=1 watch deployments.apps in all namespaces
//   GET /healthz                          get /healthz (no resource)
//
// Only for counting and for messages: what a guest may do is decided by the API server alone.
//
// Ownership: values.
// Threads: any.

#include <string>
#include <string_view>

namespace dormouse::gateway {

struct RequestInfo {
  bool is_resource = false;
  std::string verb;          // get, list, watch, create, update, patch, delete, deletecollection, proxy; else the method in lower case.
  std::string path;          // Without query, percent-decoded.
  std::string api_group;     // Empty: the core group.
  std::string api_version;
  std::string namespace_name;
  std::string resource;
  std::string subresource;
  std::string name;

  // "pods/log", "deployments.apps", or the path.
  std::string what() const;
  // In a user's words: "watch greetings.demo.dormouse.io in team-a", "get pods/log web-0 in a", "get /healthz". Printable
  // whatever the guest wrote, and at most kTextBytesMax long.
  std::string text() const;
  static constexpr std::size_t kTextBytesMax = 200;
  bool operator==(const RequestInfo&) const = default;
};

// `target` is in origin form. Never fails: what is not a resource has its path.
RequestInfo parse_request_info(std::string_view method, std::string_view target);

// Whether the target's path has a segment "..", however encoded: two readers could mean different resources by it.
bool has_parent_segment(std::string_view target);

}  // namespace dormouse::gateway
