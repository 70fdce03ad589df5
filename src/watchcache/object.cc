// SPDX-License-Identifier: Apache-2.0
#include "watchcache/object.h"

#include <cstring>
#include <limits>

#include <fmt/format.h>

#include "base/check.h"
#include "watchcache/metadata.h"

namespace dormouse::watchcache {

namespace {
constexpr int kCompressionLevel = 3;                      // A pod of 14.5 kB becomes 3.1 kB (measured; findings).
constexpr std::size_t kAllocatorBytes = 16;               // What malloc adds to each piece.
constexpr std::size_t kSharedCountBytes = 32;
}  // namespace

void wipe(std::string& text) {
  explicit_bzero(text.data(), text.size());
  text.clear();
}

Result<std::shared_ptr<const Object>> Object::create(const std::shared_ptr<ObjectPool>& pool, std::string_view bytes, std::string_view kind, std::string_view api_version) {
  if (bytes.size() > std::numeric_limits<std::uint32_t>::max() / 2) return fail(ErrorCode::ResourceExhausted, "an object of {} bytes", bytes.size());
  const bool json = pool->object_encoding == Encoding::Json;
  auto metadata = read_metadata(pool->object_encoding, bytes);
  if (!metadata) return fail(std::move(metadata.error()));

  std::string front;
  if (json) {
    if (metadata->kind.empty() != metadata->api_version.empty()) return fail(ErrorCode::Corrupt, "{}: kind without apiVersion, or the other way round", metadata->name);
    if (metadata->kind.empty()) {
      if (!is_plain_type(kind) || !is_plain_type(api_version)) return fail(ErrorCode::Corrupt, "{}: an object of no known kind", metadata->name);
      front = fmt::format(R"({{"kind":"{}","apiVersion":"{}",)", kind, api_version);
      bytes.remove_prefix(1);
    }
  }
  std::shared_ptr<Object> object(new Object(pool));
  object->namespace_bytes_ = static_cast<std::uint32_t>(metadata->namespace_name.size());
  if (!metadata->namespace_name.empty()) {
    object->key_.reserve(metadata->namespace_name.size() + 1 + metadata->name.size());
    object->key_.append(metadata->namespace_name).push_back('/');
  }
  object->key_ += metadata->name;
  object->uid_ = std::move(metadata->uid);
  object->labels_ = std::move(metadata->labels);
  object->revision_ = metadata->revision;
  object->size_ = object->stored_ = static_cast<std::uint32_t>(front.size() + bytes.size());
  object->data_ = std::make_unique_for_overwrite<char[]>(object->size_);
  std::memcpy(object->data_.get(), front.data(), front.size());
  std::memcpy(object->data_.get() + front.size(), bytes.data(), bytes.size());
  if (json) {
    const auto shift = static_cast<std::uint32_t>(front.empty() ? 0 : front.size() - 1);
    object->revision_at_ = metadata->revision_at + shift;
    object->revision_end_ = metadata->revision_end + shift;
    if (metadata->managed_end != 0) {
      object->managed_at_ = metadata->managed_at + shift;
      object->managed_end_ = metadata->managed_end + shift;
    }
    // What Go types leave out in a LIST's items; custom resources (apiVersion first) and PartialObjectMetadata keep it.
    if (!front.empty()) object->list_skip_ = static_cast<std::uint32_t>(front.size());
    else if (metadata->kind != "PartialObjectMetadata") object->list_skip_ = metadata->type_end;
  }
  object->account(true);
  return object;
}

Object::~Object() {
  account(false);
  release_bytes();
}

void Object::account(bool add) const {
  const std::uint64_t sign = add ? 1 : ~0ULL;
  pool_->objects += sign;
  pool_->overhead_bytes += sign * (sizeof(Object) + kSharedCountBytes + 3 * kAllocatorBytes + (key_.capacity() > 15 ? key_.capacity() + kAllocatorBytes : 0) +
                                   (uid_.capacity() > 15 ? uid_.capacity() + kAllocatorBytes : 0) + labels_.bytes());
  if (compressed_) {
    pool_->compressed_bytes += sign * stored_;
  } else {
    pool_->plain_bytes += sign * size_;
  }
}

void Object::release_bytes() const {
  if (pool_->zero_on_free && data_ != nullptr) explicit_bzero(data_.get(), stored_);
  data_.reset();
}

std::string_view Object::bytes(std::string& scratch) const {
  if (!compressed_) return {data_.get(), size_};
  if (pool_->decompressor == nullptr) pool_->decompressor.reset(ZSTD_createDCtx());
  scratch.resize(size_);
  const std::size_t size = ZSTD_decompressDCtx(pool_->decompressor.get(), scratch.data(), size_, data_.get(), stored_);
  CHECK(size == size_);
  return scratch;
}

void Object::compress() const {
  if (compressed_ || pins_ > 0) return;
  if (pool_->compressor == nullptr) pool_->compressor.reset(ZSTD_createCCtx());
  const std::size_t worth = size_ - size_ / 10;
  std::string out(worth, '\0');
  const std::size_t size = ZSTD_compressCCtx(pool_->compressor.get(), out.data(), out.size(), data_.get(), size_, kCompressionLevel);
  if (!ZSTD_isError(size)) {
    account(false);
    release_bytes();
    stored_ = static_cast<std::uint32_t>(size);
    data_ = std::make_unique_for_overwrite<char[]>(size);
    std::memcpy(data_.get(), out.data(), size);
    compressed_ = true;
    account(true);
  }
  if (pool_->zero_on_free) wipe(out);
}

void Object::append_pruned(std::string& out) const {
  std::string scratch;
  const std::string_view all = bytes(scratch);
  if (pool_->object_encoding == Encoding::Json) {
    out.append(all.substr(0, managed_at_)).append(all.substr(managed_end_));
  } else {
    append_with_metadata(out, all, true, 0);
  }
  if (pool_->zero_on_free) wipe(scratch);
}

std::size_t Object::pruned_size() const {
  if (pool_->object_encoding == Encoding::Json) return size_ - (managed_end_ - managed_at_);
  std::string out;
  append_pruned(out);
  const std::size_t size = out.size();
  if (pool_->zero_on_free) wipe(out);
  return size;
}

std::shared_ptr<const Object> Object::with_revision(Revision revision) const {
  std::string scratch, text;
  const std::string_view all = bytes(scratch);
  if (pool_->object_encoding == Encoding::Json) {
    text = fmt::format(R"({}"{}"{})", all.substr(0, revision_at_), revision, all.substr(revision_end_));
  } else {
    append_with_metadata(text, all, false, revision);
  }
  auto object = create(pool_, text, {}, {});
  CHECK(object.has_value());
  if (pool_->zero_on_free) {
    wipe(text);
    wipe(scratch);
  }
  return std::move(*object);
}

}  // namespace dormouse::watchcache
