// SPDX-License-Identifier: Apache-2.0
// exit_code [N]: exits with N, by default 0.
#include "fixture.h"

int main(int argc, char** argv) {
  __wasi_proc_exit(argc > 1 ? (__wasi_exitcode_t)strtoul(argv[1], NULL, 10) : 0);
}
