// SPDX-License-Identifier: Apache-2.0
#include "host/environment.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "base/log.h"

namespace dormouse::host {
namespace {

class Variables {
 public:
  void set(const std::string& name, std::string value) {
    const auto found = std::ranges::find_if(entries_, [&](const auto& entry) { return entry.first == name; });
    if (found != entries_.end()) found->second = std::move(value);
    else entries_.emplace_back(name, std::move(value));
  }
  const std::string* find(std::string_view name) const {
    const auto found = std::ranges::find_if(entries_, [&](const auto& entry) { return entry.first == name; });
    return found == entries_.end() ? nullptr : &found->second;
  }
  std::vector<std::string> take() {
    std::vector<std::string> lines;
    for (auto& [name, value] : entries_) lines.push_back(name + "=" + value);
    return lines;
  }

 private:
  std::vector<std::pair<std::string, std::string>> entries_;  // In the order of their first mention.
};

// Kubernetes' third_party/forked/golang/expansion rules: $(NAME) if NAME is known, $$ is a $, the rest stays.
std::string expand(std::string_view text, const std::function<const std::string*(std::string_view)>& find) {
  std::string out;
  while (!text.empty()) {
    const std::size_t dollar = text.find('$');
    out.append(text.substr(0, dollar));
    if (dollar == std::string_view::npos) break;
    text.remove_prefix(dollar);
    if (text.starts_with("$$")) {
      out += '$';
      text.remove_prefix(2);
      continue;
    }
    const std::size_t end = text.starts_with("$(") ? text.find(')') : std::string_view::npos;
    if (end == std::string_view::npos) {
      out += '$';
      text.remove_prefix(1);
      continue;
    }
    const std::string* value = find(text.substr(2, end - 2));
    out.append(value != nullptr ? std::string_view(*value) : text.substr(0, end + 1));
    text.remove_prefix(end + 1);
  }
  return out;
}

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "localhost";
}

// One value from a ConfigMap or Secret; nothing if it is optional and missing.
Result<std::optional<std::string>> keyed(const pods::KeyRef& ref, bool secret, const std::string& variable, const ConfigLookup& lookup) {
  const std::string_view kind = secret ? "Secret" : "ConfigMap";
  const ConfigData* data = lookup(secret, ref.name);
  if (data != nullptr) {
    if (const auto found = data->find(ref.key); found != data->end()) return found->second;
  }
  if (ref.optional) return std::nullopt;
  if (data == nullptr) return fail(ErrorCode::NotFound, "environment variable {}: {} \"{}\" does not exist", variable, kind, ref.name);
  return fail(ErrorCode::NotFound, "environment variable {}: {} \"{}\" has no key \"{}\"", variable, kind, ref.name, ref.key);
}

}  // namespace

std::string pod_field(const pods::Pod& pod, const std::string& path) {
  const auto keyed_value = [&](std::string_view prefix, const std::map<std::string, std::string>& values) -> std::string {
    if (path == prefix) {
      std::string lines;
      for (const auto& [key, value] : values) {
        lines += key + "=\"";
        append_json_escaped(lines, value);
        lines += "\"\n";
      }
      return lines;
    }
    const auto found = values.find(path.substr(prefix.size() + 2, path.size() - prefix.size() - 4));
    return found == values.end() ? "" : found->second;
  };
  if (path == "metadata.name") return pod.name;
  if (path == "metadata.namespace") return pod.name_space;
  if (path == "spec.serviceAccountName") return pod.service_account;
  if (path == "spec.nodeName") return host_name();
  if (path.starts_with("metadata.labels")) return keyed_value("metadata.labels", pod.labels);
  if (path.starts_with("metadata.annotations")) return keyed_value("metadata.annotations", pod.annotations);
  if (path.starts_with("status.hostIP") || path.starts_with("status.podIP")) return "127.0.0.1";
  return "";  // metadata.uid: a static pod has none.
}

std::string resource_field(const pods::Container& container, const pods::ResourceRef& ref, std::uint64_t memory_limit_bytes) {
  std::uint64_t value = 0;
  if (ref.resource.ends_with("memory")) value = container.memory_limit_bytes.value_or(memory_limit_bytes);
  else value = container.cpu_limit_millis.value_or(std::uint64_t{std::max(1U, std::thread::hardware_concurrency())} * 1000);
  return std::to_string((value + ref.divisor - 1) / ref.divisor);
}

Result<std::vector<std::string>> container_environment(const pods::Pod& pod, const pods::Container& container, const ConfigLookup& lookup, std::uint64_t memory_limit_bytes) {
  Variables variables;
  variables.set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
  variables.set("HOME", "/root");
  variables.set("USER", "root");
  variables.set("HOSTNAME", pod.name);
  variables.set("TMPDIR", "/tmp");
  variables.set("KUBERNETES_SERVICE_HOST", "kube");
  variables.set("KUBERNETES_SERVICE_PORT", "80");

  for (const pods::EnvFrom& from : container.env_from) {
    const ConfigData* data = lookup(from.secret, from.name);
    if (data == nullptr) {
      if (from.optional) continue;
      return fail(ErrorCode::NotFound, "envFrom: {} \"{}\" does not exist", from.secret ? "Secret" : "ConfigMap", from.name);
    }
    for (const auto& [key, value] : *data) variables.set(from.prefix + key, value);
  }
  for (const pods::EnvVar& variable : container.env) {
    if (const auto* text = std::get_if<std::string>(&variable.value)) {
      variables.set(variable.name, expand(*text, [&](std::string_view name) { return variables.find(name); }));
    } else if (const auto* field = std::get_if<pods::FieldRef>(&variable.value)) {
      variables.set(variable.name, pod_field(pod, field->path));
    } else if (const auto* resource = std::get_if<pods::ResourceRef>(&variable.value)) {
      variables.set(variable.name, resource_field(container, *resource, memory_limit_bytes));
    } else {
      const auto* config = std::get_if<pods::ConfigMapKey>(&variable.value);
      const pods::KeyRef& ref = config != nullptr ? static_cast<const pods::KeyRef&>(*config) : std::get<pods::SecretKey>(variable.value);
      auto value = keyed(ref, config == nullptr, variable.name, lookup);
      if (!value) return fail(value.error());
      if (*value) variables.set(variable.name, std::move(**value));
    }
  }
  std::vector<std::string> lines = variables.take();
  for (const std::string& line : lines) {
    if (line.find('\0') != std::string::npos) return fail(ErrorCode::InvalidArgument, "environment variable {} contains a NUL byte", line.substr(0, line.find('=')));
  }
  return lines;
}

std::vector<std::string> container_arguments(const pods::Container& container, const std::vector<std::string>& environment) {
  std::map<std::string, std::string, std::less<>> variables;
  for (const std::string& line : environment) variables.insert_or_assign(line.substr(0, line.find('=')), line.substr(line.find('=') + 1));
  const auto find = [&](std::string_view name) -> const std::string* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : &found->second;
  };
  std::vector<std::string> arguments;
  for (const std::string& word : container.command) arguments.push_back(expand(word, find));
  if (arguments.empty()) arguments.push_back("/" + std::filesystem::path(container.image).stem().string());
  for (const std::string& word : container.args) arguments.push_back(expand(word, find));
  return arguments;
}

}  // namespace dormouse::host
