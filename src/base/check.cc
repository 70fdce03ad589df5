// SPDX-License-Identifier: Apache-2.0
#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace dormouse {
void check_failed(const char* condition, const char* file, int line) noexcept {
  std::fprintf(stderr, "dormouse: bug: CHECK(%s) failed at %s:%d; please report it\n", condition, file, line);
  std::abort();
}
}  // namespace dormouse
