// SPDX-License-Identifier: Apache-2.0
#pragma once
// One run of a module: its store, linear memory and the fiber it runs on.
//
//   Ready --resume()--> Parked | Preempted --resume()--> ... --> Ended
//
// A guest runs only inside resume(). It comes back when the guest parks (an import said Park), when its
// slice is over (the engine ticked), or when it has ended. When it has ended, however it did, its store,
// memory and stack are gone and the account has its bytes back: after a trap nothing of the store is used again.
//
// Ownership: owns store and fiber; shares the module; borrows engine, account and `host`.
// Threads: one thread at a time; which one may change between calls. request_stop() from any thread.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/memory_account.h"
#include "base/result.h"
#include "base/types.h"
#include "wasm/memory.h"

namespace dormouse::wasm {

class Engine;
class Module;

// How a guest ended.
struct Exit {
  enum class Kind : std::uint8_t { Returned, Exited, Trapped, Stopped };
  Kind kind = Kind::Returned;
  std::uint32_t code = 0;               // Exited: proc_exit's argument. Returned: 0.
  std::string message;                  // Trapped: "wasm trap: out of bounds memory access".
  std::vector<std::string> backtrace;   // Trapped: innermost first, "name (module+0x1f3a)"; at most 64.
};

class Instance final : Immovable {
 public:
  enum class State : std::uint8_t { Ready, Parked, Preempted, Ended };
  // Before a guest's linear memory, and behind the 4 GiB that it may take: addresses of its own, without access. Enough that no
  // page of page tables describes parts of two memories (see paging/); 20,000 guests fit into 47 bits so.
  static constexpr std::uint64_t kAroundMemoryBytes = std::uint64_t{1} << 30;
  struct Options {
    std::shared_ptr<const Module> module;  // Its imports were linked when it was loaded.
    void* host;                            // Handed to each import.
    MemoryAccount& account;                // Linear memory and tables are charged here; refused growth is -1 to the guest.
  };
  // Instantiates; no guest code runs yet (a module with a start function is instantiated in the first resume(),
  // and has no memory() before). Errors: ResourceExhausted when the initial memory passes the account's limit,
  // or the host has no room for it.
  static Result<std::unique_ptr<Instance>> create(Engine& engine, Options options);
  // Safe in any state; a parked guest runs no more code.
  ~Instance();

  // Runs the guest until it parks, is pre-empted or ends. REQUIRES: not Ended.
  State resume() noexcept;
  State state() const;
  // REQUIRES: Ended.
  const Exit& exit() const;
  // At its next chance the guest is ended with Exit::Kind::Stopped, even out of an endless loop. A parked
  // guest needs a resume() for it.
  void request_stop() noexcept;

  // Its memory or stack are lost (a page file that cannot be read): ends without touching either again. What the engine
  // keeps for it beside them, some kilobytes and its address space, is never given back. REQUIRES: Parked.
  void abandon() noexcept;

  // Nothing after the end.
  Memory memory() const;
  std::uint64_t memory_bytes() const;
  // The fiber's stack, once it has run for the first time and until its end, and right behind it what the engine has allocated for
  // this guest (nothing if there was no room, see Slot); for paging. While they are out of RAM, nothing but abandon(), memory() and
  // request_stop() may be called.
  std::span<std::byte> stack() const;
  // How much of the stack's begin nobody will read before having written it: what lies below the stack pointer. In whole pages.
  // REQUIRES: Parked.
  std::size_t unused_stack_bytes() const;
  std::span<std::byte> beside_stack() const;

  struct Parts;

 private:
  explicit Instance(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace dormouse::wasm
