// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cstdlib>

#include "wasm/module.h"

using namespace dormouse::wasm;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static constexpr std::array kImports = {Import{"fd_write", "iiii", "i", nullptr}};
  static constexpr std::array kModules = {ImportModule{"wasi_snapshot_preview1", kImports}};
  const auto info = inspect_module({reinterpret_cast<const char*>(data), size}, kModules);
  if (!info) {
    if (info.error().message.empty()) std::abort();
    return 0;
  }
  // What it tells is bounded by what it was given.
  if (info->imports.size() + info->exports.size() > size || info->problems.size() > 41 || info->code_bytes + info->data_bytes > size) std::abort();
  for (const auto& problem : info->problems) {
    if (problem.empty() || problem.size() > 16'384) std::abort();
  }
  return 0;
}
