// SPDX-License-Identifier: Apache-2.0
#include "gateway/request_info.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "http/field_syntax.h"

namespace dormouse::gateway {

namespace {

// Percent-decoding; a broken encoding stays as it is. In queries a plus is a blank.
std::string decoded(std::string_view text, bool query) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && http::hex_value(text[i + 1]) >= 0 && http::hex_value(text[i + 2]) >= 0) {
      out.push_back(static_cast<char>(http::hex_value(text[i + 1]) << 4 | http::hex_value(text[i + 2])));
      i += 2;
    } else {
      out.push_back(query && text[i] == '+' ? ' ' : text[i]);
    }
  }
  return out;
}

// The first value of a query's parameter.
std::optional<std::string> parameter(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    const std::size_t end = query.find('&');
    const std::string_view pair = query.substr(0, end);
    const std::size_t equals = pair.find('=');
    if (decoded(pair.substr(0, equals), true) == name) {
      return equals == std::string_view::npos ? std::string() : decoded(pair.substr(equals + 1), true);
    }
    if (end == std::string_view::npos) break;
    query.remove_prefix(end + 1);
  }
  return std::nullopt;
}

std::string verb_of(std::string_view method) {
  if (method == "POST") return "create";
  if (method == "GET" || method == "HEAD") return "get";
  if (method == "PUT") return "update";
  if (method == "PATCH") return "patch";
  if (method == "DELETE") return "delete";
  return {};
}

// The object's name in a field selector `metadata.name=NAME`, which RBAC's resourceNames match.
std::string selected_name(std::string_view query) {
  const std::optional<std::string> selector = parameter(query, "fieldSelector");
  std::string name;
  if (!selector) return name;
  http::every_list_element(*selector, [&](std::string_view term) {
    for (const std::string_view prefix : {"metadata.name==", "metadata.name="}) {
      if (!term.starts_with(prefix)) continue;
      name = term.substr(prefix.size());
      return false;
    }
    return true;
  });
  return name;
}

}  // namespace

std::string RequestInfo::what() const {
  if (!is_resource) return path;
  std::string text = resource;
  if (!api_group.empty()) text += "." + api_group;
  if (!subresource.empty()) text += "/" + subresource;
  return text;
}

RequestInfo parse_request_info(std::string_view method, std::string_view target) {
  RequestInfo info;
  const std::size_t question = target.find('?');
  const std::string_view query = question == std::string_view::npos ? std::string_view() : target.substr(question + 1);
  info.path = decoded(target.substr(0, question), false);
  info.verb = http::to_lower(method);

  std::string_view rest = info.path;
  while (rest.starts_with('/')) rest.remove_prefix(1);
  while (rest.ends_with('/')) rest.remove_suffix(1);
  std::vector<std::string_view> parts;
  for (std::size_t start = 0; start <= rest.size() && !rest.empty();) {
    const std::size_t end = std::min(rest.find('/', start), rest.size());
    parts.push_back(rest.substr(start, end - start));
    start = end + 1;
  }
  // api/VERSION/RESOURCE or apis/GROUP/VERSION/RESOURCE; anything shorter is discovery.
  if (parts.size() < 3 || (parts[0] != "api" && parts[0] != "apis")) return info;
  std::size_t at = 1;
  if (parts[0] == "apis") {
    if (parts.size() < 4) return info;
    info.api_group = parts[at++];
  }
  info.api_version = parts[at++];
  info.is_resource = true;
  const auto left = [&] { return parts.size() - at; };
  if (parts[at] == "proxy" || parts[at] == "watch") {
    // The oldest form: /api/v1/watch/pods.
    if (left() < 2) {
      info.is_resource = false;
      return info;
    }
    info.verb = parts[at++];
  } else {
    info.verb = verb_of(method);
  }
  if (parts[at] == "namespaces" && left() > 1) {
    info.namespace_name = parts[at + 1];
    if (left() > 2 && parts[at + 2] != "status" && parts[at + 2] != "finalize") at += 2;
  }
  info.resource = parts[at];
  if (left() > 1) info.name = parts[at + 1];
  if (left() > 2 && info.verb != "proxy") info.subresource = parts[at + 2];
  if (info.name.empty() && (info.verb == "get" || info.verb == "watch")) info.name = selected_name(query);
  if (left() == 1) {
    if (info.verb == "get") {
      const std::optional<std::string> watch = parameter(query, "watch");
      info.verb = watch && *watch != "0" && http::to_lower(*watch) != "false" ? "watch" : "list";
    } else if (info.verb == "delete") {
      info.verb = "deletecollection";
    }
  }
  return info;
}

std::string RequestInfo::text() const {
  std::string text = verb + ' ' + what();
  if (!name.empty()) text += ' ' + name;
  if (!namespace_name.empty() && resource != "namespaces") text += " in " + namespace_name;
  if (text.size() > kTextBytesMax) text.replace(kTextBytesMax - 3, std::string::npos, "...");
  std::ranges::replace_if(text, [](char c) { return c < ' ' || c > '~'; }, '?');
  return text;
}

bool has_parent_segment(std::string_view target) {
  std::string path = decoded(target.substr(0, target.find('?')), false);
  path.push_back('/');
  return path.find("/../") != std::string::npos;
}

}  // namespace dormouse::gateway
