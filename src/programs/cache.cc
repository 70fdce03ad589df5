// SPDX-License-Identifier: Apache-2.0
// `dormouse cache`: what a running host's shared watch cache holds.

#include "programs/commands.h"

#include <memory>

#include "host/cache_view.h"

namespace dormouse {

void add_cache(CLI::App& app, int& exit_code) {
  const auto flags = std::make_shared<HostFlags>();
  CLI::App* command = app.add_subcommand("cache", "Show what a running host's shared watch cache holds");
  add_host_options(*command, *flags);
  command->callback([flags, &exit_code] { exit_code = show_from_host(*flags, "/cache", host::cache_table); });
}

}  // namespace dormouse
