// SPDX-License-Identifier: Apache-2.0
#include "wasm/engine.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <new>

#include "base/check.h"
#include "base/sanitizers.h"
#include "wasm/engine_parts.h"
#include "wasm/instance.h"
#include "wasm/slot.h"

namespace dormouse::wasm {

thread_local StackRange* stack_wanted_by = nullptr;
thread_local Slot* stack_taken_from = nullptr;

std::string take_message(wasmtime_error_t* error) {
  const ErrorHandle owned(error);
  wasm_byte_vec_t text;
  wasmtime_error_message(error, &text);
  std::string message(text.data, text.size);
  wasm_byte_vec_delete(&text);
  return message;
}

namespace {

// A fiber's stack, above what nobody may touch: a part of its guest's slot, so that it can leave RAM while the guest sleeps,
// or else a mapping of its own.
struct Stack {
  void* mapping;
  std::size_t mapping_bytes;
  StackRange usable;
  Slot* slot = nullptr;  // Whose it is; then there is no mapping.
};

std::uint8_t* stack_top(void* env, std::size_t* bytes) noexcept {
  const auto* stack = static_cast<const Stack*>(env);
  *bytes = stack->usable.bytes;
  return reinterpret_cast<std::uint8_t*>(stack->usable.base + stack->usable.bytes);
}

void delete_stack(void* env) noexcept {
  auto* stack = static_cast<Stack*>(env);
  if (stack->slot != nullptr) {
    stack->slot->return_stack();
  } else {
    CHECK(::munmap(stack->mapping, stack->mapping_bytes) == 0);
  }
  delete stack;
}

wasmtime_error_t* new_stack(void*, std::size_t size, bool, wasmtime_stack_memory_t* out) noexcept {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t usable = (size + page - 1) / page * page;
  if (stack_taken_from != nullptr) {
    if (const std::span<std::byte> lent = stack_taken_from->lend_stack(usable); !lent.empty()) {
      auto* stack = new (std::nothrow) Stack{nullptr, 0, {lent.data(), lent.size()}, stack_taken_from};
      if (stack == nullptr) {
        stack_taken_from->return_stack();
        return wasmtime_error_new("no room for a guest's stack: out of memory");
      }
      if (stack_wanted_by != nullptr) *stack_wanted_by = stack->usable;
      *out = {stack, &stack_top, &delete_stack};
      return nullptr;
    }
  }
  const std::size_t whole = usable + page;
  void* mapping = ::mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (mapping == MAP_FAILED) return wasmtime_error_new("no room for a guest's stack: out of memory or of mappings (vm.max_map_count)");
  auto* stack = new (std::nothrow) Stack{mapping, whole, {static_cast<std::byte*>(mapping) + page, usable}};
  if (stack == nullptr || ::mprotect(mapping, page, PROT_NONE) != 0) {
    ::munmap(mapping, whole);
    delete stack;
    return wasmtime_error_new("no room for a guest's stack: out of memory or of mappings (vm.max_map_count)");
  }
  if (stack_wanted_by != nullptr) *stack_wanted_by = stack->usable;
  *out = {stack, &stack_top, &delete_stack};
  return nullptr;
}

wasm_config_t* make_config(const Engine::Options& options) {
  wasm_config_t* config = wasm_config_new();
  dormouse_config_extra(config, kBacktraceFramesMax);
  wasmtime_config_epoch_interruption_set(config, true);
  wasmtime_config_max_wasm_stack_set(config, options.stack_bytes_max);
  wasmtime_config_async_stack_size_set(config, options.stack_bytes_max + kHostStackBytes);
  wasmtime_config_native_unwind_info_set(config, true);
  wasmtime_config_parallel_compilation_set(config, options.parallel_compilation);
  wasmtime_config_cranelift_opt_level_set(config, WASMTIME_OPT_LEVEL_SPEED);
  // A whole 32-bit address space each, so that compiled code needs no bounds checks and a memory never moves.
  wasmtime_config_memory_reservation_set(config, std::uint64_t{1} << 32);
  wasmtime_config_memory_guard_size_set(config, Instance::kAroundMemoryBytes);
  wasmtime_config_memory_may_move_set(config, false);
  wasmtime_config_memory_init_cow_set(config, true);
  // What toolchains for WASI preview 1 emit, and no more.
  wasmtime_config_wasm_bulk_memory_set(config, true);
  wasmtime_config_wasm_multi_value_set(config, true);
  wasmtime_config_wasm_simd_set(config, true);
  wasmtime_config_wasm_tail_call_set(config, true);
  wasmtime_config_wasm_relaxed_simd_set(config, false);
  wasmtime_config_wasm_multi_memory_set(config, false);
  wasmtime_config_wasm_memory64_set(config, false);
  wasmtime_config_wasm_custom_page_sizes_set(config, false);
  wasmtime_config_wasm_wide_arithmetic_set(config, false);
  wasmtime_config_shared_memory_set(config, false);
  wasmtime_config_gc_support_set(config, false);
  wasmtime_stack_creator_t stacks{nullptr, &new_stack, nullptr};
  wasmtime_config_host_stack_creator_set(config, &stacks);
  return config;
}

constexpr std::string_view kMachine =
#if defined(__x86_64__)
    "x86_64";
#elif defined(__aarch64__)
    "aarch64";
#else
#error "Only x86-64 and 64-bit ARM are supported."
#endif

}  // namespace

Engine::Engine(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Engine::~Engine() = default;

Result<std::unique_ptr<Engine>> Engine::create(Options options) {
  constexpr std::uint64_t kStackBytesMin = 64 * 1024, kStackBytesLimit = 256 << 20;
  if (options.stack_bytes_max < kStackBytesMin || options.stack_bytes_max > kStackBytesLimit)
    return fail(ErrorCode::InvalidArgument, "a guest's stack must have between {} and {} bytes, not {}", kStackBytesMin, kStackBytesLimit, options.stack_bytes_max);
  keep_sanitizer_options();
  auto parts = std::make_unique<Parts>();
  parts->options = options;
  if (wasmtime_error_t* error = dormouse_engine_new(make_config(options), &parts->engine))
    return fail(ErrorCode::Unsupported, "the wasm engine cannot run on this machine: {}", take_message(error));
  parts->fingerprint = fmt::format("wasmtime-{}-{}-{:016x}", WASMTIME_VERSION, kMachine, dormouse_engine_fingerprint(parts->engine));
  return std::unique_ptr<Engine>(new Engine(std::move(parts)));
}

DORMOUSE_UNSEEN_BY_TSAN void Engine::Parts::tick() noexcept {
  // In this order: whoever sees the epoch also sees (after an acquire fence) that this tick was counted.
  __atomic_fetch_add(&ticks, 1, __ATOMIC_RELAXED);
  __atomic_thread_fence(__ATOMIC_RELEASE);
  wasmtime_engine_increment_epoch(engine);
}

void Engine::tick() noexcept { parts_->tick(); }

std::uint64_t Engine::ticks() const noexcept { return std::atomic_ref(parts_->ticks).load(std::memory_order_relaxed); }

const std::string& Engine::fingerprint() const { return parts_->fingerprint; }

}  // namespace dormouse::wasm
