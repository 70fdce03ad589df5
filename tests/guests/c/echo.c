// SPDX-License-Identifier: Apache-2.0
// echo: prints its arguments and its environment, one a line.
#include "fixture.h"

extern char** environ;

int main(int argc, char** argv) {
  for (int i = 0; i < argc; ++i) printf("arg %d %s\n", i, argv[i]);
  for (char** entry = environ; *entry != NULL; ++entry) printf("env %s\n", *entry);
  return 0;
}
