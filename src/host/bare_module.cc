// SPDX-License-Identifier: Apache-2.0
#include "host/bare_module.h"

#include <fmt/ranges.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>

#include "guest/output.h"
#include "pods/quantity.h"
#include "wasi/tree_builder.h"

namespace dormouse::host {

namespace fs = std::filesystem;

Result<pods::Pod> bare_module_pod(const HostOptions& options) {
  pods::Pod pod;
  std::string name;
  for (const char c : fs::path(options.module).stem().string()) {
    const char lower = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    const bool fits = (lower >= 'a' && lower <= 'z') || (lower >= '0' && lower <= '9');
    if (fits) name += lower;
    else if (!name.empty() && name.back() != '-') name += '-';
  }
  while (name.ends_with('-')) name.pop_back();
  pod.name = name.empty() ? "module" : name.substr(0, 63);
  pod.name_space = options.name_space.empty() ? "default" : options.name_space;
  if (!options.service_account.empty()) pod.service_account = options.service_account;
  pod.restart_policy = options.module_as_pod ? pods::RestartPolicy::Always : pods::RestartPolicy::Never;
  if (!options.module_as_pod) pod.timer_slack_max = {};  // A plain program's sleeps are its own affair.
  pod.origin = options.module;
  if (!options.egress.empty()) pod.annotations[pods::kAllowEgressAnnotation] = fmt::format("{}", fmt::join(options.egress, ","));
  pods::Container container;
  container.name = "main";
  container.image = fs::absolute(options.module);
  container.args = options.module_arguments;
  for (const std::string& variable : options.environment) {
    const std::size_t equals = variable.find('=');
    if (equals != std::string::npos) container.env.push_back({variable.substr(0, equals), variable.substr(equals + 1)});
    else if (const char* value = std::getenv(variable.c_str())) container.env.push_back({variable, std::string(value)});
  }
  if (!options.memory_limit.empty()) {
    const auto bytes = pods::parse_quantity(options.memory_limit);
    if (!bytes) return fail(Error(bytes.error()).within("--memory"));
    container.memory_limit_bytes = *bytes;
  }
  pod.containers.push_back(std::move(container));
  return pod;
}

Result<Launch> bare_launch(const HostOptions& options, const Clock& clock, std::shared_ptr<MemoryAccount> account) {
  Launch launch;
  launch.arguments.push_back(fs::path(options.module).filename());
  launch.arguments.insert(launch.arguments.end(), options.module_arguments.begin(), options.module_arguments.end());
  for (const std::string& variable : options.environment) {
    if (variable.find('=') != std::string::npos) launch.environment.push_back(variable);
    else if (const char* value = std::getenv(variable.c_str())) launch.environment.push_back(variable + "=" + value);
  }
  std::uint64_t device = 1;
  for (const std::string& pair : options.directories) {
    const std::size_t colons = pair.find("::");
    const std::string source = pair.substr(0, colons);
    const std::string target = colons == std::string::npos ? source : pair.substr(colons + 2);
    const auto volume = wasi::Volume::create({.clock = clock, .account = account.get(), .device = device++});
    auto root = wasi::copy_host_folder(source, *volume);
    if (!root) return fail(Error(root.error()).within("--dir " + pair));
    launch.preopens.push_back({.guest_path = target, .directory = std::move(*root)});
  }
  if (options.stdin_from == "-") {
    launch.stdin_bytes.assign(std::istreambuf_iterator<char>(std::cin), {});
  } else if (!options.stdin_from.empty()) {
    std::ifstream file(options.stdin_from, std::ios::binary);
    if (!file) return fail(ErrorCode::NotFound, "--stdin {}: cannot be read", options.stdin_from);
    launch.stdin_bytes.assign(std::istreambuf_iterator<char>(file), {});
  }
  launch.standard_output = std::make_shared<guest::DescriptorOutput>(1);
  launch.standard_error = std::make_shared<guest::DescriptorOutput>(2);
  return launch;
}

}  // namespace dormouse::host
