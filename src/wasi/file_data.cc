// SPDX-License-Identifier: Apache-2.0
#include "wasi/file_data.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace dormouse::wasi {

std::size_t FileData::read(std::uint64_t offset, std::span<std::byte> into) const {
  if (offset >= size_bytes_) return 0;
  const std::size_t total = static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), size_bytes_ - offset));
  if (!given_.empty()) {
    std::memcpy(into.data(), given_.data() + offset, total);
    return total;
  }
  auto at = blocks_.lower_bound(offset / kBlockBytes);
  for (std::size_t done = 0; done < total;) {
    const std::uint64_t index = (offset + done) / kBlockBytes;
    const std::size_t within = (offset + done) % kBlockBytes;
    while (at != blocks_.end() && at->first < index) ++at;
    std::size_t length = std::min(total - done, kBlockBytes - within);
    if (at == blocks_.end()) {
      length = total - done;
      std::memset(into.data() + done, 0, length);
    } else if (at->first != index) {
      length = static_cast<std::size_t>(std::min<std::uint64_t>(total - done, at->first * kBlockBytes - (offset + done)));
      std::memset(into.data() + done, 0, length);
    } else {
      const std::size_t held = at->second.capacity > within ? std::min(length, at->second.capacity - within) : 0;
      if (held > 0) std::memcpy(into.data() + done, at->second.bytes.get() + within, held);
      std::memset(into.data() + done + held, 0, length - held);
    }
    done += length;
  }
  return total;
}

FileData::Written FileData::write(std::uint64_t offset, std::span<const std::byte> from) {
  if (from.empty()) return {};
  if (offset >= kSizeBytesMax) return {Errno::FBig, 0};
  const std::size_t total = static_cast<std::size_t>(std::min<std::uint64_t>(from.size(), kSizeBytesMax - offset));
  if (const Errno error = own(); error != Errno::Success) return {error, 0};
  std::size_t done = 0;
  while (done < total) {
    const std::size_t within = (offset + done) % kBlockBytes;
    const std::size_t length = std::min(total - done, kBlockBytes - within);
    Block* block = reserve((offset + done) / kBlockBytes, within + length);
    if (block == nullptr) break;
    std::memcpy(block->bytes.get() + within, from.data() + done, length);
    done += length;
  }
  if (done == 0) return {Errno::NoSpc, 0};
  size_bytes_ = std::max(size_bytes_, offset + done);
  return {Errno::Success, done};
}

Errno FileData::resize(std::uint64_t size_bytes) {
  if (size_bytes > kSizeBytesMax) return Errno::FBig;
  if (size_bytes <= given_.size()) {
    given_.resize(size_bytes);
  } else if (const Errno error = own(); error != Errno::Success) {
    return error;
  }
  if (size_bytes < size_bytes_) {
    drop_from((size_bytes + kBlockBytes - 1) / kBlockBytes);
    // What lies behind the end must read as zeros if the file grows again.
    if (const auto last = blocks_.find(size_bytes / kBlockBytes); last != blocks_.end()) {
      const std::size_t within = size_bytes % kBlockBytes;
      if (within < last->second.capacity) std::memset(last->second.bytes.get() + within, 0, last->second.capacity - within);
    }
  }
  size_bytes_ = size_bytes;
  return Errno::Success;
}

Errno FileData::allocate(std::uint64_t offset, std::uint64_t length) {
  if (offset > kSizeBytesMax || length > kSizeBytesMax - offset) return Errno::FBig;
  if (account_ != nullptr && length > account_->limit_bytes()) return Errno::NoSpc;
  if (const Errno error = own(); error != Errno::Success) return error;
  const std::uint64_t end = offset + length;
  for (std::uint64_t at = offset; at < end;) {
    const std::size_t within = at % kBlockBytes;
    const std::size_t part = static_cast<std::size_t>(std::min<std::uint64_t>(end - at, kBlockBytes - within));
    if (reserve(at / kBlockBytes, within + part) == nullptr) {
      drop_from((size_bytes_ + kBlockBytes - 1) / kBlockBytes);
      return Errno::NoSpc;
    }
    at += part;
  }
  size_bytes_ = std::max(size_bytes_, end);
  return Errno::Success;
}

Errno FileData::own() {
  if (given_.empty()) return Errno::Success;
  const std::string given = std::exchange(given_, {});
  size_bytes_ = 0;
  const Written written = write(0, std::as_bytes(std::span(given)));
  if (written.bytes == given.size()) return Errno::Success;
  drop_from(0);
  given_ = given;
  size_bytes_ = given.size();
  return Errno::NoSpc;
}

FileData::Block* FileData::reserve(std::uint64_t index, std::size_t capacity) {
  const auto found = blocks_.find(index);
  const std::size_t held = found == blocks_.end() ? 0 : found->second.capacity;
  if (capacity <= held) return &found->second;
  capacity = std::min(kBlockBytes, std::bit_ceil(std::max(capacity, kBlockBytesMin)));
  const std::size_t cost = capacity - held + (held == 0 ? kBlockOverheadBytes : 0);
  if (account_ != nullptr && !account_->try_charge(cost)) return nullptr;
  charged_bytes_ += cost;
  Block& block = found == blocks_.end() ? blocks_[index] : found->second;
  auto bytes = std::make_unique<std::byte[]>(capacity);
  if (held > 0) std::memcpy(bytes.get(), block.bytes.get(), held);
  block.bytes = std::move(bytes);
  block.capacity = capacity;
  return &block;
}

void FileData::drop_from(std::uint64_t index) {
  for (auto at = blocks_.lower_bound(index); at != blocks_.end(); at = blocks_.erase(at)) {
    const std::size_t cost = at->second.capacity + kBlockOverheadBytes;
    charged_bytes_ -= cost;
    if (account_ != nullptr) account_->release(cost);
  }
}

}  // namespace dormouse::wasi
