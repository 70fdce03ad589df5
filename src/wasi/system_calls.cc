// SPDX-License-Identifier: Apache-2.0
// Arguments, environment, clocks, randomness, and the end of the process.

#include <sys/random.h>

#include <cerrno>
#include <string>
#include <vector>

#include "base/check.h"
#include "wasi/calls.h"

namespace dormouse::wasi {
namespace {

// Of one call. A larger wish is Inval: filled by the kernel in one go it would hold a thread for longer than a slice.
constexpr u32 kRandomBytesMax = 16 * 1024 * 1024;

Errno put_texts(Memory memory, const Texts& texts, u32 pointers, u32 bytes) {
  const auto table = memory.slice(pointers, std::uint64_t{texts.begins.size()} * 4);
  const auto area = memory.slice(bytes, texts.bytes.size());
  if (!table || !area) return Errno::Fault;
  for (std::size_t i = 0; i < texts.begins.size(); ++i) {
    const u32 address = bytes + texts.begins[i];
    std::memcpy(table->data() + i * 4, &address, 4);
  }
  std::memcpy(area->data(), texts.bytes.data(), texts.bytes.size());
  return Errno::Success;
}

Errno put_sizes(Memory memory, const Texts& texts, u32 count, u32 size) {
  if (const Errno error = store(memory, count, static_cast<u32>(texts.begins.size())); error != Errno::Success) return error;
  return store(memory, size, static_cast<u32>(texts.bytes.size()));
}

void fill_from_kernel(std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t got = ::getrandom(bytes.data(), bytes.size(), 0);
    CHECK(got > 0 || errno == EINTR);
    if (got > 0) bytes = bytes.subspan(static_cast<std::size_t>(got));
  }
}

// What a signal does to a process that does not handle it (the specification's numbers).
enum class DefaultAction { Terminate, Ignore, Stop };
DefaultAction default_action(u32 signal) {
  switch (signal) {
    case 0: case 13: case 16: case 17: case 22: case 27: return DefaultAction::Ignore;  // none, pipe, chld, cont, urg, winch
    case 18: case 19: case 20: case 21: return DefaultAction::Stop;                     // stop, tstp, ttin, ttou
    default: return DefaultAction::Terminate;
  }
}
constexpr u32 kSignalLast = 30;  // sys

}  // namespace

Errno args_get(ProcessState& process, Memory memory, u32 pointers, u32 bytes) { return put_texts(memory, process.arguments, pointers, bytes); }
Errno args_sizes_get(ProcessState& process, Memory memory, u32 count, u32 size) { return put_sizes(memory, process.arguments, count, size); }
Errno environ_get(ProcessState& process, Memory memory, u32 pointers, u32 bytes) { return put_texts(memory, process.environment, pointers, bytes); }
Errno environ_sizes_get(ProcessState& process, Memory memory, u32 count, u32 size) { return put_sizes(memory, process.environment, count, size); }

// The clocks of CPU time are not offered: Inval, as for any clock that is none.
Errno clock_res_get(ProcessState&, Memory memory, u32 id, u32 resolution) {
  if (id > static_cast<u32>(ClockId::Monotonic)) return Errno::Inval;
  return store(memory, resolution, Timestamp{1});
}

Errno clock_time_get(ProcessState& process, Memory memory, u32 id, u64, u32 time) {
  switch (static_cast<ClockId>(id)) {
    case ClockId::Realtime: return store(memory, time, static_cast<Timestamp>(process.options.clock.realtime().count()));
    case ClockId::Monotonic: return store(memory, time, static_cast<Timestamp>(process.options.clock.monotonic().count()));
    default: return Errno::Inval;
  }
}

Errno random_get(ProcessState& process, Memory memory, u32 buffer, u32 length) {
  const auto bytes = memory.slice(buffer, length);
  if (!bytes) return Errno::Fault;
  if (length > kRandomBytesMax) return Errno::Inval;
  if (process.options.random) process.options.random(*bytes);
  else fill_from_kernel(*bytes);
  return Errno::Success;
}

// Fairness is the engine's: its epochs pre-empt whoever runs for too long.
Errno sched_yield(ProcessState&, Memory) { return Errno::Success; }

wasm::Verdict proc_exit(void*, Memory, wasm::Value*) noexcept { return wasm::Verdict::Exit; }

// A signal to oneself goes to /run/signals if that is open, else its default action is taken: an end with 128 + number.
wasm::Verdict proc_raise(void* host, Memory, wasm::Value* values) noexcept {
  const u32 signal = values[0].u32;
  ProcessState& process = static_cast<Process*>(host)->state();
  values[0].u64 = static_cast<u64>(Errno::Success);
  if (signal > kSignalLast) {
    values[0].u64 = static_cast<u64>(Errno::Inval);
  } else if (default_action(signal) == DefaultAction::Stop) {
    values[0].u64 = static_cast<u64>(Errno::NotSup);
  } else if (default_action(signal) == DefaultAction::Terminate && (signal == 9 || !process.deliver_signal(static_cast<int>(signal)))) {
    values[0].u64 = 128 + signal;
    return wasm::Verdict::Exit;
  }
  return wasm::Verdict::Return;
}

}  // namespace dormouse::wasi
