// SPDX-License-Identifier: Apache-2.0
#pragma once
// Keeps the host within its memory budget: looks at what is used when guests have run, and asks guests to leave RAM.
//
// There is no tick: a look is due after a guest has parked (its memory may have grown), when the kernel tells of pressure,
// and again soon while memory is short and there is somebody who can go.
//
// Ownership: owned by Host; borrows loop, clock and log. Threads: the loop's, except note_park().

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/types.h"
#include "guest/memory_governor.h"
#include "host/pressure.h"

namespace dormouse::host {

class MemoryWatch final : Immovable {
 public:
  // Between looks: far from the budget, and near it.
  static constexpr Nanoseconds kFar = std::chrono::milliseconds(250), kNear = std::chrono::milliseconds(50);
  static constexpr double kNearShare = 0.70;
  // While it is short and nobody can go, unless a guest parks.
  static constexpr Nanoseconds kStuck = std::chrono::seconds(5);
  // Of cached objects that are compressed at one look: the loop is busy with it for 6 ms.
  static constexpr std::uint64_t kCompressBytes = 2 << 20;

  struct Sleeper {
    guest::MemoryGovernor::Guest guest;
    std::function<void()> page_out;
  };
  struct Options {
    std::uint64_t budget_bytes = 0;
    std::function<Result<std::uint64_t>()> used_bytes;
    std::string pressure_path;                 // Empty: works by the budget alone.
    std::function<std::vector<Sleeper>()> sleepers;  // Guests of this moment; what they refer to lives as long as the call.
    std::function<std::uint64_t(std::uint64_t)> compress_cache;  // Frees about so many bytes if it can, and says how many. May be unset.
  };
  MemoryWatch(boost::asio::io_context& loop, const Clock& clock, Log& log, Options options);

  // Any thread; cheap.
  void note_park();

  struct Counters {
    std::uint64_t budget_bytes = 0, used_bytes = 0;  // Used: at the last look.
    std::uint64_t asked = 0, pressure = 0;           // Guests asked to leave; times the kernel told of pressure.
    std::uint64_t compressed_bytes = 0;              // That compressing cached objects has freed.
  };
  Counters counters() const;
  // What the timer does.
  void look();
  // For whoever is about to need much memory, such as a start: looks, and says whether it should rather wait.
  bool short_of_memory();

 private:
  void arm(Nanoseconds delay);

  boost::asio::io_context& loop_;
  const Clock& clock_;
  Log& log_;
  const Options options_;
  guest::MemoryGovernor governor_;
  boost::asio::steady_timer timer_;
  std::unique_ptr<PressureWatch> pressure_watch_;
  std::atomic<bool> park_noted_{false};        // A look is due and posted, or the timer runs for it.
  bool pressure_ = false, unreadable_told_ = false, short_told_ = false;
  Nanoseconds last_look_{}, interval_ = Nanoseconds(0);
  Counters counters_;
};

// What `--memory-budget` says: a quantity, "none" (0), or nothing, for what fits the machine. Errors: InvalidArgument.
Result<std::uint64_t> memory_budget(std::string_view text, const HostMemory& memory);

}  // namespace dormouse::host
