// SPDX-License-Identifier: Apache-2.0
#pragma once
// The compiled-code engine that all guests of a process share.
//
// Threads: any.

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "base/types.h"

namespace dormouse::wasm {

class Engine final : Immovable {
 public:
  struct Options {
    std::uint64_t stack_bytes_max = 1 << 20;  // A guest's own stack; a deeper recursion traps. Fiber stacks are this and a little more.
    bool parallel_compilation = false;        // Only the compile child wants it: it starts a thread a core.
  };
  // Errors: Unsupported when this machine cannot run compiled code so.
  static Result<std::unique_ptr<Engine>> create(Options options);
  ~Engine();

  // Ends the running slice of every guest that is running now.
  void tick() noexcept;
  // How often tick() was called.
  std::uint64_t ticks() const noexcept;
  // What compiled code depends on besides the module: engine version, settings, CPU features. Fit for a file name.
  const std::string& fingerprint() const;

  struct Parts;
  Parts& parts() { return *parts_; }

 private:
  explicit Engine(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace dormouse::wasm
