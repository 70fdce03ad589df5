// SPDX-License-Identifier: Apache-2.0
// trap KIND: ends in a trap of that kind.
#include "fixture.h"

// Kept apart from the optimiser, and with names that a symbolised backtrace must show.
__attribute__((noinline, optnone)) static int recurse(int depth) {
  if (depth < 0) return 0;  // Never, but the compiler cannot know.
  volatile char frame[256];
  memset((void*)frame, depth, sizeof(frame));
  return recurse(depth + 1) + frame[depth & 255];
}

// Uses no memory of the guest's, only the machine's own stack.
__attribute__((noinline)) static int call_deeper(int depth) {
  if (depth < 0) return 0;
  return call_deeper(depth + 1) % 7 + depth;
}

__attribute__((noinline, optnone)) static int divide(int a, int b) { return a / b; }

__attribute__((noinline, optnone)) static int truncate_float(float value) {
#ifdef __wasm_nontrapping_fptoint__
#error "the conversion would saturate"
#endif
  return __builtin_wasm_trunc_s_i32_f32(value);
}

// Past the end of the memory, wherever the end is now.
__attribute__((noinline, optnone)) static int read_out_of_bounds(void) {
  return *(volatile int*)(uintptr_t)(__builtin_wasm_memory_size(0) * 65536ul + 8);
}

__attribute__((noinline, optnone)) static int write_out_of_bounds(void) {
  *(volatile int*)(uintptr_t)0xfffffff0u = 1;
  return 0;
}

__attribute__((noinline, optnone)) static int call_wrong_type(void) {
  int (*volatile target)(int, int) = divide;
  return ((int (*)(double, double))(uintptr_t)target)(1, 2);
}

__attribute__((noinline, optnone)) static int call_null(void) {
  int (*volatile target)(int) = NULL;
  return target(1);
}

int main(int argc, char** argv) {
  const char* kind = argc > 1 ? argv[1] : "unreachable";
  printf("about to trap: %s\n", kind);
  fflush(stdout);
  if (strcmp(kind, "unreachable") == 0) __builtin_trap();
  if (strcmp(kind, "read-out-of-bounds") == 0) return read_out_of_bounds();
  if (strcmp(kind, "write-out-of-bounds") == 0) return write_out_of_bounds();
  if (strcmp(kind, "divide-by-zero") == 0) return divide(1, 0);
  if (strcmp(kind, "integer-overflow") == 0) return divide(INT32_MIN, -1);
  if (strcmp(kind, "bad-conversion") == 0) return truncate_float(1e30f);
  if (strcmp(kind, "stack-overflow") == 0) return recurse(0);
  if (strcmp(kind, "call-stack-exhausted") == 0) return call_deeper(argc);
  if (strcmp(kind, "call-wrong-type") == 0) return call_wrong_type();
  if (strcmp(kind, "call-null") == 0) return call_null();
  if (strcmp(kind, "abort") == 0) abort();
  fprintf(stderr, "trap: no kind \"%s\"\n", kind);
  return 2;
}
