// SPDX-License-Identifier: Apache-2.0
#pragma once
// For this folder's tests: a scratch folder, an engine, a host with a function of each kind.

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/sanitizers.h"
#include "base/test_support.h"
#include "wasm/engine.h"
#include "wasm/instance.h"
#include "wasm/module.h"
#include "wasm/module_builder.h"

namespace dormouse::wasm::testing {

class Scratch : public dormouse::testing::Scratch {
 public:
  Module::CompileOptions options() const { return {.cache_directory = path / "cache", .compiler_program = ""}; }
};

// What the imports of module "t" see and do.
struct Host {
  bool ready = false;              // `wait` returns 7 when it is, and parks while it is not.
  int grants = 0;                  // So many calls of `wait` return 7 though it is not ready.
  int waits = 0;                   // Calls of `wait`.
  std::vector<std::int64_t> notes; // Of `note` and `add`.
};

std::span<const ImportModule> test_imports();
Engine& shared_engine();
// The module, compiled in a child into a cache that all tests share.
std::shared_ptr<const Module> load(const std::string& wasm);

struct Guest {
  explicit Guest(const std::string& wasm, std::uint64_t limit_bytes = 64 << 20) : account(limit_bytes), module(load(wasm)) {
    auto created = Instance::create(shared_engine(), {.module = module, .host = &host, .account = account});
    EXPECT_TRUE(created) << created.error().message;
    if (created) instance = std::move(*created);
  }
  Host host;
  MemoryAccount account;
  std::shared_ptr<const Module> module;
  std::unique_ptr<Instance> instance;
};

}  // namespace dormouse::wasm::testing
