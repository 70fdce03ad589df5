// SPDX-License-Identifier: Apache-2.0
#pragma once
// A Kubernetes Pod as Dormouse runs it: what of the API's schema has a meaning for a guest.
//
// Plain values. Names and meanings are those of the core/v1 API; a field that is not here is either
// accepted and without effect (see manifest.h) or refused when the manifest is read.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "pods/sleep.h"
#include "pods/waking.h"

namespace dormouse::pods {

struct KeyRef {                        // configMapKeyRef, secretKeyRef
  std::string name, key;
  bool optional = false;
  bool operator==(const KeyRef&) const = default;
};
struct ConfigMapKey : KeyRef { bool operator==(const ConfigMapKey&) const = default; };
struct SecretKey : KeyRef { bool operator==(const SecretKey&) const = default; };
struct FieldRef {                      // "metadata.name", "metadata.labels['x']", ...
  std::string path;
  bool operator==(const FieldRef&) const = default;
};
struct ResourceRef {                   // "limits.memory", divided by `divisor`, rounded up
  std::string resource;
  std::uint64_t divisor = 1;           // Bytes for memory, milli-CPUs for CPU.
  bool operator==(const ResourceRef&) const = default;
};

struct EnvVar {
  std::string name;
  std::variant<std::string, ConfigMapKey, SecretKey, FieldRef, ResourceRef> value;
  bool operator==(const EnvVar&) const = default;
};
struct EnvFrom {
  std::string prefix, name;
  bool secret = false, optional = false;
  bool operator==(const EnvFrom&) const = default;
};

struct KeyPath {
  std::string key, path;
  std::optional<std::uint32_t> mode;
  bool operator==(const KeyPath&) const = default;
};
struct EmptyDir {
  std::optional<std::uint64_t> size_limit_bytes;
  bool operator==(const EmptyDir&) const = default;
};
struct ConfigMapVolume {
  std::string name;
  std::vector<KeyPath> items;          // Empty: every key.
  bool optional = false;
  bool operator==(const ConfigMapVolume&) const = default;
};
struct SecretVolume {
  std::string name;
  std::vector<KeyPath> items;
  bool optional = false;
  bool operator==(const SecretVolume&) const = default;
};
struct DownwardItem {
  std::string path;
  std::variant<FieldRef, ResourceRef> source;
  bool operator==(const DownwardItem&) const = default;
};
struct DownwardVolume {
  std::vector<DownwardItem> items;
  bool operator==(const DownwardVolume&) const = default;
};
using ProjectedSource = std::variant<ConfigMapVolume, SecretVolume, DownwardVolume>;
struct ProjectedVolume {
  std::vector<ProjectedSource> sources;
  bool operator==(const ProjectedVolume&) const = default;
};
struct Volume {
  std::string name;
  std::variant<EmptyDir, ConfigMapVolume, SecretVolume, DownwardVolume, ProjectedVolume> source;
  bool operator==(const Volume&) const = default;
};
struct Mount {
  std::string volume, path, sub_path;
  bool read_only = false;
  bool operator==(const Mount&) const = default;
};

struct Port {
  std::string name;
  std::uint16_t container_port = 0, host_port = 0;  // host_port 0: reached only through the host.
  std::string host_ip;
  bool operator==(const Port&) const = default;
};

// A probe that Dormouse can call; others are noted when the manifest is read. Defaults are the API's.
struct Probe {
  enum class Kind : std::uint8_t { HttpGet, TcpSocket };
  Kind kind = Kind::TcpSocket;
  std::uint16_t port = 0;
  std::string path = "/";              // With its query. HttpGet only, as the next.
  std::vector<std::pair<std::string, std::string>> headers;
  std::uint32_t initial_delay_s = 0, period_s = 10, timeout_s = 1;
  std::uint32_t success_threshold = 1, failure_threshold = 3;
  std::optional<std::uint32_t> grace_s;  // Instead of the pod's, when it is this probe that ends a run.
  bool operator==(const Probe&) const = default;
};

struct Container {
  std::string name, image;
  std::vector<std::string> command, args;
  std::string working_dir;
  std::vector<EnvVar> env;
  std::vector<EnvFrom> env_from;
  std::vector<Mount> mounts;
  std::vector<Port> ports;
  std::optional<Probe> startup_probe, liveness_probe, readiness_probe;
  std::optional<std::uint64_t> memory_limit_bytes;
  std::optional<std::uint64_t> cpu_limit_millis;
  bool operator==(const Container&) const = default;
};

enum class RestartPolicy : std::uint8_t { Always, OnFailure, Never };

struct Pod {
  std::string name, name_space;
  std::map<std::string, std::string> labels, annotations;
  std::string service_account = "default";
  RestartPolicy restart_policy = RestartPolicy::Always;
  std::uint32_t grace_seconds = 30;
  std::vector<Container> containers;
  std::vector<Volume> volumes;
  Nanoseconds timer_slack_max = kTimerSlackDefault;
  std::optional<PollOffload> poll_offload;  // Unset: each look is the guest's own.
  bool prune_managed_fields = false;        // Of what it reads from the shared watch cache.
  std::optional<SleepMode> sleep;      // From its annotation; unset: the host's default.
  std::string origin;                  // "greeter.yaml:12", for messages; not part of what the pod is.

  bool same_spec(const Pod& other) const {
    return name == other.name && name_space == other.name_space && labels == other.labels &&
           annotations == other.annotations && service_account == other.service_account &&
           restart_policy == other.restart_policy && grace_seconds == other.grace_seconds &&
           containers == other.containers && volumes == other.volumes;
  }
};

// Annotations that Dormouse reads. Any other under kAnnotationPrefix is an error: misspelt, or of another version.
inline constexpr std::string_view kAnnotationPrefix = "dormouse.io/";
inline constexpr const char* kAllowEgressAnnotation = "dormouse.io/allow-egress";  // "host:port,*.example.com:443"
inline constexpr const char* kSleepAnnotation = "dormouse.io/sleep";               // See sleep.h.
inline constexpr const char* kTimerSlackAnnotation = "dormouse.io/timer-slack";    // See waking.h.
inline constexpr const char* kPollOffloadAnnotation = "dormouse.io/poll-offload";  // The same.
// "prune": what comes from the shared watch cache comes without metadata.managedFields. "keep": as it is (the default).
inline constexpr const char* kManagedFieldsAnnotation = "dormouse.io/managed-fields";
inline constexpr const char* kAnnotations[] = {kAllowEgressAnnotation, kManagedFieldsAnnotation, kPollOffloadAnnotation, kSleepAnnotation, kTimerSlackAnnotation};

}  // namespace dormouse::pods
