// SPDX-License-Identifier: Apache-2.0
#pragma once
// The body of a LIST's answer, spliced from stored bytes while it is read: nothing is serialised, nothing is gathered.
//
// Ownership: owned by whoever reads; shares the snapshot with the cache and other readers, and may outlive the cache.
// Threads:   the cache's.

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/types.h"
#include "watchcache/object_set.h"
#include "watchcache/selector.h"

namespace dormouse::watchcache {

class ListStream final : Immovable {
 public:
  struct Options {
    Selection selection;
    bool prune_managed_fields = false;
  };
  // Bytes that a reader holds beside the snapshot: the object that is being read, if it was compressed or is pruned.
  std::string_view peek();              // Empty: at the end.
  void consume(std::size_t bytes);      // REQUIRES: no more than peek() showed.
  std::size_t read(std::span<char> into);
  bool over() { return peek().empty(); }

  // The whole body's size: with it the answer needs no chunks.
  std::uint64_t size() const { return size_; }
  Revision revision() const { return revision_; }

  // Costs a pass over the snapshot.
  ListStream(ObjectSet snapshot, Revision revision, Encoding encoding, std::string_view list_kind, std::string_view api_version, Options options);
  ~ListStream();

 private:
  bool load();  // The next piece. False: that was all.
  void release();
  std::uint64_t items_size() const;

  const ObjectSet snapshot_;
  const Revision revision_;
  const Encoding encoding_;
  const Options options_;
  ObjectSet::Position position_;
  std::string head_, separator_, scratch_;
  std::uint64_t size_ = 0;
  std::string_view parts_[2];
  std::uint8_t part_ = 0, part_count_ = 0;
  std::size_t offset_ = 0;
  bool first_ = true, ended_ = false;
  ObjectPtr current_;  // Pinned.
};

}  // namespace dormouse::watchcache
