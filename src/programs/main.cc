// SPDX-License-Identifier: Apache-2.0
// The `dormouse` command line.

#include <fmt/format.h>
#include <malloc.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "host/host.h"
#include "programs/commands.h"
#include "toolchain/build.h"
#include "toolchain/cache.h"
#include "wasi/process.h"
#include "wasm/engine.h"
#include "wasm/module.h"

namespace dormouse {
namespace {

std::string own_program() {
  std::string path(4096, '\0');
  const ssize_t length = ::readlink("/proc/self/exe", path.data(), path.size());
  return length > 0 ? path.substr(0, static_cast<std::size_t>(length)) : "dormouse";
}

struct RunFlags {
  host::HostOptions host;
  std::string log_format = "text", log_level = "info", colour = "auto";
  std::string context, kubeconfig;
  bool pod = false;
};

int run(RunFlags& flags, CLI::App& command) {
  host::HostOptions& options = flags.host;
  const std::vector<std::string> rest = command.remaining();
  if (!rest.empty()) {
    options.module = rest[0];
    options.module_arguments.assign(rest.begin() + 1, rest.end());
    if (options.module.starts_with("-")) return failed({ErrorCode::InvalidArgument, fmt::format("unknown option {}; see dormouse run --help", options.module)}), kUsage;
  }
  if (options.module.empty() && options.sources.empty()) {
    return failed({ErrorCode::InvalidArgument, "nothing to run: give a MODULE.wasm, or manifests with -f FILE|DIR|URL"}), kUsage;
  }
  // A bare module is a plain WASI program unless the command line speaks of a cluster.
  options.module_as_pod = flags.pod || !flags.kubeconfig.empty() || !flags.context.empty() || !options.name_space.empty() || !options.service_account.empty();
  options.kube = kube::ConfigOptions::from_environment();
  options.kube.kubeconfig = flags.kubeconfig;
  options.kube.context = flags.context;
  options.compile.compiler_program = own_program();
  if (options.compile.cache_directory.empty()) {
    auto cache = toolchain::cache_directory("modules");
    if (!cache) return failed(cache.error());
    options.compile.cache_directory = *cache;
  }
  const bool bare = options.sources.empty() && !options.module_as_pod;
  Log::Options log;
  log.format = flags.log_format == "json" ? Log::Format::Json : Log::Format::Text;
  log.level = flags.log_level == "debug" ? Log::Level::Debug : flags.log_level == "warning" ? Log::Level::Warning : flags.log_level == "error" ? Log::Level::Error : Log::Level::Info;
  if (bare && flags.log_level == "info") log.level = Log::Level::Warning;  // A program's output is its own.
  log.colour = flags.colour == "always" || (flags.colour == "auto" && ::isatty(2) == 1);
  const auto code = host::run_host(std::move(options), log);
  return code ? *code : failed(code.error());
}

void add_run(CLI::App& app, RunFlags& flags, int& exit_code) {
  CLI::App* command = app.add_subcommand("run", "Run operators: from manifests (Pod, Deployment), or one bare module");
  command->prefix_command(true);
  command->footer("MODULE.wasm and what follows it are the program and its arguments. Without a cluster option a bare module is a plain\nWASI program: it sees the folders given with --dir, its output is passed through, and its exit code is dormouse's.");
  host::HostOptions& host = flags.host;
  command->add_option("-f,--filename", host.sources, "Manifests: a file, a folder, a URL, or - for standard input; may be given again")->allow_extra_args(false)->allow_extra_args(false);
  command->add_option("--kubeconfig", flags.kubeconfig, "Path of the kubeconfig (else $KUBECONFIG, ~/.kube/config, in-cluster)");
  command->add_option("--context", flags.context, "Context of the kubeconfig");
  command->add_option("-n,--namespace", host.name_space, "Namespace of pods that name none (else the context's)");
  command->add_option("--service-account", host.service_account, "ServiceAccount of a bare module");
  command->add_flag("--pod", flags.pod, "Run a bare module as a pod, with access to the cluster");
  command->add_option("--dir", host.directories, "HOST::GUEST (or HOST): a copy of the folder HOST, in memory, as GUEST; may be given again")->allow_extra_args(false)->allow_extra_args(false);
  command->add_option("--env", host.environment, "NAME=VALUE for a bare module (NAME alone: as it is here); may be given again")->allow_extra_args(false)->allow_extra_args(false);
  command->add_option("--stdin", host.stdin_from, "What a bare module reads as its standard input: - for ours (read to its end first), or a file");
  command->add_option("--allow-egress", host.egress, "HOST:PORT that a bare module may dial; may be given again")->allow_extra_args(false)->allow_extra_args(false);
  command->add_option("--memory", host.memory_limit, "Memory limit of a bare module, such as 64Mi");
  command->add_option("--listen", host.listen, "HOST:PORT for /healthz, /readyz and /metrics");
  command->add_option("--watch-cache", host.watch_cache, "Answer guests' reads from one shared watch of each resource (true or false)")->default_str("true");
  command->add_option("--socket", host.socket, "Unix socket for `dormouse ps`")->default_str(default_socket());
  command->add_option("--log-format", flags.log_format, "text or json")->check(CLI::IsMember({"text", "json"}));
  command->add_option("--log-level", flags.log_level, "debug, info, warning or error")->check(CLI::IsMember({"debug", "info", "warning", "error"}));
  command->add_option("--colour,--color", flags.colour, "auto, always or never")->check(CLI::IsMember({"auto", "always", "never"}));
  command->add_option("--sleep", host.sleep, "When guests leave RAM, unless their pod says otherwise (annotation dormouse.io/sleep): never, immediately, idle=DURATION, pressure or predictive");
  command->add_option("--memory-budget", host.memory_budget, "Memory that the host may use before guests must leave RAM, such as 512Mi, or none (default: 90 % of the cgroup's limit, else half the machine)");
  command->add_option("--record-trace", host.record_trace, "Write when each guest waited and what woke it to this file, for `dormouse simulate-policy`");
  command->add_option("--page-directory", host.page_directory, "Where the memory of sleeping guests goes: a directory on a disk")->default_str("/var/tmp");
  command->add_option("--page-budget", host.page_budget, "What all page files may take together, such as 4Gi (default: half of what is free)");
  command->add_flag("--encrypt-pages", host.encrypt_pages, "Encrypt page files (AES-256-XTS, keys only in memory); wake-ups then read all of a guest's memory");
  command->add_flag("--drop-page-cache", host.drop_page_cache, "Page-outs wait for the disk and leave nothing in the kernel's page cache; wake-ups read from the disk");
  command->add_option("--workers", host.workers, "Threads that guests run on (default: cores, at most 4)")->check(CLI::Range(1, 256));
  command->callback([&flags, command, &exit_code] {
    if (flags.host.socket.empty()) flags.host.socket = default_socket();
    exit_code = run(flags, *command);
  });
}

void add_build(CLI::App& app, int& exit_code) {
  struct Flags {
    toolchain::BuildOptions build;
    bool no_compile = false;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand("build", "Build an ordinary operator (Go, Rust, C++) into NAME.wasm and NAME.cwasm");
  command->add_option("DIR", flags->build.directory, "The operator's folder, with go.mod, Cargo.toml or CMakeLists.txt")->default_str(".");
  command->add_option("-o,--output", flags->build.output, "Where to: NAME.wasm (default: the folder's name, in this folder)");
  command->add_option("--package,--bin", flags->build.package, "Which program, if the tree has several: Go package, Rust binary, CMake target");
  command->add_flag("--no-compile", flags->no_compile, "Do not compile ahead of time");
  command->callback([flags, &exit_code] {
    if (flags->build.directory.empty()) flags->build.directory = ".";
    flags->build.compile = !flags->no_compile;
    flags->build.dormouse_program = own_program();
    flags->build.provided = wasi::Process::imports();
    const auto built = toolchain::build(flags->build);
    exit_code = built ? 0 : failed(built.error());
  });
}

void add_check(CLI::App& app, int& exit_code) {
  auto path = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("check", "Tell whether a module can run here, and why not");
  command->add_option("FILE.wasm", *path, "The module")->required();
  command->callback([path, &exit_code] {
    const auto info = wasm::inspect_module_file(*path, wasi::Process::imports());
    if (!info) {
      exit_code = failed(info.error());
      return;
    }
    if (info->problems.empty()) {
      const auto engine = wasm::Engine::create({});
      const auto valid = engine ? wasm::validate_module_file(**engine, *path) : Result<void>(fail(engine.error()));
      if (!valid) {
        exit_code = failed(valid.error());
        return;
      }
    }
    fmt::print("{}\n", toolchain::describe(*path, *info));
    exit_code = info->problems.empty() ? 0 : kFailed;
  });
}

void add_compile(CLI::App& app, int& exit_code) {
  auto paths = std::make_shared<std::vector<std::string>>();
  CLI::App* command = app.add_subcommand("compile", "Compile a module ahead of time: IN.wasm OUT.cwasm");
  command->add_option("FILES", *paths, "IN.wasm OUT.cwasm")->required()->expected(2);
  command->callback([paths, &exit_code] {
    auto engine = wasm::Engine::create({});
    if (!engine) {
      exit_code = failed(engine.error());
      return;
    }
    const auto compiled = wasm::compile_to_file(**engine, paths->at(0), paths->at(1));
    exit_code = compiled ? 0 : failed(compiled.error());
  });
}

}  // namespace
}  // namespace dormouse

int main(int argc, char** argv) {
  // Few threads that allocate little: arenas for each of them cost more than they bring.
  ::mallopt(M_ARENA_MAX, 2);
  int exit_code = 0;
  CLI::App app("Dormouse runs many Kubernetes operators as WebAssembly modules in one small process.", "dormouse");
  app.set_version_flag("--version", std::string("dormouse ") + DORMOUSE_VERSION);
  app.require_subcommand(1);
  dormouse::RunFlags run_flags;
  dormouse::add_run(app, run_flags, exit_code);
  dormouse::add_build(app, exit_code);
  dormouse::add_check(app, exit_code);
  dormouse::add_compile(app, exit_code);
  dormouse::add_ps(app, exit_code);
  dormouse::add_why(app, exit_code);
  dormouse::add_proxy(app, exit_code);
  dormouse::add_cache(app, exit_code);
  dormouse::add_simulate_policy(app, exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : dormouse::kUsage;
  }
  return exit_code;
}
