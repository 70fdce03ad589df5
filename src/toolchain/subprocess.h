// SPDX-License-Identifier: Apache-2.0
#pragma once
// Other people's programs, run and waited for: compilers and build tools. Blocking; not for the host's loop.

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace dormouse::toolchain {

struct Command {
  std::vector<std::string> arguments;                              // [0] is looked up in PATH.
  std::string directory;                                           // Empty: where we are.
  std::vector<std::pair<std::string, std::string>> environment;    // Added to ours.
};

// Runs it on our terminal. Errors: NotFound when there is no such program, Internal with its exit code.
Result<void> run(const Command& command);
// Runs it and yields what it printed to stdout, bounded; stderr is ours.
Result<std::string> capture(const Command& command, std::size_t bytes_max = 1 << 20);
// The program's path, if PATH has it.
std::optional<std::string> find_program(const std::string& name);

}  // namespace dormouse::toolchain
