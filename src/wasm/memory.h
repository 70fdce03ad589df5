// SPDX-License-Identifier: Apache-2.0
#pragma once
// A look into a guest's linear memory. Every address in it comes from the guest and is checked.
//
// Ownership: borrows the memory, and only for the host call it was made for: after the guest has run
// again, the memory may have grown. No Memory is kept across a park.

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <type_traits>

namespace dormouse::wasm {

class Memory {
 public:
  Memory() = default;
  Memory(std::byte* base, std::uint64_t size_bytes) : base_(base), size_bytes_(size_bytes) {}

  std::uint64_t size_bytes() const { return size_bytes_; }

  // The bytes [address, address + length), or nothing if any of them lies outside.
  std::optional<std::span<std::byte>> slice(std::uint32_t address, std::uint64_t length) const {
    if (length > size_bytes_ || address > size_bytes_ - length) return std::nullopt;
    return std::span<std::byte>(base_ + address, static_cast<std::size_t>(length));
  }
  // Little-endian as wasm is; the guest need not align.
  template <typename T>
    requires std::is_trivially_copyable_v<T>
  std::optional<T> load(std::uint32_t address) const {
    const auto bytes = slice(address, sizeof(T));
    if (!bytes) return std::nullopt;
    T value;
    std::memcpy(&value, bytes->data(), sizeof(T));
    return value;
  }
  template <typename T>
    requires std::is_trivially_copyable_v<T>
  [[nodiscard]] bool store(std::uint32_t address, const T& value) const {
    const auto bytes = slice(address, sizeof(T));
    if (!bytes) return false;
    std::memcpy(bytes->data(), &value, sizeof(T));
    return true;
  }

 private:
  std::byte* base_ = nullptr;
  std::uint64_t size_bytes_ = 0;
};

}  // namespace dormouse::wasm
