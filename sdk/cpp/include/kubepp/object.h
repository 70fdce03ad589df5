// SPDX-License-Identifier: Apache-2.0
#pragma once
// Kubernetes objects: what kind a resource is, and the parts of an object that every operator handles.

#include <chrono>
#include <compare>
#include <memory>
#include <string>
#include <string_view>

#include "kubepp/json.h"

namespace kubepp {

// A resource type. Values of it are constants of the program: most functions keep a reference.
struct Resource {
  std::string group;  // "" for the core group.
  std::string version;
  std::string plural;
  std::string kind;
  bool namespaced = true;

  std::string api_version() const { return group.empty() ? version : group + "/" + version; }
  // "/apis/GROUP/VERSION/namespaces/NS/PLURAL/NAME/SUBRESOURCE"; without namespace: all of them.
  std::string path(std::string_view ns, std::string_view name = {}, std::string_view subresource = {}) const;
};

inline const Resource kConfigMap{"", "v1", "configmaps", "ConfigMap"};
inline const Resource kSecret{"", "v1", "secrets", "Secret"};
inline const Resource kService{"", "v1", "services", "Service"};
inline const Resource kPod{"", "v1", "pods", "Pod"};
inline const Resource kDeployment{"apps", "v1", "deployments", "Deployment"};
inline const Resource kEvent{"events.k8s.io", "v1", "events", "Event"};

struct ObjectKey {
  std::string ns;
  std::string name;
  auto operator<=>(const ObjectKey&) const = default;
  std::string text() const { return ns.empty() ? name : ns + "/" + name; }
};

// An object that others may hold too, so nobody changes it; copy it to do so.
using Object = std::shared_ptr<const Json>;

std::string_view name_of(const Json& object);
std::string_view namespace_of(const Json& object);
std::string_view uid_of(const Json& object);
std::int64_t generation_of(const Json& object);
ObjectKey key_of(const Json& object);
bool is_being_deleted(const Json& object);
bool has_finalizer(const Json& object, std::string_view finalizer);

// {"apiVersion":…, "kind":…, "metadata": {"namespace":…, "name":…}}: the beginning of every object.
Json new_object(const Resource& resource, std::string_view ns, std::string_view name);
// The owner of an owned object: garbage collection and Controller::owns follow it. `owner` is of `resource`.
Json owner_reference(const Resource& resource, const Json& owner);
// An entry of status.conditions; lastTransitionTime is kept from `object` while the status of that type stays the same.
Json condition(const Json& object, std::string_view type, bool status, std::string_view reason, std::string_view message);

// "2026-11-24T12:00:00.123456Z" and, for metav1.Time, "2026-11-24T12:00:00Z".
std::string rfc3339(std::chrono::system_clock::time_point time);
std::string rfc3339_seconds(std::chrono::system_clock::time_point time);

}  // namespace kubepp
