// SPDX-License-Identifier: Apache-2.0
#pragma once
// `dormouse build DIR`: from an ordinary operator's source tree to NAME.wasm and NAME.cwasm, without touching the tree.
//
// What is language-specific lives in sdk/ (the Go overlay program, the Rust driver, the CMake toolchain file)
// and travels inside the binary; this folder finds out which one to call. Blocking.

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "wasm/import.h"
#include "wasm/module.h"

namespace dormouse::toolchain {

enum class Language : std::uint8_t { Go, Rust, Cpp };
std::string_view to_string(Language language);

// By go.mod, Cargo.toml or CMakeLists.txt. Errors: NotFound when none or more than one of them is there.
Result<Language> detect_language(const std::string& directory);

struct BuildOptions {
  std::string directory;
  std::string output;                     // NAME.wasm; empty: the folder's name, here.
  std::string package;                    // Go: the main package. Rust: the binary. C++: the CMake target.
  bool compile = true;                    // Also make NAME.cwasm.
  std::string dormouse_program;           // Ourselves, for the compile child.
  std::span<const wasm::ImportModule> provided;
};

// Prints progress and the outcome on stdout. Errors: what is missing, and what to install; or the tool's own failure.
Result<void> build(const BuildOptions& options);

// What `dormouse check` prints: whether the module can run here, what it imports, what it will cost.
std::string describe(const std::string& path, const wasm::ModuleInfo& info);

}  // namespace dormouse::toolchain
