// SPDX-License-Identifier: Apache-2.0
#include "watchcache/object_set.h"

#include <algorithm>
#include <utility>

namespace dormouse::watchcache {

// The chunk in which `key` is or would be; REQUIRES of callers: there is one.
ObjectSet::Position ObjectSet::lower_bound(std::string_view key) const {
  const auto after = std::ranges::upper_bound(chunks_, key, {}, [](const std::shared_ptr<Chunk>& chunk) { return chunk->front()->key(); });
  if (after == chunks_.begin()) return {};
  const auto chunk = static_cast<std::size_t>(after - chunks_.begin() - 1);
  const auto found = std::ranges::lower_bound(*chunks_[chunk], key, {}, [](const ObjectPtr& object) { return object->key(); });
  if (found == chunks_[chunk]->end()) return {chunk + 1, 0};
  return {chunk, static_cast<std::size_t>(found - chunks_[chunk]->begin())};
}

ObjectPtr ObjectSet::find(std::string_view key) const {
  const Position at = lower_bound(key);
  if (at.chunk == chunks_.size()) return nullptr;
  const ObjectPtr& object = (*chunks_[at.chunk])[at.index];
  return object->key() == key ? object : nullptr;
}

ObjectSet::Chunk& ObjectSet::writable(std::size_t chunk) {
  if (chunks_[chunk].use_count() > 1) chunks_[chunk] = std::make_shared<Chunk>(*chunks_[chunk]);
  return *chunks_[chunk];
}

ObjectPtr ObjectSet::put(ObjectPtr object) {
  if (chunks_.empty()) {
    chunks_.push_back(std::make_shared<Chunk>(1, std::move(object)));
    size_ = 1;
    return nullptr;
  }
  Position at = lower_bound(object->key());
  if (at.chunk < chunks_.size() && (*chunks_[at.chunk])[at.index]->key() == object->key()) return std::exchange(writable(at.chunk)[at.index], std::move(object));
  // Before the first of a chunk is behind the last of the one before, so that appending fills chunks up.
  if (at.index == 0 && at.chunk > 0) at = {at.chunk - 1, chunks_[at.chunk - 1]->size()};
  Chunk* chunk = &writable(at.chunk);
  if (chunk->size() == kChunkMax) {
    // Ascending keys leave full chunks behind; others split in halves.
    const std::size_t split = at.index == kChunkMax && at.chunk + 1 == chunks_.size() ? kChunkMax : kChunkMax / 2;
    auto upper = std::make_shared<Chunk>(chunk->begin() + static_cast<std::ptrdiff_t>(split), chunk->end());
    chunk->resize(split);
    chunks_.insert(chunks_.begin() + static_cast<std::ptrdiff_t>(at.chunk) + 1, std::move(upper));
    if (at.index > split || split == kChunkMax) at = {at.chunk + 1, at.index - split};
    chunk = chunks_[at.chunk].get();
  }
  chunk->insert(chunk->begin() + static_cast<std::ptrdiff_t>(at.index), std::move(object));
  ++size_;
  return nullptr;
}

ObjectPtr ObjectSet::erase(std::string_view key) {
  const Position at = lower_bound(key);
  if (at.chunk == chunks_.size() || (*chunks_[at.chunk])[at.index]->key() != key) return nullptr;
  Chunk& chunk = writable(at.chunk);
  ObjectPtr gone = std::move(chunk[at.index]);
  chunk.erase(chunk.begin() + static_cast<std::ptrdiff_t>(at.index));
  --size_;
  if (chunk.empty()) {
    chunks_.erase(chunks_.begin() + static_cast<std::ptrdiff_t>(at.chunk));
  } else if (at.chunk + 1 < chunks_.size() && chunk.size() + chunks_[at.chunk + 1]->size() <= kChunkMax / 2) {
    // Two that are nearly empty become one.
    chunk.insert(chunk.end(), chunks_[at.chunk + 1]->begin(), chunks_[at.chunk + 1]->end());
    chunks_.erase(chunks_.begin() + static_cast<std::ptrdiff_t>(at.chunk) + 1);
  }
  return gone;
}

}  // namespace dormouse::watchcache
