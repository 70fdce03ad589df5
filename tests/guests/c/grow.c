// SPDX-License-Identifier: Apache-2.0
// grow [touch]: grows its memory page by page until memory.grow fails, says how far it came, exits 7.
// With "touch" it also writes to each page, so that the memory is resident.
#include "fixture.h"

int main(int argc, char** argv) {
  bool touch = argc > 1 && strcmp(argv[1], "touch") == 0;
  while (true) {
    size_t page = __builtin_wasm_memory_grow(0, 1);
    if (page == SIZE_MAX) break;
    if (touch) memset((void*)(page * 65536), 0x5a, 65536);
  }
  size_t pages = __builtin_wasm_memory_size(0);
  // The refusal is final, and it changed nothing.
  CHECK(__builtin_wasm_memory_grow(0, 1) == SIZE_MAX);
  CHECK(__builtin_wasm_memory_grow(0, 65536) == SIZE_MAX);
  CHECK(__builtin_wasm_memory_size(0) == pages);
  CHECK(__builtin_wasm_memory_grow(0, 0) == pages);
  printf("memory.grow failed at %zu pages\n", pages);
  return 7;
}
