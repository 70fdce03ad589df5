// SPDX-License-Identifier: Apache-2.0
#pragma once
// A host function as a guest imports it. The folder above (wasi/) fills a table of these; wasm/ links it.

#include <cstdint>
#include <span>
#include <string_view>

#include "wasm/memory.h"

namespace dormouse::wasm {

union Value {
  std::int32_t i32;
  std::uint32_t u32;
  std::int64_t i64;
  std::uint64_t u64;
};

enum class Verdict : std::uint8_t {
  Return,  // The result is in values[0]; the guest goes on.
  Park,    // Only from a function with `parks`: the fiber sleeps; `call` is called again, with the same values, at each resume().
  Exit,    // The guest has ended itself with the code values[0].u32 (proc_exit).
  Trap,    // The guest is ended as if it had trapped (it broke a rule that has no errno).
};

// `host` is what Instance::Options gave. `values` holds the arguments and takes the result in [0].
// Called on the guest's fiber; must not throw, nor block.
using ImportFunction = Verdict (*)(void* host, Memory memory, Value* values) noexcept;

struct Import {
  std::string_view name;
  std::string_view parameters;  // A letter each: i = i32, I = i64.
  std::string_view results;     // "" or one letter.
  ImportFunction call;
  bool parks = false;
};

struct ImportModule {
  std::string_view name;  // "wasi_snapshot_preview1"
  std::span<const Import> imports;
};

}  // namespace dormouse::wasm
