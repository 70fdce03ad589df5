// SPDX-License-Identifier: Apache-2.0
#include "wasi/descriptor.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace dormouse::wasi {

DescriptorTable::~DescriptorTable() {
  const std::size_t slots = slots_.size();
  slots_.clear();
  account_.release(slots * sizeof(Descriptor));
}

Errno DescriptorTable::reserve() {
  if (open_ >= descriptors_max_) return Errno::MFile;
  if (open_ < slots_.size()) return Errno::Success;
  const std::size_t slots = std::min<std::size_t>(descriptors_max_, std::max(kSlotsMin, slots_.size() * 2));
  if (!account_.try_charge((slots - slots_.size()) * sizeof(Descriptor))) return Errno::NoMem;
  const std::size_t before = slots_.size();
  slots_.reserve(slots);
  slots_.resize(slots);
  free_.resize((slots + 63) / 64, 0);
  for (std::size_t fd = before; fd < slots; ++fd) set_free(static_cast<Fd>(fd), true);
  return Errno::Success;
}

Fd DescriptorTable::insert(Descriptor descriptor) {
  const auto word = std::find_if(free_.begin(), free_.end(), [](std::uint64_t bits) { return bits != 0; });
  CHECK(word != free_.end() && descriptor.kind != Descriptor::Kind::Closed);
  const Fd fd = static_cast<Fd>((word - free_.begin()) * 64 + std::countr_zero(*word));
  set_free(fd, false);
  slots_[fd] = std::move(descriptor);
  ++open_;
  return fd;
}

Descriptor DescriptorTable::remove(Fd fd) {
  CHECK(find(fd) != nullptr);
  set_free(fd, true);
  --open_;
  return std::exchange(slots_[fd], Descriptor{});
}

Descriptor DescriptorTable::replace(Fd from, Fd to) {
  CHECK(from != to && find(from) != nullptr && find(to) != nullptr);
  Descriptor replaced = std::exchange(slots_[to], std::exchange(slots_[from], Descriptor{}));
  set_free(from, true);
  --open_;
  return replaced;
}

void DescriptorTable::set_free(Fd fd, bool is_free) {
  const std::uint64_t bit = std::uint64_t{1} << (fd % 64);
  if (is_free) free_[fd / 64] |= bit;
  else free_[fd / 64] &= ~bit;
}

}  // namespace dormouse::wasi
