// SPDX-License-Identifier: Apache-2.0
// Debian builds the compiler's runtime for wasm with stack protection, but wasi-libc of 2022 has not
// its two symbols. 128-bit division, which <chrono> and <format> use, needs them.
#include <stdint.h>

uintptr_t __stack_chk_guard = 0x5bd1e995;

_Noreturn void __stack_chk_fail(void) { __builtin_trap(); }
