// SPDX-License-Identifier: Apache-2.0
#include "watchcache/metadata.h"

#include <algorithm>
#include <optional>
#include <vector>

#include <fmt/format.h>

#include "watchcache/json_scan.h"
#include "watchcache/protobuf.h"

namespace dormouse::watchcache {

namespace {

// Of ObjectMeta in protobuf (meta/v1/generated.proto).
constexpr std::uint32_t kName = 1, kNamespace = 3, kUid = 5, kResourceVersion = 6, kLabels = 11, kManagedFields = 17;
constexpr std::size_t kNameBytesMax = 1024;  // DNS names have 253; some kinds (RBAC) allow more.

using Pairs = std::vector<std::pair<std::string, std::string>>;

// A string that may be there once. False: it is there twice, or is none.
bool once(JsonScan& scan, std::optional<std::string>& value) {
  if (value) return false;
  value.emplace();
  return scan.string(*value);
}

Result<Metadata> finish(Metadata metadata, std::string_view revision_text, Pairs labels) {
  const auto bad_name = [](std::string_view text) { return text.size() > kNameBytesMax || text.find_first_of(std::string_view("/\0", 2)) != std::string_view::npos; };
  if (metadata.name.empty()) return fail(ErrorCode::Corrupt, "an object without metadata.name");
  if (bad_name(metadata.name) || bad_name(metadata.namespace_name)) return fail(ErrorCode::Corrupt, "an object's name or namespace is none");
  const auto revision = parse_revision(revision_text);
  if (!revision) return fail(ErrorCode::Corrupt, "{}/{}: metadata.resourceVersion \"{}\" is no positive number", metadata.namespace_name, metadata.name, revision_text.substr(0, 64));
  metadata.revision = *revision;
  auto flat = Labels::create(std::move(labels));
  if (!flat) return fail(std::move(flat.error()));
  metadata.labels = std::move(*flat);
  return metadata;
}

Result<Metadata> read_json(std::string_view text) {
  Metadata metadata;
  Pairs labels;
  std::optional<std::string> kind, api_version, name, namespace_name, uid, revision;
  bool has_metadata = false, has_labels = false, has_managed = false;
  JsonScan scan(text);

  const auto label = [&](std::string_view key) {
    std::string value;
    if (!scan.string(value)) return false;
    labels.emplace_back(key, std::move(value));
    return true;
  };
  std::size_t before = 0;  // Where the member before the current one ended.
  const auto in_metadata = [&](std::string_view key) {
    const std::size_t member_at = scan.member_at();
    bool good = false;
    if (key == "name") good = once(scan, name);
    else if (key == "namespace") good = once(scan, namespace_name);
    else if (key == "uid") good = once(scan, uid);
    else if (key == "resourceVersion") {
      scan.peek();
      metadata.revision_at = static_cast<std::uint32_t>(scan.at());
      good = once(scan, revision);
      metadata.revision_end = static_cast<std::uint32_t>(scan.at());
    } else if (key == "labels" && scan.peek() != 'n') {
      good = !has_labels && scan.object(label);
      has_labels = true;
    } else if (key == "managedFields") {
      good = !has_managed && scan.value();
      has_managed = true;
      // With the comma before it, or, if it is the first, the one behind it.
      metadata.managed_at = static_cast<std::uint32_t>(before != 0 ? before : member_at);
      metadata.managed_end = static_cast<std::uint32_t>(scan.at());
      if (before == 0 && scan.peek() == ',') metadata.managed_end = static_cast<std::uint32_t>(scan.at() + 1);
    } else {
      good = scan.value();
    }
    before = scan.at();
    return good;
  };
  bool first_is_kind = false;
  std::size_t members = 0;
  const auto at_top = [&](std::string_view key) {
    ++members;
    if (key == "kind") {
      first_is_kind = members == 1;
      return once(scan, kind);
    }
    if (key == "apiVersion") {
      if (!once(scan, api_version)) return false;
      if (members == 2 && first_is_kind && scan.peek() == ',') metadata.type_end = static_cast<std::uint32_t>(scan.at() + 1);
      return true;
    }
    if (key != "metadata") return scan.value();
    if (has_metadata) return false;
    has_metadata = true;
    return scan.object(in_metadata);
  };
  if (!text.starts_with('{') || !scan.object(at_top) || scan.at() != text.size()) {
    return fail(ErrorCode::Corrupt, "JSON: malformed near byte {}, or something there twice", scan.at());
  }
  metadata.kind = std::move(kind).value_or("");
  metadata.api_version = std::move(api_version).value_or("");
  metadata.name = std::move(name).value_or("");
  metadata.namespace_name = std::move(namespace_name).value_or("");
  metadata.uid = std::move(uid).value_or("");
  return finish(std::move(metadata), revision.value_or(""), std::move(labels));
}

Result<Metadata> read_protobuf(std::string_view message) {
  Metadata metadata;
  Pairs labels;
  std::optional<std::string_view> object_meta, name, namespace_name, uid, revision;
  const auto once_more = [](std::optional<std::string_view>& value, const WireReader& reader) {
    if (value || !reader.is_bytes()) return false;
    value = reader.bytes();
    return true;
  };
  WireReader object(message);
  while (object.next()) {
    if (object.field() == 1 && !once_more(object_meta, object)) return fail(ErrorCode::Corrupt, "protobuf: no object, or its metadata is there twice");
  }
  if (object.malformed() || !object_meta) return fail(ErrorCode::Corrupt, "protobuf: malformed, or an object without metadata");
  WireReader meta(*object_meta);
  bool good = true;
  while (good && meta.next()) {
    switch (meta.field()) {
      case kName: good = once_more(name, meta); break;
      case kNamespace: good = once_more(namespace_name, meta); break;
      case kUid: good = once_more(uid, meta); break;
      case kResourceVersion: good = once_more(revision, meta); break;
      case kLabels: {
        std::optional<std::string_view> key, value;
        WireReader entry(meta.is_bytes() ? meta.bytes() : std::string_view("\0", 1));
        while (good && entry.next()) {
          if (entry.field() == 1) good = once_more(key, entry);
          else if (entry.field() == 2) good = once_more(value, entry);
        }
        good = good && !entry.malformed();
        labels.emplace_back(key.value_or(""), value.value_or(""));
        break;
      }
      default: break;
    }
  }
  if (!good || meta.malformed()) return fail(ErrorCode::Corrupt, "protobuf: an object's metadata is malformed, or something in it is there twice");
  metadata.name = name.value_or("");
  metadata.namespace_name = namespace_name.value_or("");
  metadata.uid = uid.value_or("");
  return finish(std::move(metadata), revision.value_or(""), std::move(labels));
}

}  // namespace

Result<Metadata> read_metadata(Encoding encoding, std::string_view bytes) { return encoding == Encoding::Json ? read_json(bytes) : read_protobuf(bytes); }

void append_with_metadata(std::string& out, std::string_view message, bool drop_managed_fields, Revision revision) {
  WireReader object(message);
  while (object.next()) {
    if (object.field() != 1) {
      out.append(object.whole());
      continue;
    }
    std::string changed;
    changed.reserve(object.bytes().size());
    WireReader meta(object.bytes());
    while (meta.next()) {
      if (drop_managed_fields && meta.field() == kManagedFields) continue;
      if (revision != 0 && meta.field() == kResourceVersion) {
        append_bytes_field(changed, kResourceVersion, fmt::to_string(revision));
      } else {
        changed.append(meta.whole());
      }
    }
    append_bytes_field(out, 1, changed);
  }
}

bool is_plain_type(std::string_view text) {
  return !text.empty() && text.size() <= 512 && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '/';
  });
}

}  // namespace dormouse::watchcache
