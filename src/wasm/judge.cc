// SPDX-License-Identifier: Apache-2.0
// Imports that this host does not provide, and what the reader can do about each.
#include <fmt/format.h>

#include <algorithm>

#include "wasm/inspect.h"

namespace dormouse::wasm {
namespace {

std::string shown(const std::string& types) {
  std::string out;
  for (const char letter : types) {
    if (!out.empty()) out += ' ';
    switch (letter) {
      case 'i': out += "i32"; break;
      case 'I': out += "i64"; break;
      case 'f': out += "f32"; break;
      case 'F': out += "f64"; break;
      case 'v': out += "v128"; break;
      default: out += "ref"; break;
    }
  }
  return out.empty() ? "()" : "(" + out + ")";
}

std::string_view hint(std::string_view module, std::string_view name) {
  if (module == "wasi" && name == "thread-spawn") return "it needs wasi threads; build for wasm32-wasip1, not wasm32-wasip1-threads";
  if (module == "wasi_unstable") return "it was built for WASI preview 0; rebuild it with a newer toolchain";
  if (module.starts_with("wasi:") || module.starts_with("wasi_snapshot_preview2")) return "it was built for WASI preview 2; build for wasm32-wasip1";
  if (module.starts_with("wasix_")) return "it was built for WASIX; build for wasm32-wasip1";
  if (module == "gojs" || module == "go") return "it was built for GOOS=js; rebuild with GOOS=wasip1";
  if (module == "wbg" || module.find("wbindgen") != std::string_view::npos || module.ends_with("_bg.js"))
    return "it was built for browsers (wasm-bindgen); turn off the JavaScript features of its dependencies (of chrono, getrandom, uuid, …)";
  if (module == "env" || module == "a") {
    if (name.starts_with("emscripten_") || name.starts_with("invoke_") || name.starts_with("__syscall_") || name.starts_with("_emscripten") || name.starts_with("__cxa_throw") || module == "a")
      return "it was built with emscripten; build with wasi-sdk or clang --target=wasm32-wasip1";
    if (name == "memory") return "it was linked with --import-memory; link without it";
    return "the linker did not find this symbol and left it to the host; link the library that has it";
  }
  if (module == "wasi_snapshot_preview1") return "no such function in WASI preview 1; the toolchain has an extension of another host turned on";
  return "this host provides WASI preview 1 and nothing else; build for wasm32-wasip1 or GOOS=wasip1";
}

}  // namespace

std::string judge_import(const ModuleInfo::ImportedName& imported, const Signature* signature, std::span<const ImportModule> provided) {
  if (signature == nullptr) return fmt::format("imports the {} {}.{}: {}", imported.kind, imported.module, imported.name, hint(imported.module, imported.name));
  for (const ImportModule& module : provided) {
    if (module.name != imported.module) continue;
    const auto found = std::ranges::find(module.imports, imported.name, &Import::name);
    if (found == module.imports.end()) break;
    if (found->parameters == signature->parameters && found->results == signature->results) return {};
    return fmt::format("imports {}.{} as a function of {} to {}, which is one of {} to {}: its toolchain is broken", imported.module, imported.name,
                       shown(signature->parameters), shown(signature->results), shown(std::string(found->parameters)), shown(std::string(found->results)));
  }
  return fmt::format("imports {}.{}: {}", imported.module, imported.name, hint(imported.module, imported.name));
}

}  // namespace dormouse::wasm
