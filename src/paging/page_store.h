// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where the page files of all guests of a host are, and what they may take.
//
// Ownership: borrows disk and log; outlives each PagedMemory.
// Threads: any.

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory_account.h"
#include "base/result.h"
#include "base/types.h"
#include "paging/disk.h"
#include "paging/own_code.h"
#include "paging/page_scan.h"

namespace dormouse::paging {

class PageStore final : Immovable {
 public:
  struct Options {
    std::string directory;                // On a disk: pages on a file system in RAM would not leave it.
    std::uint64_t budget_bytes = 0;       // That all page files may take together.
    bool encrypted = false;
    // Each page-out waits for the medium and gives the page cache back, so that nothing at all is left in RAM; a wake-up
    // then reads from the medium. Otherwise the kernel keeps the pages as long as it has no better use for the RAM.
    bool drop_page_cache = false;
    bool allow_ram_file_system = false;   // For tests.
    bool use_pagemap_scan = true;         // False for tests of what older kernels offer.
  };
  // Makes sure that the directory can take page files and that the kernel tells which pages are changed. Installs the BusGuard.
  // Errors: InvalidArgument, PermissionDenied, NotFound, ….
  static Result<std::unique_ptr<PageStore>> create(Options options, Disk& disk, Log& log);

  static constexpr std::array<Nanoseconds, 8> kPageOutTimeBounds{std::chrono::microseconds(50),  std::chrono::microseconds(100), std::chrono::microseconds(250),
                                                                 std::chrono::microseconds(500), std::chrono::milliseconds(1),   std::chrono::milliseconds(5),
                                                                 std::chrono::milliseconds(25),  std::chrono::milliseconds(100)};
  struct Counters {
    std::uint64_t page_outs_failed = 0, page_outs_refused = 0;                 // Refused: by the budget.
    std::uint64_t written_bytes = 0;
    std::uint64_t wakes = 0, cold_wakes = 0;
    std::uint64_t files = 0, stored_bytes = 0;                                 // Now.
    Nanoseconds page_out_time{};                                               // Of all page-outs together, failed ones too.
    // How many took at most kPageOutTimeBounds[i]; the last: longer than all.
    std::array<std::uint64_t, kPageOutTimeBounds.size() + 1> page_out_times{};
  };
  Counters counters() const;
  const Options& options() const { return options_; }

  // --- For whoever pages guests out ---
  void note_page_out_time(Nanoseconds took);
  // A page-out has failed: a line in the log, at most one a minute.
  void report(const Error& error, Nanoseconds now);
  // What is the host's own leaves RAM, too: freed heap, and code that was wanted at the start alone (OwnCode); at most each kTidyPause.
  // Yields when to call again, if it is too early and nobody else has been told to.
  static constexpr Nanoseconds kTidyPause = std::chrono::seconds(10);
  std::optional<Nanoseconds> tidy_host(Nanoseconds now);

  // --- For PagedMemory ---
  Disk& disk() { return disk_; }
  const PageScan& scan() const { return *scan_; }
  // Room in the page files. A refusal is counted.
  bool reserve(std::uint64_t bytes) { return room_.try_charge(bytes); }
  void release(std::uint64_t bytes) { room_.release(bytes); }
  struct Tally {
    std::atomic<std::uint64_t> page_outs_failed{0}, written_bytes{0}, wakes{0}, cold_wakes{0}, files{0};
    std::atomic<std::int64_t> page_out_time_ns{0};
    std::array<std::atomic<std::uint64_t>, kPageOutTimeBounds.size() + 1> page_out_times{};
  };
  Tally& tally() { return tally_; }

 private:
  PageStore(Options options, Disk& disk, Log& log, std::unique_ptr<PageScan> scan) : options_(std::move(options)), disk_(disk), log_(log), scan_(std::move(scan)) {}

  const Options options_;
  Disk& disk_;
  Log& log_;
  const std::unique_ptr<PageScan> scan_;
  MemoryAccount room_{options_.budget_bytes};
  const OwnCode own_code_;
  std::atomic<std::int64_t> silent_until_ns_{0}, no_tidy_before_ns_{0};
  std::atomic<bool> tidier_told_{false};
  std::atomic<std::uint64_t> unreported_{0};
  Tally tally_;
};

}  // namespace dormouse::paging
