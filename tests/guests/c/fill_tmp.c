// SPDX-License-Identifier: Apache-2.0
// fill_tmp [DIR]: writes a file in DIR (/tmp) until the file system is full, then shows that deleting gives the
// space back. Says how many bytes went in; exits 0.
#include "fixture.h"

static uint64_t fill(const char* path, int* why) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  CHECK(fd >= 0);
  static char block[65536];
  memset(block, 'f', sizeof(block));
  uint64_t written = 0;
  for (;;) {
    ssize_t n = write(fd, block, sizeof(block));
    if (n < 0) break;
    CHECK(n > 0);
    written += (uint64_t)n;
  }
  *why = errno;
  CHECK(close(fd) == 0);
  return written;
}

int main(int argc, char** argv) {
  char path[512];
  snprintf(path, sizeof(path), "%s/fill", argc > 1 ? argv[1] : "/tmp");
  int why = 0;
  uint64_t first = fill(path, &why);
  printf("wrote %llu bytes, errno %d\n", first, why);
  fflush(stdout);
  CHECK(why == ENOSPC);
  CHECK(first > 0);
  CHECK(unlink(path) == 0);
  uint64_t second = fill(path, &why);
  CHECK(why == ENOSPC);
  CHECK(second >= first - 65536 && second <= first + 65536);
  CHECK(unlink(path) == 0);
  say("space came back");
  return 0;
}
