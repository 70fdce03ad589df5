// SPDX-License-Identifier: Apache-2.0
#include "watchcache/protobuf.h"

namespace dormouse::watchcache {

bool WireReader::read_varint(std::uint64_t& value) {
  value = 0;
  for (unsigned i = 0; i < 10 && i < text_.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text_[i]);
    if (i == 9 && byte > 1) return false;
    value |= static_cast<std::uint64_t>(byte & 0x7F) << (7 * i);
    if (byte < 0x80) {
      text_.remove_prefix(i + 1);
      return true;
    }
  }
  return false;
}

bool WireReader::next() {
  if (malformed_ || text_.empty()) return false;
  const std::string_view from = text_;
  std::uint64_t tag = 0, length = 0;
  malformed_ = true;
  if (!read_varint(tag) || tag >> 3 == 0 || tag >> 3 > 0x1FFFFFFF) return false;
  field_ = static_cast<std::uint32_t>(tag >> 3);
  type_ = tag & 7;
  switch (type_) {
    case 0:
      if (!read_varint(varint_)) return false;
      break;
    case 1: length = 8; break;
    case 2:
      if (!read_varint(length)) return false;
      break;
    case 5: length = 4; break;
    default: return false;  // Groups: Kubernetes has none.
  }
  if (length > text_.size()) return false;
  bytes_ = text_.substr(0, length);
  text_.remove_prefix(length);
  whole_ = from.substr(0, from.size() - text_.size());
  malformed_ = false;
  return true;
}

void append_varint(std::string& out, std::uint64_t value) {
  while (value >= 0x80) {
    out.push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out.push_back(static_cast<char>(value));
}

std::size_t varint_size(std::uint64_t value) {
  std::size_t size = 1;
  while (value >= 0x80) {
    value >>= 7;
    ++size;
  }
  return size;
}

void append_bytes_head(std::string& out, std::uint32_t field, std::uint64_t size) {
  append_varint(out, static_cast<std::uint64_t>(field) << 3 | 2);
  append_varint(out, size);
}

void append_bytes_field(std::string& out, std::uint32_t field, std::string_view value) {
  append_bytes_head(out, field, value.size());
  out.append(value);
}

void append_varint_field(std::string& out, std::uint32_t field, std::uint64_t value) {
  append_varint(out, static_cast<std::uint64_t>(field) << 3);
  append_varint(out, value);
}

Result<Envelope> read_envelope(std::string_view text) {
  if (!text.starts_with(kEnvelopeMagic)) return fail(ErrorCode::Corrupt, "protobuf: the bytes do not begin with Kubernetes' mark");
  Envelope envelope;
  bool raw = false;
  WireReader unknown(text.substr(kEnvelopeMagic.size()));
  while (unknown.next()) {
    if (!unknown.is_bytes()) continue;
    if (unknown.field() == 1) {
      WireReader type(unknown.bytes());
      while (type.next()) {
        if (type.is_bytes() && type.field() == 1) envelope.api_version = type.bytes();
        if (type.is_bytes() && type.field() == 2) envelope.kind = type.bytes();
      }
      if (type.malformed()) return fail(ErrorCode::Corrupt, "protobuf: the envelope's type is malformed");
    } else if (unknown.field() == 2) {
      if (raw) return fail(ErrorCode::Corrupt, "protobuf: the envelope holds two messages");
      raw = true;
      envelope.raw = unknown.bytes();
    } else if (unknown.field() == 3 && !unknown.bytes().empty()) {
      return fail(ErrorCode::Corrupt, "protobuf: the envelope's content is encoded once more, which nobody asked for");
    }
  }
  if (unknown.malformed()) return fail(ErrorCode::Corrupt, "protobuf: the envelope is malformed");
  return envelope;
}

void append_envelope_head(std::string& out, std::string_view api_version, std::string_view kind, std::uint64_t size) {
  out.append(kEnvelopeMagic);
  std::string type;
  append_bytes_field(type, 1, api_version);
  append_bytes_field(type, 2, kind);
  append_bytes_field(out, 1, type);
  append_bytes_head(out, 2, size);
}

}  // namespace dormouse::watchcache
