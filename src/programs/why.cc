// SPDX-License-Identifier: Apache-2.0
// `dormouse why POD`: what woke a pod's guests, and what they did then.

#include "programs/commands.h"

#include <memory>

#include "host/wakes_view.h"

namespace dormouse {

void add_why(CLI::App& app, int& exit_code) {
  struct Flags : HostFlags {
    std::string pod;
  };
  const auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand("why", "Show why a pod's guests were awake: their last wake-ups, each with its cause");
  command->add_option("POD", flags->pod, "The pod: NAME or NAMESPACE/NAME")->required();
  add_host_options(*command, *flags);
  command->callback([flags, &exit_code] {
    // It becomes part of a request's target: only what a pod can be named.
    if (flags->pod.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-./") != std::string::npos) {
      exit_code = failed({ErrorCode::InvalidArgument, fmt::format("\"{}\" cannot be a pod: give NAME or NAMESPACE/NAME", flags->pod)});
      return;
    }
    exit_code = show_from_host(*flags, "/why/" + flags->pod, host::wakes_table);
  });
}

}  // namespace dormouse
