// SPDX-License-Identifier: Apache-2.0
// The tests' main(), which is also the compiler that they start.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "wasm/engine.h"
#include "wasm/module.h"

int main(int argc, char** argv) {
  using namespace dormouse::wasm;
  if (argc == 4 && std::strcmp(argv[1], "compile") == 0) {
    const auto engine = Engine::create({.parallel_compilation = true});
    const auto done = engine ? compile_to_file(**engine, argv[2], argv[3]) : dormouse::Result<void>(dormouse::fail(engine.error()));
    if (done) return 0;
    std::fprintf(stderr, "%s\n", done.error().message.c_str());
    return 1;
  }
  // The children that compile run wasmtime alone, whose locks TSan cannot see.
  ::setenv("TSAN_OPTIONS", "report_bugs=0", 0);
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
