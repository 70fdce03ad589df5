// SPDX-License-Identifier: Apache-2.0
#pragma once
// One state of one Kubernetes object, immutable and shared by the store, the event log and whoever reads it.
//
// The bytes are as the API server sent them: JSON text (with kind and apiVersion put in front where a LIST left
// them out), or the protobuf message inside its envelope. What the cache must know of an object lies beside
// them, so that cold ones can be compressed.
//
// Ownership: ObjectPtr shares; every object shares its ObjectPool, which may thus outlive the cache.
// Threads:   those of one pool belong to one thread.
// Invariant: bytes(), once decompressed, never change; where they lie may (compress()).

#include <zstd.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/types.h"
#include "watchcache/cache_key.h"
#include "watchcache/revision.h"
#include "watchcache/selector.h"

namespace dormouse::watchcache {

// What the objects of one cache share: compression contexts and the sum of what they hold.
struct ObjectPool {
  ObjectPool(Encoding encoding, bool zero) : object_encoding(encoding), zero_on_free(zero) {}

  const Encoding object_encoding;
  const bool zero_on_free;            // Secrets.
  std::uint64_t plain_bytes = 0;      // Of objects held as they are.
  std::uint64_t compressed_bytes = 0; // Of the others.
  std::uint64_t objects = 0;
  std::uint64_t overhead_bytes = 0;   // Names, labels, the objects themselves.

  struct FreeCompressor { void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); } };
  struct FreeDecompressor { void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); } };
  std::unique_ptr<ZSTD_CCtx, FreeCompressor> compressor;
  std::unique_ptr<ZSTD_DCtx, FreeDecompressor> decompressor;
};

// Overwrites and empties.
void wipe(std::string& text);

class Object final : Immovable {
 public:
  // Reads the metadata of `bytes`: a JSON object, or a protobuf message without its envelope. `kind` and
  // `api_version` are put in front of JSON that has none.
  // Errors: Corrupt (not an object with a name and a resourceVersion; what it is instead).
  static Result<std::shared_ptr<const Object>> create(const std::shared_ptr<ObjectPool>& pool, std::string_view bytes, std::string_view kind,
                                                      std::string_view api_version);
  ~Object();

  std::string_view key() const { return key_; }  // "namespace/name", or "name": what the API server sorts by.
  std::string_view namespace_name() const { return namespace_bytes_ == 0 ? std::string_view() : key().substr(0, namespace_bytes_); }
  std::string_view name() const { return namespace_bytes_ == 0 ? key() : key().substr(namespace_bytes_ + 1); }
  std::string_view uid() const { return uid_; }
  Revision revision() const { return revision_; }
  const Labels& labels() const { return labels_; }

  // The object's bytes: where they lie, or decompressed into `scratch`. Valid while both live and, for longer than a call, only if pinned.
  std::string_view bytes(std::string& scratch) const;
  std::size_t size() const { return size_; }
  // JSON: how much of the front a LIST leaves out ("kind" and "apiVersion" of built-in types), so that an item is "{" and the rest.
  std::size_t list_skip() const { return list_skip_; }
  // The bytes without metadata.managedFields, or with another resourceVersion.
  void append_pruned(std::string& out) const;
  std::shared_ptr<const Object> with_revision(Revision revision) const;

  // Size of what append_pruned() appends.
  std::size_t pruned_size() const;
  bool secret() const { return pool_->zero_on_free; }

  bool compressed() const { return compressed_; }
  // While pinned it is not compressed: somebody holds a view of its bytes.
  void pin() const { ++pins_; }
  void unpin() const { --pins_; }
  // Gives back RAM; later readers pay for it. What is pinned or does not shrink by a tenth stays as it is.
  void compress() const;
  // When it was stored or read last, in the cache's own count of events: the lowest are the coldest.
  std::uint64_t last_use() const { return last_use_; }
  void touch(std::uint64_t use) const { last_use_ = use; }

 private:
  explicit Object(std::shared_ptr<ObjectPool> pool) : pool_(std::move(pool)) {}
  void account(bool add) const;
  void release_bytes() const;

  const std::shared_ptr<ObjectPool> pool_;
  std::string key_, uid_;
  Labels labels_;
  Revision revision_ = 0;
  std::uint32_t namespace_bytes_ = 0, size_ = 0, list_skip_ = 0;
  // JSON: the value of metadata.resourceVersion (with its quotes); the member managedFields with one comma. Empty: none.
  std::uint32_t revision_at_ = 0, revision_end_ = 0, managed_at_ = 0, managed_end_ = 0;
  mutable std::unique_ptr<char[]> data_;
  mutable std::uint32_t stored_ = 0;  // Bytes at data_.
  mutable std::uint32_t pins_ = 0;
  mutable bool compressed_ = false;
  mutable std::uint64_t last_use_ = 0;
};
using ObjectPtr = std::shared_ptr<const Object>;

}  // namespace dormouse::watchcache
