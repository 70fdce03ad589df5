// SPDX-License-Identifier: Apache-2.0
// What the commands that ask a running host share, and the plainest of them: `dormouse ps`.

#include "programs/commands.h"

#include <memory>

#include "host/http_server.h"
#include "host/status_view.h"

namespace dormouse {

void add_host_options(CLI::App& command, HostFlags& flags) {
  command.add_option("--socket", flags.socket, "The host's unix socket")->default_str(default_socket());
  command.add_option("-o,--output", flags.output, "table or json")->check(CLI::IsMember({"table", "json"}));
}

int show_from_host(const HostFlags& flags, std::string_view path, Result<std::string> (*table)(std::string_view json)) {
  const auto json = host::get_from_unix_socket(flags.socket.empty() ? default_socket() : flags.socket, std::string(path));
  if (!json) return failed(json.error());
  const auto text = flags.output == "json" ? Result<std::string>(*json + "\n") : table(*json);
  if (!text) return failed(text.error());
  fmt::print("{}", *text);
  return 0;
}

void add_ps(CLI::App& app, int& exit_code) {
  const auto flags = std::make_shared<HostFlags>();
  CLI::App* command = app.add_subcommand("ps", "Show the guests of a running host");
  add_host_options(*command, *flags);
  command->callback([flags, &exit_code] { exit_code = show_from_host(*flags, "/guests", host::status_table); });
}

}  // namespace dormouse
