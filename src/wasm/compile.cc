// SPDX-License-Identifier: Apache-2.0
// Compiling in this process, and in a child of its own so that the memory it takes goes back.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "wasm/code_file.h"
#include "wasm/engine_parts.h"
#include "wasm/inspect.h"

namespace dormouse::wasm {
namespace {

struct Output {
  std::string path;
  Digest module;
  std::string fingerprint;
  Result<void> written;
};

bool write_code(void* env, const std::uint8_t* bytes, std::size_t length) noexcept {
  auto& output = *static_cast<Output*>(env);
  const std::string_view code(reinterpret_cast<const char*>(bytes), length);
  const std::string trailer = make_trailer(output.module, sha256_of(code), length, output.fingerprint);
  output.written = write_whole(output.path, {code, trailer}, 0644);
  return output.written.has_value();
}

struct ChildOptions {
  const char* program;
  const char* in_path;
  const char* out_path;
  std::uint64_t memory_bytes_max;
  pid_t parent;
  int error_fd;
};

// Between fork and exec: only what is safe in a signal handler.
[[noreturn]] void run_child(const ChildOptions& options) {
  const auto give_up = [](const char* what) {
    const char* reason = ::strerrordesc_np(errno);
    for (const char* text : {what, ": ", reason != nullptr ? reason : "unknown error"}) {
      if (::write(2, text, std::strlen(text)) < 0) break;
    }
    ::_exit(127);
  };
  if (::dup2(options.error_fd, 2) < 0) ::_exit(127);
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) give_up("prctl");
  if (::getppid() != options.parent) ::_exit(127);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  const int null_fd = ::open("/dev/null", O_RDWR);
  if (null_fd < 0 || ::dup2(null_fd, 0) < 0 || ::dup2(null_fd, 1) < 0) give_up("/dev/null");
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  if (options.memory_bytes_max > 0) {
    const rlimit limit{options.memory_bytes_max, options.memory_bytes_max};
    if (::setrlimit(RLIMIT_AS, &limit) != 0) give_up("setrlimit");
  }
  const std::array<const char*, 5> arguments = {options.program, "compile", options.in_path, options.out_path, nullptr};
  ::execv(options.program, const_cast<char* const*>(arguments.data()));
  give_up(options.program);
  ::_exit(127);
}

// What the child wrote, the last of it if it is much, until it has closed its end.
std::string read_to_end(int fd) {
  constexpr std::size_t kKeptBytesMax = 4096;
  std::string text;
  std::array<char, 4096> block;
  for (;;) {
    const ssize_t n = ::read(fd, block.data(), block.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    text.append(block.data(), static_cast<std::size_t>(n));
    if (text.size() > kKeptBytesMax) text.erase(0, text.size() - kKeptBytesMax);
  }
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

}  // namespace

Result<void> compile_to_file(Engine& engine, const std::string& in_path, const std::string& out_path) {
  auto file = open_regular(in_path);
  if (!file) return fail(file.error());
  FileBytes bytes(file->fd.get(), file->size_bytes);
  // Not for its problems, which are the host's affair, but for the better message when it is no module at all.
  if (const auto info = inspect(bytes, {}); !info) return fail(Error(info.error()).within(in_path));
  const auto wasm = bytes.read(0, static_cast<std::size_t>(file->size_bytes));
  if (!wasm) return fail(Error(wasm.error()).within(in_path));
  Output output{out_path, sha256_of(*wasm), engine.fingerprint(), {}};
  // The same module by the same engine: a Go operator's minute is saved.
  if (open_code_file(out_path, output.module, engine.fingerprint(), {})) return {};
  wasmtime_error_t* error =
      dormouse_precompile(engine.parts().engine, reinterpret_cast<const std::uint8_t*>(wasm->data()), wasm->size(), &output, &write_code);
  if (error == nullptr) return {};
  std::string message = take_message(error);
  if (!output.written) return fail(std::move(output.written.error()));
  for (char& c : message) {
    if (c == '\n') c = ' ';
  }
  return fail(ErrorCode::Unsupported, "{}: it cannot be compiled: {}", in_path, message);
}

Result<void> validate_module_file(Engine& engine, const std::string& path) {
  auto file = open_regular(path);
  if (!file) return fail(file.error());
  FileBytes bytes(file->fd.get(), file->size_bytes);
  const auto wasm = bytes.read(0, static_cast<std::size_t>(file->size_bytes));
  if (!wasm) return fail(Error(wasm.error()).within(path));
  wasmtime_error_t* error = wasmtime_module_validate(engine.parts().engine, reinterpret_cast<const std::uint8_t*>(wasm->data()), wasm->size());
  if (error == nullptr) return {};
  std::string message = take_message(error);
  for (char& c : message) {
    if (c == '\n') c = ' ';
  }
  return fail(ErrorCode::Corrupt, "{}: not a valid module: {}", path, message);
}

Result<void> compile_in_child(const std::string& program, const std::string& in_path, const std::string& out_path, std::uint64_t memory_bytes_max) {
  const std::string program_path = program.empty() ? "/proc/self/exe" : program;
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail_errno(errno, "pipe");
  const UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  const ChildOptions options{program_path.c_str(), in_path.c_str(), out_path.c_str(), memory_bytes_max, ::getpid(), write_end.get()};
  const pid_t child = ::fork();
  if (child < 0) return fail_errno(errno, "start the compiler");
  if (child == 0) run_child(options);
  write_end.reset();
  const std::string text = read_to_end(read_end.get());
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return fail_errno(errno, "wait for the compiler");
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  if (WIFSIGNALED(status)) {
    const int signal = WTERMSIG(status);
    const bool memory = signal == SIGKILL || text.find("memory allocation of") != std::string::npos;
    return fail(memory ? ErrorCode::ResourceExhausted : ErrorCode::Internal, "compiling {}: the compiler died of signal {}{}{}{}", in_path, signal,
                memory ? ", out of memory" : "", memory && memory_bytes_max > 0 ? fmt::format(" (its limit is {} bytes)", memory_bytes_max) : "",
                text.empty() ? "" : ": " + text);
  }
  if (WEXITSTATUS(status) == 127) return fail(ErrorCode::Internal, "the compiler cannot be started: {}", text);
  return fail(ErrorCode::Unsupported, "{}", text.empty() ? fmt::format("compiling {}: the compiler ended with status {}", in_path, WEXITSTATUS(status)) : text);
}

}  // namespace dormouse::wasm
