// SPDX-License-Identifier: Apache-2.0
#pragma once
// The objects of a cache, sorted by key as the API server sorts them; a copy is an immutable snapshot and costs a
// pointer for each hundred objects, because chunks are shared until one side changes them.
//
// Ownership: copies share chunks and objects.
// Threads:   one.
// Invariant: keys ascend strictly within and across chunks; no chunk is empty or above kChunkMax.

#include <memory>
#include <string_view>
#include <vector>

#include "watchcache/object.h"

namespace dormouse::watchcache {

class ObjectSet {
 public:
  static constexpr std::size_t kChunkMax = 256;

  // Yields what was there under this key before, or null.
  ObjectPtr put(ObjectPtr object);
  ObjectPtr erase(std::string_view key);
  ObjectPtr find(std::string_view key) const;
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

  // Where a reader is. A position of one snapshot means nothing in another.
  struct Position {
    std::size_t chunk = 0, index = 0;
  };
  // The object there, going on to the next; null at the end.
  const ObjectPtr* next(Position& position) const {
    if (position.chunk == chunks_.size()) return nullptr;
    const Chunk& chunk = *chunks_[position.chunk];
    const ObjectPtr* const found = &chunk[position.index];
    if (++position.index == chunk.size()) position = {position.chunk + 1, 0};
    return found;
  }
  // The first object whose key is not below `key`.
  Position lower_bound(std::string_view key) const;

 private:
  using Chunk = std::vector<ObjectPtr>;
  Chunk& writable(std::size_t chunk);

  std::vector<std::shared_ptr<Chunk>> chunks_;
  std::size_t size_ = 0;
};

}  // namespace dormouse::watchcache
