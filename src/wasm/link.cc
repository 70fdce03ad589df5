// SPDX-License-Identifier: Apache-2.0
// From a guest's import to a host function and back.
//
// Functions that cannot park take wasmtime's short way (arguments in place, 8 ns); those that park take
// its async way, on the guest's fiber (111 ns, 228 with a park). No C++ frame is on the fiber while it is parked.
#include <algorithm>
#include <map>

#include "base/check.h"
#include "wasm/instance_parts.h"

namespace dormouse::wasm {
namespace {

wasm_trap_t* trap_with(std::string_view message) { return wasmtime_trap_new(message.data(), message.size()); }

// What a verdict other than Return and Park means for the guest: it is ended.
wasm_trap_t* end_guest(Instance::Parts& guest, const Binding& binding, Verdict verdict, const Value* values) {
  guest.ended_by_host = true;
  if (verdict == Verdict::Exit) {
    guest.exit.kind = Exit::Kind::Exited;
    guest.exit.code = values[0].u32;
    return trap_with("exit");
  }
  CHECK(verdict == Verdict::Trap);
  guest.exit.kind = Exit::Kind::Trapped;
  guest.exit.message = fmt::format("{} was called with something that it must not be called with", binding.full_name);
  return trap_with("host trap");
}

Memory memory_of(Instance::Parts& guest, wasmtime_caller_t* caller) {
  if (!guest.memory) {  // Called from a start function, before the instance is known.
    wasmtime_extern_t item;
    if (caller == nullptr || !wasmtime_caller_export_get(caller, "memory", 6, &item)) return {};
    if (item.kind != WASMTIME_EXTERN_MEMORY) {
      wasmtime_extern_delete(&item);
      return {};
    }
    guest.memory = item.of.memory;
  }
  return {reinterpret_cast<std::byte*>(wasmtime_memory_data(guest.context, &*guest.memory)), wasmtime_memory_data_size(guest.context, &*guest.memory)};
}

wasm_trap_t* call_short(void* env, wasmtime_caller_t* caller, wasmtime_val_raw_t* raw, std::size_t) noexcept {
  const auto& binding = *static_cast<const Binding*>(env);
  auto& guest = *static_cast<Instance::Parts*>(wasmtime_context_get_data(wasmtime_caller_context(caller)));
  if (guest.stop_requested.load(std::memory_order_relaxed)) {
    // Whoever stops a guest wants no more of it, and what it would hand over may be wrong (paging: a page that was lost).
    guest.ended_by_host = true;
    guest.exit.kind = Exit::Kind::Stopped;
    return trap_with("stopped");
  }
  std::array<Value, kParametersMax> values;
  const std::string_view parameters = binding.import->parameters;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    if (parameters[i] == 'I') {
      values[i].i64 = raw[i].i64;
    } else {
      values[i].u64 = static_cast<std::uint32_t>(raw[i].i32);
    }
  }
  const Verdict verdict = binding.import->call(guest.host, memory_of(guest, caller), values.data());
  if (verdict != Verdict::Return) return end_guest(guest, binding, verdict, values.data());
  if (!binding.import->results.empty()) {
    if (binding.import->results[0] == 'I') {
      raw[0].i64 = values[0].i64;
    } else {
      raw[0].i32 = values[0].i32;
    }
  }
  return nullptr;
}

bool already_done(void*) noexcept { return true; }

// Calls the import of `guest.parked`; false when the guest shall stay parked.
bool try_parked_call(Instance::Parts& guest, wasmtime_caller_t* caller) {
  ParkedCall& parked = guest.parked;
  // A copy, for the import is called with the same values each time.
  std::array<Value, kParametersMax> values = parked.values;
  const Import& import = *parked.binding->import;
  const Verdict verdict = import.call(guest.host, memory_of(guest, caller), values.data());
  if (verdict == Verdict::Park) return false;
  if (verdict != Verdict::Return) {
    *parked.trap = end_guest(guest, *parked.binding, verdict, values.data());
  }
  if (!import.results.empty()) {
    if (import.results[0] == 'I') {
      parked.results[0].kind = WASMTIME_I64;
      parked.results[0].of.i64 = values[0].i64;
    } else {
      parked.results[0].kind = WASMTIME_I32;
      parked.results[0].of.i32 = values[0].i32;
    }
  }
  parked.binding = nullptr;
  return true;
}

bool resume_parked(void* env) noexcept {
  auto& guest = *static_cast<Instance::Parts*>(env);
  return !std::exchange(guest.parked.just_begun, false) && try_parked_call(guest, nullptr);
}

void call_parking(void* env, wasmtime_caller_t* caller, const wasmtime_val_t* arguments, std::size_t argument_count, wasmtime_val_t* results,
                  std::size_t, wasm_trap_t** trap, wasmtime_async_continuation_t* continuation) noexcept {
  auto& guest = *static_cast<Instance::Parts*>(wasmtime_context_get_data(wasmtime_caller_context(caller)));
  CHECK(guest.parked.binding == nullptr && argument_count <= kParametersMax);
  guest.parked.binding = static_cast<const Binding*>(env);
  guest.parked.results = results;
  guest.parked.trap = trap;
  for (std::size_t i = 0; i < argument_count; ++i) {
    if (arguments[i].kind == WASMTIME_I64) {
      guest.parked.values[i].i64 = arguments[i].of.i64;
    } else {
      guest.parked.values[i].u64 = static_cast<std::uint32_t>(arguments[i].of.i32);
    }
  }
  if (try_parked_call(guest, caller)) {
    *continuation = {&already_done, nullptr, nullptr};
  } else {
    guest.parked.just_begun = true;
    *continuation = {&resume_parked, &guest, nullptr};
  }
}

wasm_valtype_vec_t types_of(std::string_view letters) {
  std::array<wasm_valtype_t*, kParametersMax> types;
  for (std::size_t i = 0; i < letters.size(); ++i) {
    CHECK(letters[i] == 'i' || letters[i] == 'I');
    types[i] = wasm_valtype_new(letters[i] == 'I' ? WASM_I64 : WASM_I32);
  }
  wasm_valtype_vec_t out;
  wasm_valtype_vec_new(&out, letters.size(), types.data());
  return out;
}

const Import* find_import(std::span<const ImportModule> imports, std::string_view module, std::string_view name) {
  for (const ImportModule& candidate : imports) {
    if (candidate.name != module) continue;
    const auto found = std::ranges::find(candidate.imports, name, &Import::name);
    if (found != candidate.imports.end()) return &*found;
  }
  return nullptr;
}

wasmtime_error_t* define(wasmtime_linker_t* linker, std::string_view module, Binding& binding) {
  const Import& import = *binding.import;
  CHECK(import.parameters.size() <= kParametersMax && import.results.size() <= 1 && import.call != nullptr);
  wasm_valtype_vec_t parameters = types_of(import.parameters), results = types_of(import.results);
  const std::unique_ptr<wasm_functype_t, Deleter<wasm_functype_delete>> type(wasm_functype_new(&parameters, &results));
  if (import.parks) {
    return wasmtime_linker_define_async_func(linker, module.data(), module.size(), import.name.data(), import.name.size(), type.get(), &call_parking,
                                             &binding, nullptr);
  }
  return wasmtime_linker_define_func_unchecked(linker, module.data(), module.size(), import.name.data(), import.name.size(), type.get(), &call_short,
                                               &binding, nullptr);
}

}  // namespace

Result<void> link_module(const wasm_engine_t* engine, Module::Parts& module, std::span<const ImportModule> imports) {
  const std::unique_ptr<wasmtime_linker_t, Deleter<wasmtime_linker_delete>> linker(wasmtime_linker_new(const_cast<wasm_engine_t*>(engine)));
  // Some names stand twice in an import section (Go): each is defined once.
  std::map<std::pair<std::string_view, std::string_view>, bool> defined;
  for (const auto& imported : module.info.imports) {
    if (!defined.emplace(std::pair(std::string_view(imported.module), std::string_view(imported.name)), true).second) continue;
    const Import* import = find_import(imports, imported.module, imported.name);
    if (import == nullptr) return fail(ErrorCode::Unsupported, "{}.{} is not provided", imported.module, imported.name);
    auto& binding = module.bindings.emplace_back(new Binding{import, fmt::format("{}.{}", imported.module, imported.name)});
    if (wasmtime_error_t* error = define(linker.get(), imported.module, *binding))
      return fail(ErrorCode::Internal, "{}: {}", binding->full_name, take_message(error));
  }
  if (wasmtime_error_t* error = wasmtime_linker_instantiate_pre(linker.get(), module.module, &module.instance_pre))
    return fail(ErrorCode::Unsupported, "{}", take_message(error));
  return {};
}

}  // namespace dormouse::wasm
