// SPDX-License-Identifier: Apache-2.0
#pragma once
// What third_party/wasmtime adds to the C API; its src/lib.rs says why. Include this instead of <wasmtime.h>.

#include <wasmtime.h>

#include <cstddef>
#include <cstdint>

extern "C" {

// `env` must outlive the store. The callbacks answer whether `current -> desired` (bytes of linear memory,
// elements of a table) is granted; they must not touch the store.
void dormouse_store_limiter(wasmtime_store_t* store, void* env, bool (*memory)(void* env, std::size_t current, std::size_t desired),
                            bool (*table)(void* env, std::size_t current, std::size_t desired));

// Settings without a setter in the C API: frames kept of a backtrace, no DWARF parsing, no component-model concurrency.
void dormouse_config_extra(wasm_config_t* config, std::size_t backtrace_frames);

// wasm_engine_new_with_config(), but what cannot be had is an error, not a panic. Takes `config`.
wasmtime_error_t* dormouse_engine_new(wasm_config_t* config, wasm_engine_t** out);

std::uint64_t dormouse_engine_fingerprint(const wasm_engine_t* engine);

// Compiles without loading the result and hands its bytes to `write`, which must not throw.
wasmtime_error_t* dormouse_precompile(const wasm_engine_t* engine, const std::uint8_t* wasm, std::size_t length, void* env,
                                      bool (*write)(void* env, const std::uint8_t* bytes, std::size_t length));

// The readable form of a mangled Rust or C++ name, cut to `capacity`; 0 if it is neither.
std::size_t dormouse_demangle(const std::uint8_t* name, std::size_t length, std::uint8_t* out, std::size_t capacity);

// Where this thread's allocations within the engine, of `least` bytes and more, come from: addresses [next, end) of zeros.
typedef struct dormouse_arena {
  std::uintptr_t next;
  std::uintptr_t end;
  std::size_t least;
} dormouse_arena_t;

// The addresses that arenas are in. `live` counts a slot's allocations that are still in use; it must stay. Once.
void dormouse_arenas_reserve(std::uintptr_t base, std::size_t slot_bytes, std::size_t slots, std::uint32_t* live);

// From now on from `arena`; null: from the heap.
void dormouse_arena_fill(dormouse_arena_t* arena);

}
