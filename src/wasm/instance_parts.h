// SPDX-License-Identifier: Apache-2.0
#pragma once
// The inside of Instance and of Module, for this folder only.

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "paging/working_set.h"
#include "wasm/engine_parts.h"
#include "wasm/slot.h"
#include "wasm/instance.h"
#include "wasm/module.h"

namespace dormouse::wasm {

inline constexpr std::size_t kParametersMax = 16;

// One function that a module imports; `env` of its callback.
struct Binding {
  const Import* import;
  std::string full_name;  // "wasi_snapshot_preview1.fd_write"
};

struct Module::Parts {
  ~Parts();
  std::pair<const std::byte*, std::size_t> code_range() const;
  std::span<std::byte> code_pages() const;  // The whole pages that it lies in.
  ModuleInfo info;
  std::string file_name;  // Without its folder; names the module in backtraces.
  std::string note;
  bool compiled_now = false;
  std::vector<std::unique_ptr<Binding>> bindings;
  std::unique_ptr<Slot> slot;  // Of what the engine keeps for it; may be null.
  paging::WorkingSet code_used, slot_used;
  wasmtime_module_t* module = nullptr;
  wasmtime_instance_pre_t* instance_pre = nullptr;
  std::atomic<std::uint32_t> guests_awake{0};
};

// Ties the module's imports to `imports`. Errors: Unsupported.
Result<void> link_module(const wasm_engine_t* engine, Module::Parts& module, std::span<const ImportModule> imports);

// The call that a guest is parked in. wasmtime keeps what the pointers name until the call is done.
struct ParkedCall {
  const Binding* binding = nullptr;
  std::array<Value, kParametersMax> values;
  wasmtime_val_t* results = nullptr;
  wasm_trap_t** trap = nullptr;
  bool just_begun = false;  // wasmtime asks once more in the resume() that the call parked in.
};

struct Instance::Parts {
  Parts(Engine& e, Options o) : engine(e), module(std::move(o.module)), host(o.host), account(o.account) {}
  ~Parts() { discard(); }
  // Gives everything back that the guest held. Runs no guest code.
  void discard() noexcept;

  Engine& engine;
  const std::shared_ptr<const Module> module;
  void* const host;
  MemoryAccount& account;

  std::unique_ptr<Slot> slot;  // May be null.
  wasmtime_store_t* store = nullptr;
  wasmtime_context_t* context = nullptr;
  wasmtime_call_future_t* future = nullptr;
  bool instantiated = false;
  // Targets of what wasmtime writes when the future is done; it wants them at a fixed address.
  wasmtime_instance_t instance{};
  wasm_trap_t* trap = nullptr;
  wasmtime_error_t* error = nullptr;
  wasmtime_func_t start{};
  std::optional<wasmtime_memory_t> memory;
  Memory memory_seen;  // When the guest ran last: asking the engine would touch what may be out of RAM.
  StackRange stack;

  State state = State::Ready;
  Exit exit;
  std::atomic<bool> stop_requested{false};
  std::uint64_t slice_ticks = 0;    // The engine's ticks when the slice began.
  bool preempted = false;           // The slice ended by a tick.
  bool ended_by_host = false;       // `exit` has been filled by an import or by a stop.
  ParkedCall parked;

  std::uint64_t memory_charged_bytes = 0;
  std::uint64_t tables_charged_bytes = 0;
  bool growth_refused = false;
};

}  // namespace dormouse::wasm
