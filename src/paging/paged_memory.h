// SPDX-License-Identifier: Apache-2.0
#pragma once
// The memory of one guest, whose pages leave RAM while the guest sleeps.
//
// Compiled code keeps raw pointers into the guest's linear memory and stack, so their addresses never change. page_out()
// writes the pages that have changed to the guest's page file and lays a private mapping of that file over both: one
// mapping each, page tables and frames go. Afterwards the pages that are the process's own are those changed since.
//
//   Resident --page_out()--> PagedOut --wake()--> Resident
//       `------ error -----> Resident (nothing lost, still usable; the next page_out() begins anew)
//
// The mapping changes only after every byte is in the file, and a file is only written where its mapping has a copy of
// its own, so that a page-out that fails half way is not seen by the guest. Pages of zeros are holes.
//
// The kernel keeps a page of page tables that a neighbour's mapping reaches into. So everything around memory first becomes one
// mapping without access, and the file's is laid into it; should that fail, memory is read back from the file.
//
// Encrypted: the file holds ciphertext, so memory is laid over it empty and wake() brings all of it back.
//
// Ownership: borrows store and memory. Threads: one at a time, while the guest is parked; lost() from any.
// Invariant: `stored_` names every page that the file may hold, and as much is reserved with the store.

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "base/result.h"
#include "base/types.h"
#include "paging/page_cipher.h"
#include "paging/page_set.h"
#include "paging/page_store.h"

namespace dormouse::paging {

class PagedMemory final : Immovable {
 public:
  enum class State : std::uint8_t { Resident, PagedOut };
  static constexpr std::uint64_t kTablesReachBytes = std::uint64_t{1} << 30;  // What one page of page tables of the second level describes.
  // Page-aligned; where they begin never changes, nor the size of stack and beside.
  struct Regions {
    std::span<std::byte> stack;      // wake() reads it, so that a page that cannot be read is an error there,
    std::size_t unused_bytes = 0;    // but for so much of its begin: what that holds does not matter any more;
    std::span<std::byte> beside;     // and this, right behind the stack, only if the file has left page cache (2 MB of a Go guest: 140 us).
    std::span<std::byte> memory;     // See BusGuard.
    std::uint64_t image_bytes = 0;  // From memory's begin on: what its initial mapping may hold besides zeros.
    // Before and behind memory: addresses without access that are its own. With kTablesReachBytes, its page tables leave RAM too.
    std::uint64_t around_bytes = 0;
  };

  explicit PagedMemory(PageStore& store) : store_(store) {}
  // REQUIRES: nobody looks at the regions any more.
  ~PagedMemory();

  struct Freed {
    std::uint64_t resident_bytes = 0;  // That were in RAM before, clean ones too.
    std::uint64_t written_bytes = 0;
  };
  // REQUIRES: Resident. Errors: ResourceExhausted (the budget), Unavailable and others (the disk). If lost() then, more has
  // failed than can be mended, and nothing may run on the regions again.
  // `idled`: since it was woken it has done nothing, and what that touched is not what its next wake-up will.
  Result<Freed> page_out(const Regions& regions, bool idled = false);
  // The guest may run again; reads ahead what its last wake-up touched if the file is not in page cache.
  // Errors: the file cannot be read: the regions are lost, the stack too, and nothing may run on them again.
  // `if_cold` is called if it is not there: other files of the guest's will not be either.
  // REQUIRES: PagedOut.
  Result<void> wake(const std::function<void()>& if_cold = nullptr);

  State state() const { return state_; }
  std::uint64_t stored_bytes() const { return stored_.size() * page_bytes(); }
  // A page could not be read back when the guest touched it (see BusGuard): what it sees is not its memory.
  bool lost() const { return lost_.load(std::memory_order_relaxed); }

 private:
  friend class BusGuard;
  struct Plan;  // What a page-out has to write, and where zeros are to be.

  std::uint32_t pages_of(std::span<const std::byte> bytes) const { return static_cast<std::uint32_t>(bytes.size() / page_bytes()); }
  // What is mapped first: stack and beside.
  std::span<std::byte> head() const { return {regions_.stack.data(), regions_.stack.size() + regions_.beside.size()}; }
  std::byte* address_of(std::uint32_t page) const;
  Result<Plan> make_plan() const;
  Result<void> store(const Plan& plan);
  int write_run(PageRun run);
  int make_hole(PageRun run);
  Result<void> map_over();
  int map_part(std::span<std::byte> part, std::uint32_t first_page, bool gone = false);
  bool clear_around();
  Result<void> bring_back(std::uint32_t first, std::uint32_t end);
  std::uint64_t note_working_set(bool idled);
  void note_written(const Plan& plan);
  void read_ahead();
  Result<void> touch(const PageRuns& runs, bool copies, std::function<void()> on_wait);
  bool same_in_file(std::uint32_t page) const;
  void forget_file();

  PageStore& store_;
  Regions regions_;
  UniqueFd file_;
  std::uint64_t file_pages_ = 0;
  std::unique_ptr<PageCipher> cipher_;  // When encrypted.
  PageSet stored_;                      // By page of the file: the head's first, then the memory's.
  PageRuns working_set_;                // What the last wake-up that did anything touched of the memory; empty before the first.
  PageRuns written_;                    // And what it changed of the head, if that is little: the next will, too.
  bool laid_over_ = false;              // Nothing of the memory's initial mapping is left.
  State state_ = State::Resident;
  std::atomic<bool> lost_{false};
};

}  // namespace dormouse::paging
