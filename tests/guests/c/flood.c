// SPDX-License-Identifier: Apache-2.0
// flood [lines|no-newline|binary] [BYTES]: writes to stdout as fast as it can; without BYTES for ever.
#include "fixture.h"

int main(int argc, char** argv) {
  const char* kind = argc > 1 ? argv[1] : "lines";
  uint64_t left = argc > 2 ? strtoull(argv[2], NULL, 10) : UINT64_MAX;
  static char block[65536];
  memset(block, 'x', sizeof(block));
  if (strcmp(kind, "lines") == 0) {
    for (size_t i = 63; i < sizeof(block); i += 64) block[i] = '\n';
  } else if (strcmp(kind, "binary") == 0) {
    for (size_t i = 0; i < sizeof(block); ++i) block[i] = (char)(i * 7 + i / 256);
  } else if (strcmp(kind, "no-newline") != 0) {
    fprintf(stderr, "flood: no kind \"%s\"\n", kind);
    return 2;
  }
  while (left > 0) {
    size_t want = left < sizeof(block) ? (size_t)left : sizeof(block);
    write_all(STDOUT_FILENO, block, want);
    left -= want;
  }
  return 0;
}
