// SPDX-License-Identifier: Apache-2.0
#include "toolchain/subprocess.h"

#include <fcntl.h>
#include <fmt/ranges.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "base/types.h"

namespace dormouse::toolchain {
namespace {

// Between fork and exec only async-signal-safe calls: everything is made ready before.
Result<pid_t> spawn(const Command& command, const std::string& program, int stdout_fd) {
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view variable(*entry);
    bool replaced = false;
    for (const auto& [name, value] : command.environment) replaced |= variable.starts_with(name + "=");
    if (!replaced) environment.emplace_back(variable);
  }
  for (const auto& [name, value] : command.environment) environment.push_back(name + "=" + value);
  std::vector<char*> argv, envp;
  for (const std::string& argument : command.arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  for (const std::string& variable : environment) envp.push_back(const_cast<char*>(variable.c_str()));
  argv.push_back(nullptr);
  envp.push_back(nullptr);

  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) return fail_errno(errno, "fork");
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (::getppid() != parent) ::_exit(127);
    if (stdout_fd >= 0) ::dup2(stdout_fd, 1);
    if (!command.directory.empty() && ::chdir(command.directory.c_str()) != 0) ::_exit(126);
    ::execve(program.c_str(), argv.data(), envp.data());
    ::_exit(127);
  }
  return child;
}

Result<void> await(pid_t child, const Command& command) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return fail_errno(errno, "waitpid");
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  const std::string line = fmt::format("{}", fmt::join(command.arguments, " "));
  if (WIFSIGNALED(status)) return fail(ErrorCode::Internal, "`{}` was ended by signal {}", line, WTERMSIG(status));
  return fail(ErrorCode::Internal, "`{}` failed with exit code {}", line, WEXITSTATUS(status));
}

Result<std::string> resolve(const Command& command) {
  const auto program = find_program(command.arguments.at(0));
  if (!program) return fail(ErrorCode::NotFound, "{} is not installed", command.arguments[0]);
  return *program;
}

}  // namespace

std::optional<std::string> find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) {
    return ::access(name.c_str(), X_OK) == 0 ? std::optional(name) : std::nullopt;
  }
  const char* path = std::getenv("PATH");
  std::string_view rest = path != nullptr ? path : "/usr/local/bin:/usr/bin:/bin";
  while (true) {
    const std::size_t colon = rest.find(':');
    const std::string candidate = fmt::format("{}/{}", rest.substr(0, colon), name);
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
    if (colon == std::string_view::npos) return std::nullopt;
    rest.remove_prefix(colon + 1);
  }
}

Result<void> run(const Command& command) {
  const auto program = resolve(command);
  if (!program) return fail(program.error());
  const auto child = spawn(command, *program, -1);
  if (!child) return fail(child.error());
  return await(*child, command);
}

Result<std::string> capture(const Command& command, std::size_t bytes_max) {
  const auto program = resolve(command);
  if (!program) return fail(program.error());
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail_errno(errno, "pipe2");
  const UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  const auto child = spawn(command, *program, writer.get());
  writer.reset();
  if (!child) return fail(child.error());
  std::string output;
  char buffer[4096];
  ssize_t size = 0;
  while ((size = ::read(reader.get(), buffer, sizeof buffer)) > 0 || (size < 0 && errno == EINTR)) {
    if (size > 0 && output.size() < bytes_max) output.append(buffer, static_cast<std::size_t>(size));
  }
  if (auto ended = await(*child, command); !ended) return fail(ended.error());
  return output;
}

}  // namespace dormouse::toolchain
