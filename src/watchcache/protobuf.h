// SPDX-License-Identifier: Apache-2.0
#pragma once
// The protobuf wire format as far as Kubernetes needs it: reading a message field by field, and writing such fields.
// (developers.google.com/protocol-buffers/docs/encoding; runtime.Unknown's envelope: apimachinery's generated.proto.)
//
// Ownership: borrows the bytes.
// Threads: any.

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace dormouse::watchcache {

inline constexpr std::string_view kEnvelopeMagic{"k8s\0", 4};

class WireReader {
 public:
  explicit WireReader(std::string_view message) : text_(message) {}

  // Goes to the next field. False: at the end, or malformed().
  bool next();
  bool malformed() const { return malformed_; }
  std::uint32_t field() const { return field_; }
  bool is_bytes() const { return type_ == 2; }
  bool is_varint() const { return type_ == 0; }
  std::string_view bytes() const { return bytes_; }   // With is_bytes().
  std::uint64_t varint() const { return varint_; }    // With is_varint().
  std::string_view whole() const { return whole_; }   // Tag and value.

 private:
  bool read_varint(std::uint64_t& value);

  std::string_view text_, bytes_, whole_;
  std::uint64_t varint_ = 0;
  std::uint32_t field_ = 0;
  std::uint8_t type_ = 0;
  bool malformed_ = false;
};

void append_varint(std::string& out, std::uint64_t value);
std::size_t varint_size(std::uint64_t value);
void append_bytes_field(std::string& out, std::uint32_t field, std::string_view value);
void append_varint_field(std::string& out, std::uint32_t field, std::uint64_t value);
// Tag and length of a field whose value of `size` bytes follows.
void append_bytes_head(std::string& out, std::uint32_t field, std::uint64_t size);

// runtime.Unknown: what every protobuf answer of the API server is wrapped in.
struct Envelope {
  std::string_view api_version, kind, raw;
};
// Errors: Corrupt.
Result<Envelope> read_envelope(std::string_view text);
// All of the envelope that lies before a message of `size` bytes; the message follows, and that is all.
void append_envelope_head(std::string& out, std::string_view api_version, std::string_view kind, std::uint64_t size);

}  // namespace dormouse::watchcache
