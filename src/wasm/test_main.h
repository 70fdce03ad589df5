// SPDX-License-Identifier: Apache-2.0
#pragma once
// The main() of tests that load modules: it is also the compiler that they start.

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "wasm/engine.h"
#include "wasm/module.h"

namespace dormouse::wasm::testing {

inline bool called_as_compiler(int argc, char** argv) { return argc == 4 && std::strcmp(argv[1], "compile") == 0; }

inline int run_tests_or_compile(int argc, char** argv) {
  if (called_as_compiler(argc, argv)) {
    const auto engine = Engine::create({.parallel_compilation = true});
    const auto done = engine ? compile_to_file(**engine, argv[2], argv[3]) : Result<void>(fail(engine.error()));
    if (done) return 0;
    std::fprintf(stderr, "%s\n", done.error().message.c_str());
    return 1;
  }
  // The children that compile run wasmtime alone, whose locks TSan cannot see.
  ::setenv("TSAN_OPTIONS", "report_bugs=0", 0);
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}

}  // namespace dormouse::wasm::testing
