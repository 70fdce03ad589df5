// SPDX-License-Identifier: Apache-2.0
#include "wasm/test_main.h"

int main(int argc, char** argv) { return dormouse::wasm::testing::run_tests_or_compile(argc, argv); }
