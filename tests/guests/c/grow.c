// SPDX-License-Identifier: Apache-2.0
// grow [touch [stay [SECONDS]]]: grows its memory page by page until memory.grow fails, says how far it came, exits 7.
// With "touch" it also writes to each page, so that the memory is resident. With "stay" it does not exit but parks, and wakes
// each SECONDS (an hour) to look whether all of it is still there; else exit 1.
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
  if (argc < 3 || strcmp(argv[2], "stay") != 0) return 7;
  fflush(stdout);
  unsigned seconds = argc > 3 ? (unsigned)atoi(argv[3]) : 3600;
  // The last page is surely one that this program grew.
  const unsigned char* last = (const unsigned char*)((pages - 1) * 65536);
  while (true) {
    __wasi_subscription_t clock = {.u.tag = __WASI_EVENTTYPE_CLOCK,
                                   .u.u.clock = {.id = __WASI_CLOCKID_MONOTONIC, .timeout = (uint64_t)seconds * 1000000000}};
    __wasi_event_t event;
    __wasi_size_t n = 0;
    EXPECT(SUCCESS, __wasi_poll_oneoff(&clock, &event, 1, &n));
    for (size_t i = 0; touch && i < 65536; ++i) {
      if (last[i] != 0x5a) return 1;
    }
    say("still there");
  }
}
