// SPDX-License-Identifier: Apache-2.0
#pragma once
// One piece of address space for what the engine keeps for one guest or one module, so that it can leave RAM.
//
// On the host's heap it would stay there while guests sleep. A slot has an arena instead, from which the engine's allocations
// are taken while a Filling lives; what is freed is only counted. Should the engine keep something that it allocated then
// for longer than the slot's owner lives, the slot is not used again.
//
// A guest's: its fiber's stack, and above it context and tables (58 KiB for a Rust operator, 2 MB for a controller-runtime one).
// They leave RAM together, in one mapping (see paging/). Begin and end are at multiples of what one page of page tables
// describes, so that those go too: the kernel keeps no table that a neighbour's mapping still reaches into.
//
//   slot | no access | stack ^ | arena v | no access |
//
// A module's: types, functions, traps (200 KiB for a Rust operator, 1.6 MB for a controller-runtime one), in a file's shared mapping.
// Others than its guests look into it, and write (reference counts): a private copy that is laid over while they do would lose
// that, while a page of a shared mapping can go at any time.
//
// Ownership: an Instance or a Module owns its slot, and gives it back last. Threads: one at a time; take functions any.

#include <cstddef>
#include <memory>
#include <span>

#include "base/result.h"
#include "base/types.h"
#include "wasm/wasmtime_extra.h"

namespace dormouse::wasm {

class Slot final : Immovable {
 public:
  // Both null when there is no room for one (address space, mappings, disk): then stack and allocations are where they always are.
  static std::unique_ptr<Slot> for_guest(std::size_t stack_bytes);
  static std::unique_ptr<Slot> for_module(UniqueFd file);  // An empty one without a name.
  ~Slot();

  // The stack, if nobody has it now and it is as large as that; else nothing.
  std::span<std::byte> lend_stack(std::size_t bytes);
  void return_stack() { stack_lent_ = false; }
  // Stack and arena. The same from the end of the first Filling on.
  std::span<std::byte> used() const { return {base_, used_bytes_}; }
  // Of a module: its pages stay in the file's page cache alone, until they are looked at.
  void drop_pages() const;

  // While it lives, what this thread allocates in the engine comes from the slot's arena (null: from the heap as ever).
  class Filling final : Immovable {
   public:
    explicit Filling(Slot* slot);
    ~Filling();

   private:
    Slot* const slot_;
  };
  // How many of guests were given up because something in them outlives its owner: there should be none. For tests.
  static std::size_t given_up();

 private:
  Slot(std::byte* base, std::size_t stack_bytes, std::size_t arena_bytes, std::size_t index);

  std::byte* const base_;  // Above the part without access.
  const std::size_t stack_bytes_;
  const std::size_t index_;
  std::size_t used_bytes_;  // Of which the rest of the slot has no access, once the arena is filled.
  dormouse_arena_t arena_;
  UniqueFd file_;  // Until a module's is filled.
  bool stack_lent_ = false;
};

}  // namespace dormouse::wasm
