// SPDX-License-Identifier: Apache-2.0
#include "watchcache/list_stream.h"

#include <fmt/format.h>

#include "base/check.h"
#include "watchcache/protobuf.h"
#include "watchcache/read_pieces.h"

namespace dormouse::watchcache {

namespace {
constexpr std::size_t kScratchKept = 64 * 1024;  // A larger object's room is given back at once.
constexpr std::string_view kJsonTail = "]}\n";

std::size_t body_size(const Object& object, bool pruned) { return pruned ? object.pruned_size() : object.size(); }
}  // namespace

ListStream::ListStream(ObjectSet snapshot, Revision revision, Encoding encoding, std::string_view list_kind, std::string_view api_version, Options options)
    : snapshot_(std::move(snapshot)), revision_(revision), encoding_(encoding), options_(std::move(options)) {
  const std::uint64_t items = items_size();
  if (encoding_ == Encoding::Json) {
    head_ = fmt::format(R"({{"kind":"{}","apiVersion":"{}","metadata":{{"resourceVersion":"{}"}},"items":[)", list_kind, api_version, revision_);
  } else {
    std::string meta, list;
    append_bytes_field(meta, 2, fmt::to_string(revision_));
    append_bytes_field(list, 1, meta);
    append_envelope_head(head_, api_version, list_kind, list.size() + items);
    head_ += list;
  }
  size_ = head_.size() + items + (encoding_ == Encoding::Json ? kJsonTail.size() : 0);
  parts_[0] = head_;
  part_count_ = 1;
}

ListStream::~ListStream() { release(); }

void ListStream::release() {
  if (current_ == nullptr) return;
  if (current_->secret()) wipe(scratch_);
  current_->unpin();
  current_.reset();
  scratch_.clear();
  if (scratch_.capacity() > kScratchKept) scratch_.shrink_to_fit();
}

std::uint64_t ListStream::items_size() const {
  std::uint64_t size = 0;
  bool first = true;
  ObjectSet::Position position;
  while (const ObjectPtr* const object = snapshot_.next(position)) {
    if (!options_.selection.matches((*object)->namespace_name(), (*object)->name(), (*object)->labels())) continue;
    const std::size_t body = body_size(**object, options_.prune_managed_fields);
    if (encoding_ == Encoding::Protobuf) {
      size += 1 + varint_size(body) + body;
    } else {
      const std::size_t skip = (*object)->list_skip();
      size += body - skip + (skip > 0 ? 1 : 0) + (first ? 0 : 1);
    }
    first = false;
  }
  return size;
}

std::string_view ListStream::peek() {
  if (part_count_ == 0 && !load()) return {};
  return parts_[part_].substr(offset_);
}

void ListStream::consume(std::size_t bytes) {
  CHECK(part_count_ > 0 && bytes <= parts_[part_].size() - offset_);
  offset_ += bytes;
  if (offset_ < parts_[part_].size()) return;
  offset_ = 0;
  if (++part_ < part_count_) return;
  part_ = part_count_ = 0;
  release();
}

std::size_t ListStream::read(std::span<char> into) { return read_pieces(*this, into); }

bool ListStream::load() {
  if (ended_) return false;
  while (const ObjectPtr* const next = snapshot_.next(position_)) {
    const Object& object = **next;
    if (!options_.selection.matches(object.namespace_name(), object.name(), object.labels())) continue;
    current_ = *next;
    current_->pin();
    std::string_view body;
    if (options_.prune_managed_fields) {
      object.append_pruned(scratch_);
      body = scratch_;
    } else {
      body = object.bytes(scratch_);
    }
    if (encoding_ == Encoding::Protobuf) {
      separator_.clear();
      append_bytes_head(separator_, 2, body.size());
    } else {
      const std::size_t skip = object.list_skip();
      separator_ = first_ ? "" : ",";
      if (skip > 0) separator_ += '{';
      body.remove_prefix(skip);
    }
    first_ = false;
    if (!separator_.empty()) parts_[part_count_++] = separator_;
    parts_[part_count_++] = body;
    if (!body.empty()) return true;
    // An empty message: nothing but its head.
    if (--part_count_ > 0) return true;
    release();
  }
  ended_ = true;
  if (encoding_ == Encoding::Protobuf) return false;
  parts_[part_count_++] = kJsonTail;
  return true;
}

}  // namespace dormouse::watchcache
