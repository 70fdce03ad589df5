// SPDX-License-Identifier: Apache-2.0
#include "pods/manifest.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <set>
#include <sstream>

#include "base/utf8.h"
#include "pods/host_ports.h"
#include "pods/probe_fields.h"
#include "pods/quantity.h"
#include "pods/strict_yaml.h"
#include <yaml-cpp/eventhandler.h>

namespace dormouse::pods {
namespace {

// RFC 1123 label (`dots` false) or subdomain, as Kubernetes names are.
bool is_dns_name(std::string_view name, std::size_t length_max, bool dots) {
  if (name.empty() || name.size() > length_max) return false;
  char previous = '.';
  for (const char c : name) {
    const bool alphanumeric = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (c == '.' ? !dots || previous == '.' || previous == '-' : !(alphanumeric || (c == '-' && previous != '.'))) return false;
    previous = c;
  }
  return previous != '-' && previous != '.';
}

std::string name_field(Object& object, std::string_view field, std::size_t length_max = 253, bool dots = true) {
  std::string name = object.required_string(field);
  if (!name.empty() && !is_dns_name(name, length_max, dots)) {
    object.error_at(field, fmt::format("\"{}\" is not a valid name: lower case letters, digits{} and '-', starting and ending with a letter or digit, at most {} characters", name, dots ? ", '.'" : "", length_max));
  }
  return name;
}

KeyRef key_ref(Object& object) {
  KeyRef ref;
  ref.name = object.required_string("name");
  ref.key = object.required_string("key");
  ref.optional = object.boolean("optional");
  return ref;
}

FieldRef field_ref(Object& object) {
  object.ignore({"apiVersion"});
  FieldRef ref{object.required_string("fieldPath")};
  static const std::set<std::string, std::less<>> known{
      "metadata.name", "metadata.namespace", "metadata.uid", "metadata.labels", "metadata.annotations",
      "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.podIP", "status.hostIPs", "status.podIPs"};
  const bool keyed = ref.path.ends_with("']") && (ref.path.starts_with("metadata.labels['") || ref.path.starts_with("metadata.annotations['"));
  if (!ref.path.empty() && !known.contains(ref.path) && !keyed) {
    const auto meant = nearest(ref.path, known);
    object.error_at("fieldPath", fmt::format("\"{}\" is not a field of a pod that can be referred to{}", ref.path, meant ? fmt::format("; did you mean \"{}\"?", *meant) : ""));
  }
  return ref;
}

ResourceRef resource_ref(Object& object) {
  object.ignore({"containerName"});
  ResourceRef ref;
  ref.resource = object.required_string("resource");
  static const std::set<std::string, std::less<>> known{"limits.cpu", "limits.memory", "requests.cpu", "requests.memory"};
  if (!ref.resource.empty() && !known.contains(ref.resource)) object.error_at("resource", fmt::format("must be one of {}", fmt::join(known, ", ")));
  const bool cpu = ref.resource.ends_with("cpu");
  ref.divisor = cpu ? 1000 : 1;
  if (const std::string divisor = object.string("divisor"); !divisor.empty() && divisor != "0") {
    const auto value = cpu ? parse_quantity_millis(divisor) : parse_quantity(divisor);
    if (!value) object.error_at("divisor", ": " + value.error().message);
    else if (*value == 0) object.error_at("divisor", "must not be zero");
    else ref.divisor = *value;
  }
  return ref;
}

EnvVar env_var(Object& object) {
  EnvVar variable;
  variable.name = object.required_string("name");
  if (variable.name.find('=') != std::string::npos) object.error_at("name", fmt::format("\"{}\" must not contain '='", variable.name));
  const bool has_value = object.has("value");
  variable.value = object.string("value");
  object.object("valueFrom", [&](Object& from) {
    if (has_value) from.error(fmt::format("{}: give value or valueFrom, not both", object.path()));
    int sources = 0;
    from.object("configMapKeyRef", [&](Object& ref) { variable.value = ConfigMapKey{key_ref(ref)}; ++sources; });
    from.object("secretKeyRef", [&](Object& ref) { variable.value = SecretKey{key_ref(ref)}; ++sources; });
    from.object("fieldRef", [&](Object& ref) { variable.value = field_ref(ref); ++sources; });
    from.object("resourceFieldRef", [&](Object& ref) { variable.value = resource_ref(ref); ++sources; });
    if (sources != 1) from.error(fmt::format("{} needs exactly one of configMapKeyRef, secretKeyRef, fieldRef, resourceFieldRef", from.path()));
  });
  return variable;
}

// A path inside a volume, as projected keys have: relative, without "..".
std::string inner_path(Object& object, std::string_view field) {
  std::string path = object.required_string(field);
  bool bad = path.starts_with('/') || path.size() > 4096;
  for (std::size_t start = 0; start <= path.size();) {
    const std::size_t end = std::min(path.find('/', start), path.size());
    const std::string_view part = std::string_view(path).substr(start, end - start);
    bad |= part == ".." || (part.empty() && !path.empty());
    start = end + 1;
  }
  if (bad) object.error_at(field, fmt::format("\"{}\" must be a relative path without '..'", path));
  return path;
}

std::vector<KeyPath> key_paths(Object& object) {
  std::vector<KeyPath> items;
  object.objects("items", [&](Object& item) {
    KeyPath entry;
    entry.key = item.required_string("key");
    entry.path = inner_path(item, "path");
    if (const auto mode = item.integer("mode", 0777)) entry.mode = static_cast<std::uint32_t>(*mode);
    items.push_back(std::move(entry));
  });
  return items;
}

ConfigMapVolume config_map_volume(Object& object) {
  object.ignore({"defaultMode"});
  return {object.required_string("name"), key_paths(object), object.boolean("optional")};
}

SecretVolume secret_volume(Object& object, std::string_view name_key) {
  object.ignore({"defaultMode"});
  return {object.required_string(name_key), key_paths(object), object.boolean("optional")};
}

DownwardVolume downward_volume(Object& object) {
  object.ignore({"defaultMode"});
  DownwardVolume volume;
  object.objects("items", [&](Object& item) {
    item.ignore({"mode"});
    DownwardItem entry;
    entry.path = inner_path(item, "path");
    int sources = 0;
    item.object("fieldRef", [&](Object& ref) { entry.source = field_ref(ref); ++sources; });
    item.object("resourceFieldRef", [&](Object& ref) { entry.source = resource_ref(ref); ++sources; });
    if (sources != 1) item.error(fmt::format("{} needs exactly one of fieldRef, resourceFieldRef", item.path()));
    volume.items.push_back(std::move(entry));
  });
  return volume;
}

Volume volume(Object& object) {
  Volume result;
  result.name = name_field(object, "name", 63, false);
  int sources = 0;
  object.object("emptyDir", [&](Object& source) {
    EmptyDir empty;
    source.ignore({"medium"});
    if (const std::string limit = source.string("sizeLimit"); !limit.empty()) {
      const auto bytes = parse_quantity(limit);
      if (bytes) empty.size_limit_bytes = *bytes;
      else source.error_at("sizeLimit", ": " + bytes.error().message);
    }
    result.source = empty;
    ++sources;
  });
  object.object("configMap", [&](Object& source) { result.source = config_map_volume(source); ++sources; });
  object.object("secret", [&](Object& source) { result.source = secret_volume(source, "secretName"); ++sources; });
  object.object("downwardAPI", [&](Object& source) { result.source = downward_volume(source); ++sources; });
  object.object("projected", [&](Object& source) {
    source.ignore({"defaultMode"});
    ProjectedVolume projected;
    source.objects("sources", [&](Object& item) {
      item.object("configMap", [&](Object& part) { projected.sources.emplace_back(config_map_volume(part)); });
      item.object("secret", [&](Object& part) { projected.sources.emplace_back(secret_volume(part, "name")); });
      item.object("downwardAPI", [&](Object& part) { projected.sources.emplace_back(downward_volume(part)); });
      item.refuse("serviceAccountToken", "is not given to a guest: Dormouse adds the identity to each request, so that no credential enters guest memory; leave it out");
      item.refuse("clusterTrustBundle", "is not supported");
    });
    result.source = std::move(projected);
    ++sources;
  });
  for (const std::string_view kind : {"hostPath", "persistentVolumeClaim", "nfs", "csi", "ephemeral", "image", "iscsi"}) {
    object.refuse(kind, "cannot be mounted: a guest's files are in memory; use configMap, secret, downwardAPI, projected or emptyDir");
  }
  if (sources != 1 && !result.name.empty()) object.error(fmt::format("{} needs exactly one of emptyDir, configMap, secret, downwardAPI, projected", object.path()));
  return result;
}

Container container(Object& object) {
  Container result;
  result.name = name_field(object, "name", 63, false);
  result.image = object.required_string("image");
  result.command = object.strings("command");
  result.args = object.strings("args");
  result.working_dir = object.string("workingDir");
  object.objects("env", [&](Object& variable) { result.env.push_back(env_var(variable)); });
  object.objects("envFrom", [&](Object& from) {
    EnvFrom entry;
    entry.prefix = from.string("prefix");
    int sources = 0;
    const auto read = [&](bool secret) {
      return [&, secret](Object& ref) {
        entry.name = ref.required_string("name");
        entry.optional = ref.boolean("optional");
        entry.secret = secret;
        ++sources;
      };
    };
    from.object("configMapRef", read(false));
    from.object("secretRef", read(true));
    if (sources != 1) from.error(fmt::format("{} needs exactly one of configMapRef, secretRef", from.path()));
    result.env_from.push_back(std::move(entry));
  });
  object.objects("volumeMounts", [&](Object& mount) {
    mount.ignore({"mountPropagation", "recursiveReadOnly"});
    Mount entry;
    entry.volume = mount.required_string("name");
    entry.path = mount.required_string("mountPath");
    if (!entry.path.empty() && !entry.path.starts_with('/')) mount.error_at("mountPath", fmt::format("\"{}\" must be an absolute path", entry.path));
    if (entry.path.find("..") != std::string::npos) mount.error_at("mountPath", "must not contain '..'");
    if (mount.has("subPath")) entry.sub_path = inner_path(mount, "subPath");
    mount.refuse("subPathExpr", "is not supported; use subPath");
    entry.read_only = mount.boolean("readOnly");
    result.mounts.push_back(std::move(entry));
  });
  object.objects("ports", [&](Object& port) {
    Port entry;
    entry.name = port.string("name");
    entry.container_port = static_cast<std::uint16_t>(port.integer("containerPort", 65535).value_or(0));
    if (entry.container_port == 0) port.error_at("containerPort", "is required, 1 to 65535");
    entry.host_port = static_cast<std::uint16_t>(port.integer("hostPort", 65535).value_or(0));
    entry.host_ip = port.string("hostIP");
    if (!entry.host_ip.empty() && !parse_ip(entry.host_ip)) port.error_at("hostIP", fmt::format("\"{}\" is not an IP address", entry.host_ip));
    if (const std::string protocol = port.string("protocol", "TCP"); protocol != "TCP") port.error_at("protocol", fmt::format("\"{}\" is not supported: TCP only", protocol));
    result.ports.push_back(std::move(entry));
  });
  object.object("resources", [&](Object& resources) {
    resources.ignore({"requests", "claims"});
    resources.object("limits", [&](Object& limits) {
      limits.ignore({"ephemeral-storage"});
      if (const std::string text = limits.string("memory"); !text.empty()) {
        const auto bytes = parse_quantity(text);
        if (!bytes) limits.error_at("memory", ": " + bytes.error().message);
        else if (*bytes == 0) limits.error_at("memory", "must not be zero");
        else result.memory_limit_bytes = *bytes;
      }
      if (const std::string text = limits.string("cpu"); !text.empty()) {
        const auto millis = parse_quantity_millis(text);
        if (!millis) limits.error_at("cpu", ": " + millis.error().message);
        else if (*millis == 0) limits.error_at("cpu", "must not be zero");
        else result.cpu_limit_millis = *millis;
      }
    });
  });
  object.ignore({"imagePullPolicy", "securityContext", "terminationMessagePath", "terminationMessagePolicy", "stdin", "stdinOnce", "tty", "resizePolicy"});
  result.startup_probe = read_probe(object, "startupProbe", result.ports);
  result.liveness_probe = read_probe(object, "livenessProbe", result.ports);
  result.readiness_probe = read_probe(object, "readinessProbe", result.ports);
  object.refuse("lifecycle", "is not supported: a guest has no shell to run hooks in; SIGTERM and the grace period work");
  object.refuse("volumeDevices", "is not supported: a guest has no devices");
  object.refuse("restartPolicy", "of a container is not supported; set the pod's");
  return result;
}

void pod_spec(Object& spec, Pod& pod) {
  pod.service_account = spec.string("serviceAccountName", spec.string("serviceAccount", "default"));
  const std::string policy = spec.string("restartPolicy", "Always");
  if (policy == "Always") pod.restart_policy = RestartPolicy::Always;
  else if (policy == "OnFailure") pod.restart_policy = RestartPolicy::OnFailure;
  else if (policy == "Never") pod.restart_policy = RestartPolicy::Never;
  else spec.error_at("restartPolicy", fmt::format("\"{}\" must be Always, OnFailure or Never", policy));
  if (const auto seconds = spec.integer("terminationGracePeriodSeconds", 86'400)) pod.grace_seconds = static_cast<std::uint32_t>(*seconds);
  spec.objects("volumes", [&](Object& item) { pod.volumes.push_back(volume(item)); });
  spec.objects("containers", [&](Object& item) {
    pod.containers.push_back(container(item));
    for (const Mount& mount : pod.containers.back().mounts) {
      const bool exists = std::ranges::any_of(pod.volumes, [&](const Volume& v) { return v.name == mount.volume; });
      if (!exists && !mount.volume.empty()) item.error(fmt::format("{} mounts the volume \"{}\", which spec.volumes does not have", item.path(), mount.volume));
    }
  });
  if (pod.containers.empty()) spec.error_at("containers", "must name at least one container");
  for (std::size_t i = 0; i < pod.containers.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (pod.containers[i].name == pod.containers[j].name && !pod.containers[i].name.empty()) spec.error(fmt::format("two containers are named \"{}\"", pod.containers[i].name));
    }
  }
  spec.refuse("initContainers", "is not supported: run what they do in the operator, or as a pod of its own");
  spec.refuse("ephemeralContainers", "is not supported");
  for (const std::string_view field : {"hostNetwork", "hostPID", "hostIPC"}) {
    if (spec.boolean(field)) spec.error_at(field, "is not possible: a guest has no kernel of its own to share");
  }
  if (!spec.boolean("automountServiceAccountToken", true)) spec.error_at("automountServiceAccountToken", "false is not supported: the identity is the host's to add; name a ServiceAccount without rights instead");
  spec.ignore({"affinity", "dnsConfig", "dnsPolicy", "enableServiceLinks", "hostAliases", "hostname", "hostUsers", "imagePullSecrets", "nodeName", "nodeSelector", "os",
               "overhead", "preemptionPolicy", "priority", "priorityClassName", "readinessGates", "resourceClaims", "runtimeClassName", "schedulerName", "schedulingGates",
               "securityContext", "setHostnameAsFQDN", "shareProcessNamespace", "subdomain", "tolerations", "topologySpreadConstraints", "serviceAccount", "activeDeadlineSeconds"});
}

void our_annotations(Object& map, Pod& pod) {
  static const std::set<std::string, std::less<>> known(std::begin(kAnnotations), std::end(kAnnotations));
  for (const auto& [key, value] : pod.annotations) {
    map.ignore({key});
    if (!key.starts_with(kAnnotationPrefix)) continue;
    if (!known.contains(key)) {
      const auto meant = nearest(key, known);
      map.error_at(key, fmt::format("is no annotation of Dormouse's{}", meant ? fmt::format("; did you mean \"{}\"?", *meant) : fmt::format("; there are {}", fmt::join(known, ", "))));
    } else if (key == kSleepAnnotation) {
      const auto mode = parse_sleep(value);
      if (mode) pod.sleep = *mode;
      else map.error_at(key, mode.error().message);
    } else if (key == kTimerSlackAnnotation) {
      const auto slack = parse_timer_slack(value);
      if (slack) pod.timer_slack_max = *slack;
      else map.error_at(key, slack.error().message);
    } else if (key == kPollOffloadAnnotation) {
      const auto offload = parse_poll_offload(value);
      if (offload) pod.poll_offload = *offload;
      else map.error_at(key, offload.error().message);
    } else if (key == kManagedFieldsAnnotation) {
      pod.prune_managed_fields = value == "prune";
      if (!pod.prune_managed_fields && value != "keep") map.error_at(key, fmt::format("\"{}\" is neither keep nor prune", value.substr(0, 60)));
    }
  }
}

void metadata(Object& object, Pod& pod) {
  for (auto& [key, value] : object.string_map("labels")) pod.labels.insert_or_assign(key, value);
  for (auto& [key, value] : object.string_map("annotations")) pod.annotations.insert_or_assign(key, value);
  object.object("annotations", [&](Object& map) { our_annotations(map, pod); });
  object.ignore({"creationTimestamp", "finalizers", "generateName", "generation", "managedFields", "ownerReferences", "resourceVersion", "selfLink", "uid"});
}

class Reader {
 public:
  Reader(Diagnostics& diagnostics, std::string_view default_namespace) : diagnostics_(diagnostics), default_namespace_(default_namespace) {}

  void document(const YAML::Node& node, std::string path) {
    Object object(node, std::move(path), diagnostics_);
    const std::string api_version = object.required_string("apiVersion");
    const std::string kind = object.required_string("kind");
    object.ignore({"metadata", "spec", "status", "items"});
    if (api_version == "v1" && kind == "List") {
      object.objects("items", [&](Object& item) { item.ignore({"apiVersion", "kind", "metadata", "spec", "status", "items", "data", "stringData", "rules", "roleRef", "subjects", "type"}); });
      const YAML::Node& readable = node;
      const YAML::Node items = readable["items"];
      if (items.IsDefined() && items.IsSequence() && path_depth_ == 0) {
        ++path_depth_;
        for (std::size_t i = 0; i < items.size(); ++i) document(items[i], fmt::format("items[{}]", i));
        --path_depth_;
      } else if (path_depth_ != 0) {
        object.error("a List inside a List is not supported");
      }
    } else if (api_version == "v1" && kind == "Pod") {
      pod(object);
    } else if (api_version == "apps/v1" && kind == "Deployment") {
      deployment(object);
    } else if (!kind.empty() && !api_version.empty()) {
      static const std::set<std::string, std::less<>> kinds{"Pod", "Deployment", "List"};
      const auto meant = nearest(kind, kinds);
      object.error(fmt::format("{}/{} is not run by Dormouse{}; it runs v1/Pod and apps/v1/Deployment. Apply other objects with kubectl", api_version, kind, meant && *meant != kind ? fmt::format(" (did you mean {}?)", *meant) : ""));
    }
  }

  std::vector<Pod> take() { return std::move(pods_); }

 private:
  void pod(Object& object) {
    Pod pod;
    pod.origin = object.at();
    object.object("metadata", [&](Object& meta) {
      pod.name = name_field(meta, "name");
      pod.name_space = meta.string("namespace", default_namespace_);
      metadata(meta, pod);
    });
    if (pod.name.empty() && !object.has("metadata")) object.error("metadata.name is required");
    object.object("spec", [&](Object& spec) { pod_spec(spec, pod); });
    if (!object.has("spec")) object.error("spec is required");
    add(object, std::move(pod));
  }

  void deployment(Object& object) {
    Pod pod;
    pod.origin = object.at();
    std::uint64_t replicas = 1;
    object.object("metadata", [&](Object& meta) {
      pod.name = name_field(meta, "name");
      pod.name_space = meta.string("namespace", default_namespace_);
      Pod unused;
      metadata(meta, unused);
      for (const char* key : kAnnotations) {
        if (unused.annotations.contains(key)) meta.error_at("annotations", fmt::format("hold {}, which has no effect on a Deployment but on its pods; move it to spec.template.metadata.annotations", key));
      }
    });
    if (!object.has("spec")) object.error("spec is required");
    object.object("spec", [&](Object& spec) {
      replicas = spec.integer("replicas", kPodsPerManifestMax).value_or(1);
      std::vector<std::pair<std::string, std::string>> wanted;
      spec.object("selector", [&](Object& selector) {
        wanted = selector.string_map("matchLabels");
        selector.ignore({"matchExpressions"});
      });
      spec.object("template", [&](Object& pod_template) {
        pod_template.object("metadata", [&](Object& meta) {
          meta.ignore({"name", "namespace"});
          metadata(meta, pod);
        });
        pod_template.object("spec", [&](Object& inner) { pod_spec(inner, pod); });
        if (!pod_template.has("spec")) pod_template.error(fmt::format("{}.spec is required", pod_template.path()));
      });
      if (!spec.has("template")) spec.error("spec.template is required");
      for (const auto& [key, value] : wanted) {
        const auto found = pod.labels.find(key);
        if (found == pod.labels.end() || found->second != value) spec.error(fmt::format("spec.selector.matchLabels asks for {}={}, which spec.template.metadata.labels does not have", key, value));
      }
      spec.ignore({"minReadySeconds", "paused", "progressDeadlineSeconds", "revisionHistoryLimit", "strategy"});
    });
    if (pod.restart_policy != RestartPolicy::Always) object.error("a Deployment's restartPolicy must be Always");
    const std::string base = pod.name;
    for (std::uint64_t i = 0; i < replicas; ++i) {
      pod.name = fmt::format("{}-{}", base, i);
      add(object, pod);
    }
  }

  void add(Object& object, Pod pod) {
    if (pods_.size() == kPodsPerManifestMax) {
      object.error(fmt::format("more than {} pods in one manifest", kPodsPerManifestMax));
      return;
    }
    if (pods_.size() > kPodsPerManifestMax) return;
    if (!pod.name.empty() && !names_.insert(pod.name_space + '/' + pod.name).second) object.error(fmt::format("the pod {}/{} is given twice", pod.name_space, pod.name));
    pods_.push_back(std::move(pod));
  }

  Diagnostics& diagnostics_;
  std::string default_namespace_;
  std::vector<Pod> pods_;
  std::set<std::string> names_;
  int path_depth_ = 0;
};

struct Document {
  std::string_view text;
  int first_line = 0;
};

// Cut at the lines that start with "---" or "...": by YAML 1.2 (9.1.2) no scalar can hold such a line. Not left to
// YAML::LoadAll, which yields documents without end for the one byte ",".
std::vector<Document> split_documents(std::string_view text) {
  std::vector<Document> documents;
  std::size_t begin = 0, at = 0;
  int line = 0, first_line = 0;
  while (at < text.size()) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view content = text.substr(at, end - at);
    const bool marker = content.starts_with("---") || content.starts_with("...");
    if (marker && (content.size() == 3 || content[3] == ' ' || content[3] == '\t' || content[3] == '\r')) {
      documents.push_back({text.substr(begin, at - begin), first_line});
      // What follows "--- " on its line belongs to the document.
      begin = at + 3;
      first_line = line;
    }
    at = end + 1;
    ++line;
  }
  documents.push_back({text.substr(std::min(begin, text.size())), first_line});
  return documents;
}

// Where the parser would go on after the document's one node; unset if it has read everything.
class NodesOnly final : public YAML::EventHandler {
 public:
  void OnDocumentStart(const YAML::Mark& mark) override { started_ = mark; }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t, const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}
  const YAML::Mark& started() const { return started_; }

 private:
  YAML::Mark started_;
};

std::optional<YAML::Mark> first_unread(std::string_view text) {
  std::istringstream stream{std::string(text)};
  YAML::Parser parser(stream);
  NodesOnly handler;
  if (!parser.HandleNextDocument(handler)) return std::nullopt;
  if (!parser.HandleNextDocument(handler)) return std::nullopt;
  return handler.started();
}

// Where and why the bytes are no YAML text, if they are none: YAML 1.2 section 5.1 allows no control characters, and a NUL makes yaml-cpp
// guess UTF-16 or UTF-32 and read another text than the one that was checked.
std::optional<std::string> not_text(std::string_view text) {
  const std::size_t utf8 = utf8_valid_bytes(text);
  const auto is_control = [](char c) { return (static_cast<unsigned char>(c) < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7f; };
  const std::size_t at = static_cast<std::size_t>(std::ranges::find_if(text.substr(0, utf8), is_control) - text.begin());
  if (at == text.size()) return std::nullopt;
  const std::string_view before = text.substr(0, at);
  const auto line = std::ranges::count(before, '\n') + 1;
  const std::size_t column = at - (before.find_last_of('\n') + 1) + 1;
  const bool utf16 = text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff") || (at <= 1 && text[at] == '\0');
  const std::string_view what = at < utf8 ? "a control character" : "not UTF-8: a byte";
  return fmt::format("{}:{}: {} {:#04x}; save the file as UTF-8 text{}", line, column, what, static_cast<unsigned char>(text[at]), utf16 ? " (it seems to be UTF-16)" : "");
}

}  // namespace

Result<Manifest> parse_manifest(std::string_view text, std::string_view source, std::string_view default_namespace) {
  if (text.size() > kManifestBytesMax) return fail(ErrorCode::ResourceExhausted, "{}: larger than {} MiB, which no manifest of pods should be", source, kManifestBytesMax >> 20);
  if (const auto bad = not_text(text)) return fail(ErrorCode::InvalidArgument, "{}:{}", source, *bad);
  Diagnostics diagnostics(source);
  Reader reader(diagnostics, default_namespace);
  const auto documents = split_documents(text);
  if (documents.size() > kPodsPerManifestMax) return fail(ErrorCode::ResourceExhausted, "{}: more than {} documents", source, kPodsPerManifestMax);
  for (const Document& document : documents) {
    diagnostics.set_first_line(document.first_line);
    try {
      // yaml-cpp reports by exception; none leaves this function.
      if (const auto rest = first_unread(document.text)) {
        diagnostics.error(*rest, "not valid YAML: unexpected text after the end of the document");
        continue;
      }
      const YAML::Node node = YAML::Load(std::string(document.text));
      if (!node.IsNull()) reader.document(node, "");
    } catch (const YAML::Exception& problem) {
      diagnostics.error(problem.mark, fmt::format("not valid YAML: {}", problem.msg));
    }
  }
  if (!diagnostics.errors().empty()) return fail(ErrorCode::InvalidArgument, "{}", fmt::join(diagnostics.errors(), "\n"));
  return Manifest{reader.take(), std::move(diagnostics.notes())};
}

}  // namespace dormouse::pods
