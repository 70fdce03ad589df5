// SPDX-License-Identifier: Apache-2.0
#include "kubepp/object.h"

#include <time.h>

#include <cstdio>

#include "escape.h"

namespace kubepp {

std::string escape(std::string_view text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (char c : text) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '.' ||
                       c == '_' || c == '~';
    if (plain) {
      out += c;
    } else {
      out += '%';
      out += kHex[static_cast<unsigned char>(c) >> 4];
      out += kHex[c & 15];
    }
  }
  return out;
}

std::string Resource::path(std::string_view ns, std::string_view name, std::string_view subresource) const {
  std::string out = group.empty() ? "/api/" + version : "/apis/" + group + "/" + version;
  if (namespaced && !ns.empty()) out += "/namespaces/" + escape(ns);
  out += "/" + plural;
  if (!name.empty()) out += "/" + escape(name);
  if (!subresource.empty()) out += "/" + std::string(subresource);
  return out;
}

std::string_view name_of(const Json& object) { return object["metadata"]["name"].as_string(); }
std::string_view namespace_of(const Json& object) { return object["metadata"]["namespace"].as_string(); }
std::string_view uid_of(const Json& object) { return object["metadata"]["uid"].as_string(); }
std::int64_t generation_of(const Json& object) { return object["metadata"]["generation"].as_integer(); }

ObjectKey key_of(const Json& object) { return {std::string(namespace_of(object)), std::string(name_of(object))}; }

bool is_being_deleted(const Json& object) { return !object["metadata"]["deletionTimestamp"].is_null(); }

bool has_finalizer(const Json& object, std::string_view finalizer) {
  for (const Json& each : object["metadata"]["finalizers"].items()) {
    if (each.as_string() == finalizer) return true;
  }
  return false;
}

Json new_object(const Resource& resource, std::string_view ns, std::string_view name) {
  Json metadata = Json::object({{"name", name}});
  if (!ns.empty()) metadata["namespace"] = ns;
  return Json::object({{"apiVersion", resource.api_version()}, {"kind", resource.kind}, {"metadata", std::move(metadata)}});
}

Json owner_reference(const Resource& resource, const Json& owner) {
  return Json::object({{"apiVersion", resource.api_version()},
                       {"kind", resource.kind},
                       {"name", name_of(owner)},
                       {"uid", uid_of(owner)},
                       {"controller", true},
                       {"blockOwnerDeletion", true}});
}

Json condition(const Json& object, std::string_view type, bool status, std::string_view reason, std::string_view message) {
  const std::string_view word = status ? "True" : "False";
  std::string since = rfc3339_seconds(std::chrono::system_clock::now());
  for (const Json& old : object["status"]["conditions"].items()) {
    if (old["type"].as_string() == type && old["status"].as_string() == word) since = old["lastTransitionTime"].as_string(since);
  }
  return Json::object({{"type", type},
                       {"status", word},
                       {"reason", reason},
                       {"message", message},
                       {"observedGeneration", generation_of(object)},
                       {"lastTransitionTime", since}});
}

std::string rfc3339(std::chrono::system_clock::time_point time) {
  const auto micros = std::chrono::floor<std::chrono::microseconds>(time.time_since_epoch()).count();
  std::string out = rfc3339_seconds(time);
  char fraction[16];
  std::snprintf(fraction, sizeof(fraction), ".%06dZ", static_cast<int>(micros % 1000000));
  out.replace(out.size() - 1, 1, fraction);
  return out;
}

std::string rfc3339_seconds(std::chrono::system_clock::time_point time) {
  const time_t seconds = std::chrono::system_clock::to_time_t(std::chrono::floor<std::chrono::seconds>(time));
  tm parts;
  gmtime_r(&seconds, &parts);
  char text[32];
  strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

}  // namespace kubepp
