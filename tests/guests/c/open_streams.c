// SPDX-License-Identifier: Apache-2.0
// open_streams [COUNT [PATH [stay]]]: opens COUNT (10000) streams on PATH (/net/kube) and closes none.
// Says how many it got and which errno ended it, then exits 0; with "stay" it parks with all of them open.
#include "fixture.h"

int main(int argc, char** argv) {
  long count = argc > 1 ? strtol(argv[1], NULL, 10) : 10000;
  const char* path = argc > 2 ? argv[2] : "/net/kube";
  long opened = 0;
  int why = 0;
  for (; opened < count; ++opened) {
    if (open(path, O_RDWR) < 0) {
      why = errno;
      break;
    }
  }
  printf("opened %ld of %ld, errno %d\n", opened, count, why);
  fflush(stdout);
  // Whatever ended it says "too many", or that none is allowed at all.
  CHECK(why == 0 || (why == EACCES && opened == 0) || why == EMFILE || why == ENFILE || why == ENOMEM || why == ENOBUFS);
  if (argc > 3 && strcmp(argv[3], "stay") == 0) park();
  return 0;
}
