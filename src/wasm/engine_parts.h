// SPDX-License-Identifier: Apache-2.0
#pragma once
// The inside of Engine, for this folder only.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "wasm/engine.h"
#include "wasm/wasmtime_extra.h"

namespace dormouse::wasm {

// What our host functions may use of a fiber's stack beyond the guest's own share. Only address space until used.
inline constexpr std::size_t kHostStackBytes = 1 << 20;
inline constexpr std::size_t kBacktraceFramesMax = 64;

template <auto deleter>
struct Deleter {
  void operator()(auto* handle) const { deleter(handle); }
};
using ErrorHandle = std::unique_ptr<wasmtime_error_t, Deleter<wasmtime_error_delete>>;
using TrapHandle = std::unique_ptr<wasm_trap_t, Deleter<wasm_trap_delete>>;

// sanitizers.cc
void keep_sanitizer_options();
// It is given up on purpose, with all that it points to.
void expect_leak(const void* object);

// The error's text; takes `error`.
std::string take_message(wasmtime_error_t* error);

class Slot;

struct StackRange {
  std::byte* base = nullptr;  // Above the guard page.
  std::size_t bytes = 0;
};

// While set, the next stacks that this thread makes are noted there.
extern thread_local StackRange* stack_wanted_by;
// While set, this thread's next stack comes from there, if it has one free.
extern thread_local Slot* stack_taken_from;

struct Engine::Parts {
  ~Parts() {
    if (engine != nullptr) wasm_engine_delete(engine);
  }
  // May be called from a signal handler, whatever that interrupts.
  void tick() noexcept;
  Options options;
  wasm_engine_t* engine = nullptr;
  std::uint64_t ticks = 0;  // Only by atomic operations.
  std::string fingerprint;
};

}  // namespace dormouse::wasm
