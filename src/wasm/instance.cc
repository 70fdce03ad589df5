// SPDX-License-Identifier: Apache-2.0
#include "wasm/instance.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"
#include "wasm/instance_parts.h"

namespace dormouse::wasm {
namespace {

constexpr std::uint64_t kTableElementBytes = 8;
constexpr std::size_t kFrameNameBytesMax = 256;
constexpr std::size_t kMessageBytesMax = 512;

// --- What wasmtime asks us while a guest runs ---

bool grant_memory(void* env, std::size_t, std::size_t desired) noexcept {
  auto& guest = *static_cast<Instance::Parts*>(env);
  // Against what was charged, not what there was: a growth that was granted and then failed has been charged.
  if (desired <= guest.memory_charged_bytes) return true;
  if (!guest.account.try_charge(desired - guest.memory_charged_bytes)) {
    guest.growth_refused = true;
    return false;
  }
  guest.memory_charged_bytes = desired;
  return true;
}

bool grant_table(void* env, std::size_t current, std::size_t desired) noexcept {
  auto& guest = *static_cast<Instance::Parts*>(env);
  const std::uint64_t bytes = (desired - current) * kTableElementBytes;
  if (!guest.account.try_charge(bytes)) {
    guest.growth_refused = true;
    return false;
  }
  guest.tables_charged_bytes += bytes;
  return true;
}

wasmtime_error_t* on_deadline(wasmtime_context_t*, void* env, std::uint64_t* delta, wasmtime_update_deadline_kind_t* kind) noexcept {
  auto& guest = *static_cast<Instance::Parts*>(env);
  *delta = 1;
  std::atomic_thread_fence(std::memory_order_acquire);
  if (guest.stop_requested.load(std::memory_order_relaxed)) {
    guest.ended_by_host = true;
    guest.exit.kind = Exit::Kind::Stopped;
    return wasmtime_error_new("stopped");
  }
  if (guest.engine.ticks() == guest.slice_ticks) {
    // The deadline passed while this guest was away; its slice has only begun.
    *kind = WASMTIME_UPDATE_DEADLINE_CONTINUE;
    return nullptr;
  }
  guest.preempted = true;
  *kind = WASMTIME_UPDATE_DEADLINE_YIELD;
  return nullptr;
}

// --- What a trap tells ---

std::string_view describe(wasmtime_trap_code_t code) {
  switch (code) {
    case WASMTIME_TRAP_CODE_STACK_OVERFLOW: return "call stack exhausted";
    case WASMTIME_TRAP_CODE_MEMORY_OUT_OF_BOUNDS: return "out of bounds memory access";
    case WASMTIME_TRAP_CODE_HEAP_MISALIGNED: return "unaligned atomic";
    case WASMTIME_TRAP_CODE_TABLE_OUT_OF_BOUNDS: return "undefined element: out of bounds table access";
    case WASMTIME_TRAP_CODE_INDIRECT_CALL_TO_NULL: return "uninitialized element";
    case WASMTIME_TRAP_CODE_BAD_SIGNATURE: return "indirect call type mismatch";
    case WASMTIME_TRAP_CODE_INTEGER_OVERFLOW: return "integer overflow";
    case WASMTIME_TRAP_CODE_INTEGER_DIVISION_BY_ZERO: return "integer divide by zero";
    case WASMTIME_TRAP_CODE_BAD_CONVERSION_TO_INTEGER: return "invalid conversion to integer";
    case WASMTIME_TRAP_CODE_UNREACHABLE_CODE_REACHED: return "unreachable instruction executed";
    case WASMTIME_TRAP_CODE_NULL_REFERENCE: return "null reference";
    case WASMTIME_TRAP_CODE_ALLOCATION_TOO_LARGE: return "allocation size too large";
    default: return "";
  }
}

std::string printable(std::string_view text, std::size_t bytes_max) {
  std::string out(text.substr(0, bytes_max));
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return out;
}

std::string frame_text(const wasm_frame_t* frame, const std::string& file_name) {
  std::string name;
  if (const wasm_name_t* raw = wasmtime_frame_func_name(frame)) {
    const std::string_view mangled(raw->data, raw->size);
    std::array<std::uint8_t, kFrameNameBytesMax> buffer;
    const std::size_t length = mangled.size() > 4096 ? 0
                                                     : dormouse_demangle(reinterpret_cast<const std::uint8_t*>(mangled.data()), mangled.size(),
                                                                         buffer.data(), buffer.size());
    name = length > 0 ? printable({reinterpret_cast<const char*>(buffer.data()), length}, length) : printable(mangled, kFrameNameBytesMax);
  } else {
    name = fmt::format("function[{}]", wasm_frame_func_index(frame));
  }
  const std::size_t offset = wasm_frame_module_offset(frame);
  if (offset == SIZE_MAX) return name;
  return fmt::format("{} ({}+{:#x})", name, file_name, offset);
}

void fill_backtrace(Exit& exit, wasm_frame_vec_t& frames, const std::string& file_name) {
  for (std::size_t i = 0; i < frames.size && i < kBacktraceFramesMax; ++i) exit.backtrace.push_back(frame_text(frames.data[i], file_name));
  wasm_frame_vec_delete(&frames);
}

std::string first_line(std::string message) {
  message.resize(std::min({message.find('\n'), message.size(), kMessageBytesMax}));
  return printable(message, kMessageBytesMax);
}

// Takes what the finished future has left in `guest` and makes it its exit.
void note_end(Instance::Parts& guest) {
  const TrapHandle trap(std::exchange(guest.trap, nullptr));
  const ErrorHandle error(std::exchange(guest.error, nullptr));
  if (!trap && !error) return;
  if (!guest.ended_by_host) {
    guest.exit.kind = Exit::Kind::Trapped;
    wasmtime_trap_code_t code = 0;
    if (trap && wasmtime_trap_code(trap.get(), &code) && !describe(code).empty()) {
      guest.exit.message = fmt::format("wasm trap: {}", describe(code));
    } else {
      wasm_byte_vec_t text;
      if (trap) {
        wasm_trap_message(trap.get(), &text);
      } else {
        wasmtime_error_message(error.get(), &text);
      }
      guest.exit.message = first_line(std::string(text.data, text.size));
      wasm_byte_vec_delete(&text);
      if (!guest.instantiated) guest.exit.message.insert(0, "could not be instantiated: ");
    }
  }
  if (guest.exit.kind != Exit::Kind::Trapped) return;
  wasm_frame_vec_t frames;
  if (trap) {
    wasm_trap_trace(trap.get(), &frames);
  } else {
    wasmtime_error_wasm_trace(error.get(), &frames);
  }
  fill_backtrace(guest.exit, frames, guest.module->parts().file_name);
}

// --- Steps of a run ---

void begin_instantiation(Instance::Parts& guest) {
  guest.future = wasmtime_instance_pre_instantiate_async(guest.module->parts().instance_pre, guest.context, &guest.instance, &guest.trap, &guest.error);
}

void note_memory(Instance::Parts& guest) {
  if (guest.memory) guest.memory_seen = {reinterpret_cast<std::byte*>(wasmtime_memory_data(guest.context, &*guest.memory)), wasmtime_memory_data_size(guest.context, &*guest.memory)};
}

// The instance is there: finds its memory, and calls _start (which runs at the next poll).
void begin_start(Instance::Parts& guest) {
  guest.instantiated = true;
  wasmtime_extern_t item;
  CHECK(wasmtime_instance_export_get(guest.context, &guest.instance, "memory", 6, &item) && item.kind == WASMTIME_EXTERN_MEMORY);
  guest.memory = item.of.memory;
  CHECK(wasmtime_instance_export_get(guest.context, &guest.instance, "_start", 6, &item) && item.kind == WASMTIME_EXTERN_FUNC);
  guest.start = item.of.func;
  note_memory(guest);
  guest.future = wasmtime_func_call_async(guest.context, &guest.start, nullptr, 0, nullptr, 0, &guest.trap, &guest.error);
}

// True when the future is done, and then it is gone.
bool poll(Instance::Parts& guest) {
  guest.preempted = false;
  guest.slice_ticks = guest.engine.ticks();
  stack_wanted_by = &guest.stack;
  stack_taken_from = guest.slot.get();
  const bool done = wasmtime_call_future_poll(guest.future);
  stack_wanted_by = nullptr;
  stack_taken_from = nullptr;
  if (done) wasmtime_call_future_delete(std::exchange(guest.future, nullptr));
  return done;
}

Instance::State end(Instance::Parts& guest) {
  note_end(guest);
  guest.discard();
  return guest.state = Instance::State::Ended;
}

}  // namespace

void Instance::Parts::discard() noexcept {
  // Resumes the fiber for the last time, to unwind it.
  if (future != nullptr) wasmtime_call_future_delete(std::exchange(future, nullptr));
  if (trap != nullptr) wasm_trap_delete(std::exchange(trap, nullptr));
  if (error != nullptr) wasmtime_error_delete(std::exchange(error, nullptr));
  memory.reset();
  memory_seen = {};
  context = nullptr;
  stack = {};
  if (store != nullptr) wasmtime_store_delete(std::exchange(store, nullptr));
  slot.reset();
  account.release(std::exchange(memory_charged_bytes, 0) + std::exchange(tables_charged_bytes, 0));
}

Instance::Instance(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Instance::~Instance() = default;

Result<std::unique_ptr<Instance>> Instance::create(Engine& engine, Options options) {
  CHECK(options.module != nullptr);
  auto parts = std::make_unique<Parts>(engine, std::move(options));
  Parts& guest = *parts;
  const ModuleInfo& info = guest.module->info();
  const std::uint64_t used = guest.account.used_bytes(), limit = guest.account.limit_bytes();
  if (info.memory_initial_bytes > limit - std::min(used, limit)) {
    return fail(ErrorCode::ResourceExhausted, "the module starts with {} bytes of memory, but its limit is {} bytes{}: raise the limit", info.memory_initial_bytes,
                limit, used > 0 ? fmt::format(" of which {} are in use", used) : "");
  }
  guest.slot = Slot::for_guest(engine.parts().options.stack_bytes_max + kHostStackBytes);
  std::optional<Slot::Filling> filling(guest.slot.get());
  guest.store = wasmtime_store_new(engine.parts().engine, &guest, nullptr);
  guest.context = wasmtime_store_context(guest.store);
  dormouse_store_limiter(guest.store, &guest, &grant_memory, &grant_table);
  wasmtime_context_set_epoch_deadline(guest.context, 1);
  wasmtime_store_epoch_deadline_callback(guest.store, &on_deadline, &guest, nullptr);
  begin_instantiation(guest);
  if (!info.start_function) {
    while (!poll(guest)) {}  // Without a start function none of the guest's own code can park or loop.
    filling.reset();
    if (guest.trap != nullptr || guest.error != nullptr) {
      note_end(guest);
      if (guest.growth_refused)
        return fail(ErrorCode::ResourceExhausted, "the module's initial memory and tables pass its limit of {} bytes: raise the limit", limit);
      return fail(ErrorCode::ResourceExhausted, "{}", guest.exit.message);
    }
    guest.stack = {};
    begin_start(guest);
  }
  return std::unique_ptr<Instance>(new Instance(std::move(parts)));
}

Instance::State Instance::resume() noexcept {
  Parts& guest = *parts_;
  CHECK(guest.state != State::Ended);
  if (guest.stop_requested.load(std::memory_order_relaxed)) {
    guest.exit.kind = Exit::Kind::Stopped;
    guest.ended_by_host = true;
    return end(guest);
  }
  if (poll(guest)) {
    const bool failed = guest.trap != nullptr || guest.error != nullptr;
    if (guest.instantiated || failed) return end(guest);
    begin_start(guest);
    if (poll(guest)) return end(guest);
  }
  note_memory(guest);
  CHECK(guest.preempted != (guest.parked.binding != nullptr));
  return guest.state = guest.preempted ? State::Preempted : State::Parked;
}

Instance::State Instance::state() const { return parts_->state; }

const Exit& Instance::exit() const {
  CHECK(parts_->state == State::Ended);
  return parts_->exit;
}

void Instance::request_stop() noexcept {
  parts_->stop_requested.store(true, std::memory_order_relaxed);
  parts_->engine.tick();
}

void Instance::abandon() noexcept {
  Parts& guest = *parts_;
  CHECK(guest.state == State::Parked);
  // Deleting the future or the store would unwind a stack that is no longer there.
  const Memory lost = guest.memory_seen;
  if (const auto bytes = lost.slice(0, lost.size_bytes()); bytes && !bytes->empty()) ::madvise(bytes->data(), bytes->size(), MADV_DONTNEED);
  ::madvise(guest.stack.base, guest.stack.bytes, MADV_DONTNEED);
  expect_leak(guest.future);
  expect_leak(guest.store);
  expect_leak(guest.slot.release());  // Its addresses are in the store that nobody deletes.
  guest.future = nullptr;
  guest.store = nullptr;
  guest.exit.kind = Exit::Kind::Stopped;
  guest.discard();
  guest.state = State::Ended;
}

Memory Instance::memory() const { return parts_->memory_seen; }

std::uint64_t Instance::memory_bytes() const { return memory().size_bytes(); }

std::span<std::byte> Instance::stack() const { return {parts_->stack.base, parts_->stack.bytes}; }

std::size_t Instance::unused_stack_bytes() const {
  const std::span<std::byte> all = stack();
  if (all.empty()) return 0;
  // Where wasmtime's fibers keep the stack pointer of one that waits (wasmtime-internal-fiber, unix.rs), on each architecture.
  std::uintptr_t pointer;
  std::memcpy(&pointer, all.data() + all.size() - 16, sizeof pointer);
  const auto begin = reinterpret_cast<std::uintptr_t>(all.data());
  constexpr std::uintptr_t kRedZoneBytes = 128;  // System V ABI for x86-64, 3.2.2.
  if (pointer < begin + kRedZoneBytes || pointer >= begin + all.size()) return 0;
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  return (pointer - kRedZoneBytes) / page * page - begin;
}

std::span<std::byte> Instance::beside_stack() const {
  const std::span<std::byte> used = parts_->slot ? parts_->slot->used() : std::span<std::byte>();
  return stack().data() == used.data() ? used.subspan(stack().size()) : std::span<std::byte>();
}

}  // namespace dormouse::wasm
