// SPDX-License-Identifier: Apache-2.0
#pragma once
// How a WASI function is written here: a plain function of the process' state, the guest's memory and its own
// arguments, which returns an Errno; wasi_import<f>() makes the table's entry of it, signature included.

#include <algorithm>
#include <array>
#include <cstdint>
#include <expected>
#include <span>
#include <string_view>
#include <utility>

#include "wasi/process_state.h"
#include "wasm/import.h"

namespace dormouse::wasi {

inline constexpr std::uint32_t kVectorsMax = 1024;                     // IOV_MAX of Linux. More is Inval.
inline constexpr std::uint64_t kTransferBytesMax = 32 * 1024 * 1024;   // Of one read or write (5 ms of copying); more is moved by the next call.

template <typename T>
constexpr char wasm_type() {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  return sizeof(T) == 8 ? 'I' : 'i';
}

// A function by which nothing outside of the guest changes or is learnt is declared quiet (calls.h): see Counters::activity.
template <auto F>
inline constexpr bool kQuiet = false;

template <auto F>
struct Thunk;

template <typename... Arguments, Errno (*F)(ProcessState&, wasm::Memory, Arguments...)>
struct Thunk<F> {
  static constexpr std::array<char, sizeof...(Arguments)> kParameters{wasm_type<Arguments>()...};

  static wasm::Verdict call(void* host, wasm::Memory memory, wasm::Value* values) noexcept {
    return call(static_cast<Process*>(host)->state(), memory, values, std::index_sequence_for<Arguments...>());
  }

 private:
  template <typename T>
  static T argument(const wasm::Value& value) {
    if constexpr (sizeof(T) == 8) return static_cast<T>(value.u64);
    else return static_cast<T>(value.u32);
  }
  template <std::size_t... I>
  static wasm::Verdict call(ProcessState& process, wasm::Memory memory, wasm::Value* values, std::index_sequence<I...>) {
    if constexpr (!kQuiet<F>) ++process.counters.activity;
    const Errno error = F(process, memory, argument<Arguments>(values[I])...);
    values[0].u64 = static_cast<std::uint64_t>(error);
    return wasm::Verdict::Return;
  }
};

template <auto F>
constexpr wasm::Import wasi_import(std::string_view name) {
  using T = Thunk<F>;
  return {.name = name, .parameters = {T::kParameters.data(), T::kParameters.size()}, .results = "i", .call = &T::call};
}

// The guest's scatter/gather list, checked as a whole before anything moves.
class Vectors {
 public:
  // Errors: Fault, Inval (too many).
  static std::expected<Vectors, Errno> load(wasm::Memory memory, std::uint32_t address, std::uint32_t count) {
    if (!memory.slice(address, std::uint64_t{count} * sizeof(Iovec))) return std::unexpected(Errno::Fault);
    if (count > kVectorsMax) return std::unexpected(Errno::Inval);
    const Vectors vectors(memory, address, count);
    for (std::uint32_t i = 0; i < count; ++i) {
      const Iovec vector = vectors.at(i);
      if (!memory.slice(vector.buffer, vector.length)) return std::unexpected(Errno::Fault);
    }
    return vectors;
  }
  // Calls move(span) for each piece, at most kTransferBytesMax in all, until one moves less than the piece; `move` gives
  // {error, bytes}. The error counts only if nothing was moved at all.
  template <typename Move>
  Errno move(std::uint32_t& moved, Move&& piece_by_piece) const {
    std::uint64_t total = 0;
    for (std::uint32_t i = 0; i < count_ && total < kTransferBytesMax; ++i) {
      const Iovec vector = at(i);
      if (vector.length == 0) continue;
      const std::uint64_t length = std::min<std::uint64_t>(vector.length, kTransferBytesMax - total);
      // Checked again: what was moved may have gone over the list itself.
      const auto piece = memory_.slice(vector.buffer, length);
      if (!piece) break;
      const auto [error, bytes] = piece_by_piece(*piece);
      total += bytes;
      if (error != Errno::Success && total == 0) return error;
      if (error != Errno::Success || bytes < length) break;
    }
    moved = static_cast<std::uint32_t>(total);
    return Errno::Success;
  }
  // The first piece with room, alone: a peek leaves the bytes where they are, so a second piece would get the same.
  Vectors first() const {
    for (std::uint32_t i = 0; i < count_; ++i) {
      if (at(i).length > 0) return {memory_, address_ + i * static_cast<std::uint32_t>(sizeof(Iovec)), 1};
    }
    return *this;
  }

 private:
  Vectors(wasm::Memory memory, std::uint32_t address, std::uint32_t count) : memory_(memory), address_(address), count_(count) {}
  Iovec at(std::uint32_t i) const { return *memory_.load<Iovec>(address_ + i * static_cast<std::uint32_t>(sizeof(Iovec))); }

  wasm::Memory memory_;
  std::uint32_t address_;
  std::uint32_t count_;
};

// Errno of storing a result at the guest's address.
template <typename T>
Errno store(wasm::Memory memory, std::uint32_t address, const T& value) {
  return memory.store(address, value) ? Errno::Success : Errno::Fault;
}

}  // namespace dormouse::wasi
