// SPDX-License-Identifier: Apache-2.0
#pragma once
// The bytes of one file in memory, in blocks that exist only where something was written.
//
// A byte at offset 1 TiB costs one small block; a hole reads as zeros and costs nothing.
//
// Threads: not thread-safe; the owning File holds its volume's lock.
// Invariant: what the blocks take, and nothing else, is charged to the account. Nothing lies behind size().

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "base/memory_account.h"
#include "base/types.h"
#include "wasi/abi.h"

namespace dormouse::wasi {

class FileData final : Immovable {
 public:
  static constexpr std::size_t kBlockBytes = 16 * 1024;
  static constexpr std::size_t kBlockBytesMin = 64;                   // Of the first allocation; doubled as the block fills.
  static constexpr std::size_t kBlockOverheadBytes = 96;              // Two allocations and a tree node.
  static constexpr std::uint64_t kSizeBytesMax = std::uint64_t{1} << 44;  // 16 TiB, as ext4.

  // `account` may be null: nothing is charged. `given` is what the host has put there: not charged before it is changed.
  explicit FileData(MemoryAccount* account, std::string given = {}) : account_(account), given_(std::move(given)), size_bytes_(given_.size()) {}
  ~FileData() { drop_from(0); }

  std::uint64_t size_bytes() const { return size_bytes_; }
  std::uint64_t charged_bytes() const { return charged_bytes_; }

  std::size_t read(std::uint64_t offset, std::span<std::byte> into) const;
  struct Written {
    Errno error = Errno::Success;  // Only when nothing was written: NoSpc, FBig.
    std::size_t bytes = 0;
  };
  Written write(std::uint64_t offset, std::span<const std::byte> from);
  // Errors: FBig.
  Errno resize(std::uint64_t size_bytes);
  // Makes sure that writes in the range cannot fail for want of space; grows the file to its end. Errors: NoSpc, FBig.
  Errno allocate(std::uint64_t offset, std::uint64_t length);

 private:
  struct Block {
    std::unique_ptr<std::byte[]> bytes;
    std::size_t capacity = 0;
  };
  // A block of at least `capacity` bytes there, zeros where nothing was written; null when the account refuses.
  Block* reserve(std::uint64_t index, std::size_t capacity);
  void drop_from(std::uint64_t index);
  // Makes blocks of what was given. Errors: NoSpc.
  Errno own();

  MemoryAccount* const account_;
  std::string given_;  // Not empty: all there is.
  std::map<std::uint64_t, Block> blocks_;
  std::uint64_t size_bytes_ = 0;
  std::uint64_t charged_bytes_ = 0;
};

}  // namespace dormouse::wasi
