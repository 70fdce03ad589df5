// SPDX-License-Identifier: Apache-2.0
#pragma once
// A string whose memory is overwritten before it is given back: what upstream's bytes are gathered in, for they may be Secrets.
//
// Ownership: a value.
// Threads: any.

#include <cstring>
#include <memory>
#include <string>

namespace dormouse::watchcache {

template <typename T>
struct ZeroingAllocator {
  using value_type = T;
  ZeroingAllocator() = default;
  template <typename U>
  ZeroingAllocator(const ZeroingAllocator<U>&) noexcept {}
  T* allocate(std::size_t count) { return std::allocator<T>().allocate(count); }
  void deallocate(T* pointer, std::size_t count) noexcept {
    explicit_bzero(static_cast<void*>(pointer), count * sizeof(T));
    std::allocator<T>().deallocate(pointer, count);
  }
  bool operator==(const ZeroingAllocator&) const = default;
};

using ZeroingString = std::basic_string<char, std::char_traits<char>, ZeroingAllocator<char>>;

}  // namespace dormouse::watchcache
