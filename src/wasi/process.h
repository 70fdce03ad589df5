// SPDX-License-Identifier: Apache-2.0
#pragma once
// One guest as WASI preview 1 sees it: arguments, environment, descriptors, name space, clocks, randomness.
//
// All 46 functions of the specification are here, over the file tree in memory and the streams of `Network`.
// poll_oneoff alone blocks: it says Park, and the owner resumes the guest when `ready()` or at `deadline()`.
//
// Ownership: owned by one Guest; borrows clock, network, account and sinks, which outlive it.
// Threads: the guest's thread, except deliver_signal() and the wakers, which any thread may call.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/memory_account.h"
#include "base/types.h"
#include "wasi/abi.h"
#include "wasi/file_tree.h"
#include "wasi/network.h"
#include "wasi/wake_cause.h"
#include "wasm/import.h"

namespace dormouse::wasi {

// Where a guest's stdout or stderr goes. Called on the guest's thread.
class OutputSink {
 public:
  virtual ~OutputSink() = default;
  virtual void write(std::span<const std::byte> bytes) = 0;
};

struct ProcessState;

class Process final : Immovable {
 public:
  struct Preopen {
    std::string guest_path;               // "/" for a pod.
    std::shared_ptr<Directory> directory;
    bool special = false;                 // Resolves /net and /run/signals too.
  };
  struct Options {
    std::vector<std::string> arguments;   // [0] is the program's name.
    std::vector<std::string> environment; // "NAME=value"
    std::vector<Preopen> preopens;        // Descriptors 3, 4, ….
    std::string stdin_bytes;              // What fd 0 gives before its end.
    OutputSink& standard_output;
    OutputSink& standard_error;
    Network* network;                     // Null: no /net.
    MemoryAccount& account;
    const Clock& clock;
    // Called, from any thread, when a parked guest should be resumed.
    std::function<void()> wake;
    std::uint32_t descriptors_max = 65'536;
    bool terminal = false;                // Whether stdout/stderr/stdin claim to be a terminal (character device always).
    std::function<void(std::span<std::byte>)> random;  // Fills from the kernel's generator (getrandom) when empty.
  };
  explicit Process(Options options);
  ~Process();

  // The table for wasm::Module::load; `host` of the Instance is the Process.
  static std::span<const wasm::ImportModule> imports();

  // Of the park under way: when it must be resumed at the latest (monotonic), if it named a time.
  std::optional<Nanoseconds> deadline() const;
  // Whether a resume would find something to report now. If not, `wake` is armed again: for a guest that was woken for nothing.
  bool ready() const;
  // What a resume would report now, streams before the deadline; unset if nothing. Of several streams, one that can be read.
  std::optional<WakeCause> wake_cause() const;
  // Puts `number` on /run/signals. False if the guest does not have it open: the default action is the caller's to take.
  bool deliver_signal(int number);

  struct Counters {
    std::uint64_t polls = 0, parks = 0, reads = 0, writes = 0, opens = 0, read_bytes = 0, written_bytes = 0;
    std::uint64_t activity = 0;           // Calls by which anything but the guest itself can tell, or be told, something:
                                          // not clocks, random numbers, polls, yields and its own arguments.
    std::uint64_t kube_activity = 0;      // Those of them that concern streams of the Kubernetes API.
    std::uint32_t open_descriptors = 0, open_streams = 0;
  };
  Counters counters() const;              // From the guest's thread, or while it does not run.

  ProcessState& state() { return *state_; }  // For the functions themselves.

 private:
  const std::unique_ptr<ProcessState> state_;
};

}  // namespace dormouse::wasi
