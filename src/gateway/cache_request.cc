// SPDX-License-Identifier: Apache-2.0
#include "gateway/cache_request.h"

#include <array>
#include <vector>

#include "base/check.h"
#include "gateway/request_info.h"
#include "http/field_syntax.h"
#include "watchcache/metadata.h"
#include "watchcache/protobuf.h"

namespace dormouse::gateway {

using watchcache::Encoding;
using watchcache::Verb;

namespace {

// Groups of Kubernetes' own types, which have protobuf. Some custom resources live under these names too: their cache is
// refused with 406, and SharedCache then remembers.
bool is_built_in(std::string_view group) { return !group.contains('.') || group.ends_with(".k8s.io"); }

bool changes_objects(const kube::Request& request, const RequestInfo& info) {
  if (request.method != "POST" && request.method != "PUT" && request.method != "PATCH" && request.method != "DELETE") return false;
  // Tokens and reviews are questions, a proxied request is somebody else's, and a dry run changes nothing.
  return info.subresource != "token" && info.subresource != "proxy" && !info.api_group.starts_with("authorization.") && !info.api_group.starts_with("authentication.") &&
         request.target.find("dryRun=") == std::string::npos;
}

}  // namespace

std::string_view to_string(Forwarded reason) {
  static constexpr std::array<std::string_view, static_cast<std::size_t>(Forwarded::kCount)> kNames = {
      "no_identity", "write", "not_a_resource", "path", "accept", "query", "consistent_read", "limit", "cold", "not_ready", "older", "too_old", "missing", "full", "denied", "review_failed", "no_donor"};
  return kNames.at(static_cast<std::size_t>(reason));
}

watchcache::Selection CacheRequest::selection() const { return {.namespace_name = key.namespace_name, .name = name, .labels = query.labels, .fields = query.fields}; }

std::optional<Accepted> negotiate(const kube::Headers& headers, Verb verb, bool built_in) {
  std::vector<std::string_view> clauses;
  for (const auto& [name, value] : headers) {
    if (name != "accept") continue;
    if (value.contains('"')) return std::nullopt;
    http::every_list_element(value, [&clauses](std::string_view clause) {
      clauses.push_back(clause);
      return true;
    });
  }
  if (clauses.empty()) return Accepted{};
  for (std::string_view clause : clauses) {
    const std::string type = http::to_lower(http::trim_blanks(clause.substr(0, clause.find(';'))));
    std::string_view as, group, version;
    bool stream = false;
    clause.remove_prefix(std::min(clause.find(';'), clause.size()));
    while (!clause.empty()) {
      clause.remove_prefix(1);
      const std::string_view parameter = http::trim_blanks(clause.substr(0, clause.find(';')));
      clause.remove_prefix(std::min(clause.find(';'), clause.size()));
      const std::size_t equals = parameter.find('=');
      if (equals == std::string_view::npos || equals + 1 == parameter.size()) return std::nullopt;
      const std::string_view key = parameter.substr(0, equals), value = parameter.substr(equals + 1);
      if (key == "as") as = value;
      else if (key == "g") group = value;
      else if (key == "v") version = value;
      else if (key == "stream" && value == "watch" && verb == Verb::Watch) stream = true;
      else return std::nullopt;  // Weights among them: what they mean for the order is the API server's affair.
    }
    const bool json = type == "application/json" || type == "*/*" || type == "application/*";
    const bool protobuf = type == "application/vnd.kubernetes.protobuf";
    if (!json && !protobuf) return std::nullopt;
    if ((type.contains('*') && (!as.empty() || clauses.size() > 1)) || (stream && !as.empty())) return std::nullopt;
    if (as.empty()) {
      if (!group.empty() || !version.empty()) return std::nullopt;
      if (protobuf && !built_in) continue;  // The API server goes on to the next in the list.
      return Accepted{protobuf ? Encoding::Protobuf : Encoding::Json, false};
    }
    const std::string_view wanted = verb == Verb::List ? "PartialObjectMetadataList" : "PartialObjectMetadata";
    if (as != wanted || group != "meta.k8s.io" || version != "v1") return std::nullopt;
    return Accepted{protobuf ? Encoding::Protobuf : Encoding::Json, true};
  }
  return std::nullopt;
}

ReadRequest read_request(const kube::Request& request) {
  const RequestInfo info = parse_request_info(request.method, request.target);
  if (request.method != "GET") {
    if (!info.is_resource) return {.reason = Forwarded::NotAResource};
    return {.reason = Forwarded::Write, .written = changes_objects(request, info) ? watchcache::CacheKey{.group = info.api_group, .resource = info.resource}.group_resource() : std::string()};
  }
  if (!info.is_resource || !info.subresource.empty()) return {.reason = Forwarded::NotAResource};
  if (request.has_body) return {.reason = Forwarded::Path};

  CacheRequest read;
  read.key.group = info.api_group;
  read.key.version = info.api_version;
  read.key.resource = info.resource;
  read.key.namespace_name = info.namespace_name;
  const std::size_t question = std::min(request.target.find('?'), request.target.size());
  const std::string_view path = std::string_view(request.target).substr(0, question);
  const std::string_view query = std::string_view(request.target).substr(std::min(question + 1, request.target.size()));
  const std::string collection = read.key.path();
  const bool has_name = path != collection;
  // "/api/v1/namespaces/x" is the object x, and so reads parse_request_info: of the namespace x.
  if (has_name && info.resource == "namespaces") return {.reason = Forwarded::Path};
  if (has_name && path != collection + "/" + info.name) return {.reason = Forwarded::Path};
  if (info.verb != "get" && info.verb != "list" && info.verb != "watch") return {.reason = Forwarded::NotAResource};

  read.query = watchcache::parse_query(has_name, query);
  if (read.query.forward != watchcache::ForwardReason::None) return {.reason = Forwarded::Query};
  const Verb verb = read.query.verb;
  // Two readers of one request must not differ about what it is.
  if (info.verb != (verb == Verb::Get ? "get" : verb == Verb::List ? "list" : "watch")) return {.reason = Forwarded::Path};
  if (read.query.fields.names_namespace()) return {.reason = Forwarded::Query};
  // The old form of "first the state" has no bookmark that ends it.
  if (verb == Verb::Watch && read.query.initial_events && !query.contains("sendInitialEvents") && read.query.bookmarks) return {.reason = Forwarded::Query};

  const auto accepted = negotiate(request.headers, verb, is_built_in(read.key.group));
  if (!accepted) return {.reason = Forwarded::Accept};
  read.key.encoding = accepted->encoding;
  read.key.metadata_only = accepted->metadata_only;
  read.key.label_selector = read.query.labels.canonical();
  read.key.field_selector = read.query.fields.canonical();
  if (has_name) read.name = info.name;
  read.resource = read.key.group_resource();
  read.rights = {.verb = info.verb, .group = read.key.group, .version = read.key.version, .resource = read.key.resource, .namespace_name = read.key.namespace_name,
                 .name = has_name ? info.name : std::string(read.query.fields.exact_name()), .field_selector = read.key.field_selector, .label_selector = read.key.label_selector};
  return {.cached = std::move(read)};
}

std::optional<watchcache::Revision> written_revision(std::string_view body) {
  Encoding encoding = Encoding::Json;
  if (body.starts_with(watchcache::kEnvelopeMagic)) {
    const auto envelope = watchcache::read_envelope(body);
    if (!envelope || envelope->kind == "Status") return std::nullopt;
    encoding = Encoding::Protobuf;
    body = envelope->raw;
  } else {
    body = body.substr(0, body.find_last_not_of(" \t\r\n") + 1);  // The API server ends an answer in JSON with a new line.
  }
  const auto metadata = watchcache::read_metadata(encoding, body);
  if (!metadata || metadata->revision == 0) return std::nullopt;
  return metadata->revision;
}

}  // namespace dormouse::gateway
