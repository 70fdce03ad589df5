// SPDX-License-Identifier: Apache-2.0
#pragma once
// A compiled module, ready to be instantiated any number of times; its code is a file mapping that all share.
//
// A `.wasm` is compiled by a child process (Cranelift wants up to 1.2 GB for a Go operator, see findings)
// into a `.cwasm`, which is bound to the module's digest and the engine's fingerprint. A `.cwasm` is machine
// code: it is trusted as much as an executable, so one that others than its owner or root may write is refused.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "wasm/engine.h"
#include "wasm/import.h"

namespace dormouse::paging {
class PageScan;
}  // namespace dormouse::paging

namespace dormouse::wasm {

inline constexpr std::uint64_t kModuleBytesMax = std::uint64_t{1} << 30;  // As wasmtime's own limit.

// What can be told from the module's bytes, without compiling.
struct ModuleInfo {
  std::string digest;                     // "sha256:…" of the .wasm; only inspect_module_file and Module::load fill it.
  std::uint64_t file_bytes = 0;
  std::uint64_t memory_initial_bytes = 0;
  std::uint64_t memory_max_bytes = 0;     // 4 GiB if the module names none.
  std::uint64_t code_bytes = 0;           // Of the code section.
  std::uint64_t data_bytes = 0;           // Of the data section.
  std::uint32_t functions = 0;            // Defined here, not imported.
  bool start_function = false;            // Code runs at instantiation, before _start.
  struct ImportedName { std::string module, name, kind; };  // kind: "func", "table", "memory", "global", "tag".
  std::vector<ImportedName> imports;      // In order, as they stand (Go names some twice).
  std::vector<std::string> exports;
  std::vector<std::string> problems;      // Why it cannot run here; empty if it can. A sentence each.
};

// Parses the bytes strictly (own parser of the binary format's outline; fuzzed). Errors: what the file is instead
// (a component, text, truncated, empty), as one sentence. `provided` is what the host offers to import.
Result<ModuleInfo> inspect_module(std::string_view bytes, std::span<const ImportModule> provided);
Result<ModuleInfo> inspect_module_file(const std::string& path, std::span<const ImportModule> provided);

class Module final : Immovable {
 public:
  // Where compiled code is kept and by what it is made.
  struct CompileOptions {
    std::string cache_directory;          // $XDG_CACHE_HOME/dormouse/modules or the like; made with mode 0700.
    std::string compiler_program;         // argv[0] of the child: `PROGRAM compile IN.wasm OUT.cwasm`; empty = /proc/self/exe.
    std::uint64_t compile_memory_bytes_max = 0;  // RLIMIT_AS for the child; 0 = none.
    // Yields an empty file without a name, for what the engine keeps for a module to leave RAM into; unset or an error: it stays there.
    std::function<Result<UniqueFd>()> metadata_file;
    std::uint64_t cache_bytes_max = std::uint64_t{4} << 30;  // Older entries go when a new one passes it; those in use live on without a name.
  };
  // Loads PATH (a .wasm): uses a valid `.cwasm` beside it (NAME.cwasm for NAME.wasm) or in the cache, else compiles one
  // into the cache. Blocking: call off the loop. Several processes may load the same module at once: one compiles.
  // `imports` and what it names must outlive the module.
  // Errors: NotFound, PermissionDenied, Corrupt, Unsupported (with the module's problems), ResourceExhausted, Internal.
  static Result<std::shared_ptr<const Module>> load(Engine& engine, const std::string& path, std::span<const ImportModule> imports, const CompileOptions& options);
  ~Module();

  const ModuleInfo& info() const;
  // The mapping of its machine code, so that it can be dropped while all its guests sleep.
  std::pair<const std::byte*, std::size_t> code_range() const;
  // Gives the pages of its machine code, and of what the engine keeps for it, back to the kernel: they are in files, and those
  // that are still needed come back from page cache at 55 us a burst (findings). For after a start, which runs far more code than ever again.
  // `scan`, if not null, notes what of them was mapped, which read_ahead() asks the medium for when it will be wanted again.
  void drop_code_pages(const paging::PageScan* scan = nullptr) const;
  void read_ahead() const;
  // How many of its guests are in RAM, as those who run them have told: when it is none, its code need not be either.
  void note_guest_awake(bool awake) const;
  std::uint32_t guests_awake() const;
  bool compiled_now() const;              // False when it came from a `.cwasm`.
  // Worth a line in the log if not empty: which `.cwasm` was refused, and why.
  const std::string& note() const;

  struct Parts;
  const Parts& parts() const { return *parts_; }

 private:
  explicit Module(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

// The child's work: compiles IN.wasm in this process and writes OUT.cwasm (atomically, mode 0644 less umask) with its binding,
// unless OUT.cwasm is that already. Used by
// `dormouse compile` and `dormouse build`. Errors: NotFound, Corrupt, Unsupported, ResourceExhausted, PermissionDenied.
Result<void> compile_to_file(Engine& engine, const std::string& in_path, const std::string& out_path);
// Whether every function's body is valid, as the compiler will see it (about a second for a Go operator). Errors: Corrupt.
Result<void> validate_module_file(Engine& engine, const std::string& path);
// Runs the child for it; it dies with the calling thread. Empty `program`: this one. 0: no memory limit.
Result<void> compile_in_child(const std::string& program, const std::string& in_path, const std::string& out_path, std::uint64_t memory_bytes_max);

}  // namespace dormouse::wasm
