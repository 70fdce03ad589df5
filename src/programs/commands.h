// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the subcommands of `dormouse` share.

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/result.h"

namespace dormouse {

// Exit codes of our own, apart from a bare module's: 1 failed, 2 wrong usage (as CLI11 does for parse errors).
inline constexpr int kFailed = 1;
inline constexpr int kUsage = 2;

inline int failed(const Error& error) {
  std::string_view rest = error.message;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    fmt::print(stderr, "error: {}\n", rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return kFailed;
}

inline std::string default_socket() {
  if (const char* runtime = std::getenv("XDG_RUNTIME_DIR"); runtime != nullptr && *runtime == '/') return std::string(runtime) + "/dormouse.sock";
  return fmt::format("/tmp/dormouse-{}.sock", ::getuid());
}

// Of `ps`, `why` and `cache`, which ask a running host.
struct HostFlags {
  std::string socket, output = "table";
};
void add_host_options(CLI::App& command, HostFlags& flags);
// Prints the host's answer: its JSON, or the table made of it. Yields the exit code.
int show_from_host(const HostFlags& flags, std::string_view path, Result<std::string> (*table)(std::string_view json));

void add_ps(CLI::App& app, int& exit_code);
void add_why(CLI::App& app, int& exit_code);
void add_proxy(CLI::App& app, int& exit_code);
void add_cache(CLI::App& app, int& exit_code);
void add_simulate_policy(CLI::App& app, int& exit_code);

}  // namespace dormouse
