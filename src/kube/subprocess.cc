// SPDX-License-Identifier: Apache-2.0
#include "kube/subprocess.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <csignal>
#include <map>

extern char** environ;

namespace dormouse::kube {
namespace asio = boost::asio;
using boost::system::error_code;

struct Subprocess::Core : std::enable_shared_from_this<Subprocess::Core> {
  Core(asio::io_context& loop, Options given, Done callback)
      : loop(loop), options(std::move(given)), done(std::move(callback)), out(loop), err(loop), exit(loop), deadline(loop) {}

  asio::io_context& loop;
  const Options options;
  Done done;
  asio::posix::stream_descriptor out, err, exit;
  asio::steady_timer deadline;
  pid_t pid = -1;  // -1 once reaped.
  std::string output, error_output;
  std::array<char, 4096> out_buffer, err_buffer;
  bool out_ended = false, exited = false, killed_by_signal = false;
  int status = 0;

  void start() {
    if (const int problem = spawn(); problem != 0) {
      end_process();
      const std::string text = std::generic_category().message(problem);
      asio::post(loop, [self = shared_from_this(), problem, text] {
        self->finish(fail(problem == ENOENT ? ErrorCode::NotFound : ErrorCode::Unavailable, "cannot run {}: {}", self->options.command, text));
      });
      return;
    }
    deadline.expires_after(options.timeout);
    deadline.async_wait([self = shared_from_this()](error_code error) {
      if (!error) self->finish(fail(ErrorCode::DeadlineExceeded, "{} did not end within {} s{}", self->options.command, std::chrono::duration<double>(self->options.timeout).count(), self->shown_stderr()));
    });
    exit.async_wait(asio::posix::stream_descriptor::wait_read, [self = shared_from_this()](error_code error) {
      if (!error) self->on_exit();
    });
    read_out();
    read_err();
  }

  // Yields an errno.
  int spawn() {
    int out_pipe[2], err_pipe[2];
    if (pipe2(out_pipe, O_CLOEXEC) != 0) return errno;
    UniqueFd out_read(out_pipe[0]), out_write(out_pipe[1]);
    if (pipe2(err_pipe, O_CLOEXEC) != 0) return errno;
    UniqueFd err_read(err_pipe[0]), err_write(err_pipe[1]);

    std::map<std::string, std::string> variables;
    for (char** entry = environ; *entry != nullptr; ++entry) {
      const std::string text = *entry;
      const std::size_t equals = text.find('=');
      if (equals != std::string::npos) variables[text.substr(0, equals)] = text.substr(equals + 1);
    }
    for (const auto& [name, value] : options.env) variables[name] = value;
    std::vector<std::string> env_texts;
    for (const auto& [name, value] : variables) env_texts.push_back(name + "=" + value);
    std::vector<char*> env, argv;
    for (std::string& text : env_texts) env.push_back(text.data());
    env.push_back(nullptr);
    std::vector<std::string> args = options.args;
    args.insert(args.begin(), options.command);
    for (std::string& text : args) argv.push_back(text.data());
    argv.push_back(nullptr);

    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, out_write.get(), 1);
    posix_spawn_file_actions_adddup2(&actions, err_write.get(), 2);
    posix_spawn_file_actions_addclosefrom_np(&actions, 3);
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    pid_t child = -1;
    const int problem = posix_spawnp(&child, options.command.c_str(), &actions, &attributes, argv.data(), env.data());
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (problem != 0) return problem;
    pid = child;
    const int exit_fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
    if (exit_fd < 0) return errno;
    exit.assign(exit_fd);
    out.assign(out_read.release());
    err.assign(err_read.release());
    return 0;
  }

  void read_out() {
    out.async_read_some(asio::buffer(out_buffer), [self = shared_from_this()](error_code error, std::size_t size) {
      if (!self->done) return;
      self->output.append(self->out_buffer.data(), size);
      if (self->output.size() > self->options.output_bytes_max) {
        return self->finish(fail(ErrorCode::ResourceExhausted, "{} printed more than {} bytes", self->options.command, self->options.output_bytes_max));
      }
      if (!error) return self->read_out();
      self->out_ended = true;
      self->look();
    });
  }
  void read_err() {
    err.async_read_some(asio::buffer(err_buffer), [self = shared_from_this()](error_code error, std::size_t size) {
      if (!self->done) return;
      self->keep_stderr(size);
      if (!error) self->read_err();
    });
  }
  void keep_stderr(std::size_t size) {
    error_output.append(err_buffer.data(), size);
    const std::size_t limit = options.stderr_shown_bytes_max;
    if (error_output.size() > limit) error_output.erase(0, error_output.size() - limit);
  }
  void on_exit() {
    if (!done) return;
    // Not reaped yet: as long as it is a zombie, no other process group can have its number.
    siginfo_t about{};
    if (waitid(P_PID, static_cast<id_t>(pid), &about, WEXITED | WNOHANG | WNOWAIT) != 0 || about.si_pid != pid) return;
    exited = true;
    killed_by_signal = about.si_code != CLD_EXITED;
    status = about.si_status;
    // What it left in the pipe before it died.
    error_code error;
    err.non_blocking(true, error);
    while (!error) {
      const std::size_t size = err.read_some(asio::buffer(err_buffer), error);
      if (!error) keep_stderr(size);
    }
    look();
  }
  void look() {
    if (!exited || !out_ended) return;
    if (!killed_by_signal && status == 0) return finish(std::move(output));
    finish(fail(ErrorCode::Unavailable, "{} failed with {} {}{}", options.command, killed_by_signal ? "signal" : "exit status", status, shown_stderr()));
  }
  std::string shown_stderr() const {
    std::string text;
    for (const char c : error_output) text += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c;
    while (text.ends_with(' ')) text.pop_back();
    return text.empty() ? "; it said nothing on stderr" : ": " + text;
  }

  // Ends what has not ended by itself, and reaps.
  void end_process() {
    if (pid < 0) return;
    if (!exited || !out_ended) ::kill(-pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    pid = -1;
  }
  void stop() {
    error_code ignored;
    end_process();
    deadline.cancel();
    out.close(ignored);
    err.close(ignored);
    exit.close(ignored);
  }
  void finish(Result<std::string> result) {
    if (!done) return;
    const Done callback = std::exchange(done, nullptr);
    stop();
    callback(std::move(result));
  }
};

std::unique_ptr<Subprocess> Subprocess::run(asio::io_context& loop, Options options, Done done) {
  auto core = std::make_shared<Core>(loop, std::move(options), std::move(done));
  core->start();
  return std::unique_ptr<Subprocess>(new Subprocess(std::move(core)));
}
Subprocess::Subprocess(std::shared_ptr<Core> core) : core_(std::move(core)) {}
Subprocess::~Subprocess() {
  core_->done = nullptr;
  core_->stop();
}

}  // namespace dormouse::kube
