// SPDX-License-Identifier: Apache-2.0
// The tests' main(), which is also the compiler that they start, and their host functions.
#include <signal.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

#include "wasm/test_main.h"
#include "wasm/test_support.h"

namespace dormouse::wasm::testing {
namespace {

Verdict wait(void* host, Memory, Value* values) noexcept {
  auto& h = *static_cast<Host*>(host);
  ++h.waits;
  if (!h.ready && h.grants == 0) return Verdict::Park;
  if (!h.ready) --h.grants;
  values[0].u64 = 7;
  return Verdict::Return;
}
Verdict wait_or_exit(void* host, Memory, Value* values) noexcept {
  auto& h = *static_cast<Host*>(host);
  if (!h.ready) return Verdict::Park;
  return values[0].i32 < 0 ? Verdict::Trap : Verdict::Exit;
}
Verdict add(void* host, Memory, Value* values) noexcept {
  values[0].i64 = values[0].i32 + values[1].i64;
  static_cast<Host*>(host)->notes.push_back(values[0].i64);
  return Verdict::Return;
}
Verdict note(void* host, Memory, Value* values) noexcept {
  static_cast<Host*>(host)->notes.push_back(values[0].i32);
  return Verdict::Return;
}
Verdict peek(void*, Memory memory, Value* values) noexcept {
  const auto value = memory.load<std::int32_t>(values[0].u32);
  if (!value) return Verdict::Trap;
  values[0].i32 = *value;
  return Verdict::Return;
}
Verdict exit_with(void*, Memory, Value*) noexcept { return Verdict::Exit; }
Verdict refuse(void*, Memory, Value*) noexcept { return Verdict::Trap; }

constexpr std::array kImports = {
    Import{"wait", "", "i", &wait, true},   Import{"wait_or_exit", "i", "", &wait_or_exit, true}, Import{"add", "iI", "I", &add},
    Import{"note", "i", "", &note},         Import{"peek", "i", "i", &peek},                      Import{"exit", "i", "", &exit_with},
    Import{"refuse", "", "", &refuse},
};
constexpr std::array kModules = {ImportModule{"t", kImports}};

const Scratch& shared_scratch() {
  static const Scratch scratch;
  return scratch;
}

}  // namespace

std::span<const ImportModule> test_imports() { return kModules; }

Engine& shared_engine() {
  static const std::unique_ptr<Engine> engine = std::move(*Engine::create({}));
  return *engine;
}

std::shared_ptr<const Module> load(const std::string& wasm) {
  const std::string path = shared_scratch().file("test.wasm", wasm);
  auto module = Module::load(shared_engine(), path, test_imports(), shared_scratch().options());
  EXPECT_TRUE(module) << module.error().message;
  return module ? *module : nullptr;
}

}  // namespace dormouse::wasm::testing

int main(int argc, char** argv) {
  using namespace dormouse::wasm::testing;
  if (called_as_compiler(argc, argv)) {
    if (std::getenv("DORMOUSE_TEST_COMPILER_HANGS") != nullptr) ::pause();
    if (std::getenv("DORMOUSE_TEST_COMPILER_ABORTS") != nullptr) std::abort();
  }
  return run_tests_or_compile(argc, argv);
}
