// SPDX-License-Identifier: Apache-2.0
#pragma once
// Runs a program without blocking the loop: no input, bounded output, bounded time.
//
// The program gets a process group of its own, which is killed when time is up, when it prints too much, or when nobody
// waits for it any more. It inherits no descriptor but its three standard ones.
//
// Ownership: owned by whoever wants the answer; destroying it kills the program and drops the callback.
// Threads:   the loop's.

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "base/clock.h"
#include "base/result.h"
#include "base/types.h"

namespace dormouse::kube {

class Subprocess final : Immovable {
 public:
  struct Options {
    std::string command;  // A path, or a name that is looked up in PATH.
    std::vector<std::string> args;
    std::vector<std::pair<std::string, std::string>> env;  // Added to ours.
    Nanoseconds timeout = std::chrono::seconds(60);
    std::size_t output_bytes_max = 1024 * 1024;
    std::size_t stderr_shown_bytes_max = 2 * 1024;  // Its end; the rest is dropped.
  };
  using Done = std::function<void(Result<std::string>)>;  // What it wrote to stdout. May destroy the Subprocess.
  // `done` is called once, never from within run(). Errors: NotFound (no such program), Unavailable (exit status; the message has
  // the end of stderr), DeadlineExceeded, ResourceExhausted.
  static std::unique_ptr<Subprocess> run(boost::asio::io_context& loop, Options options, Done done);
  ~Subprocess();

 private:
  struct Core;
  explicit Subprocess(std::shared_ptr<Core> core);
  std::shared_ptr<Core> core_;
};

}  // namespace dormouse::kube
