// SPDX-License-Identifier: Apache-2.0
#pragma once
// CHECK(condition): a bug of ours ends the process with where and what, in release builds too.

namespace dormouse {
[[noreturn]] void check_failed(const char* condition, const char* file, int line) noexcept;
}  // namespace dormouse

#define CHECK(condition) \
  ((condition) ? static_cast<void>(0) : ::dormouse::check_failed(#condition, __FILE__, __LINE__))
