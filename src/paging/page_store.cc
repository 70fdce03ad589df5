// SPDX-License-Identifier: Apache-2.0
#include "paging/page_store.h"

#include <linux/magic.h>
#include <malloc.h>
#include <sys/vfs.h>

#include <cerrno>

#include "base/check.h"
#include "paging/bus_guard.h"

namespace dormouse::paging {

Result<std::unique_ptr<PageStore>> PageStore::create(Options options, Disk& disk, Log& log) {
  struct statfs system{};
  if (::statfs(options.directory.c_str(), &system) != 0) return fail_errno(errno, fmt::format("the directory for page files, {}", options.directory));
  if (!options.allow_ram_file_system && (system.f_type == TMPFS_MAGIC || system.f_type == RAMFS_MAGIC))
    return fail(ErrorCode::InvalidArgument, "the directory for page files, {}, is on a file system in RAM, which would not free any: name one on a disk (--page-directory)", options.directory);
  auto scan = PageScan::create(options.use_pagemap_scan);
  if (!scan) return fail(std::move(scan.error()));
  if (auto file = disk.create_file(options.directory); !file) return fail(std::move(file.error()));
  BusGuard::install();
  return std::unique_ptr<PageStore>(new PageStore(std::move(options), disk, log, std::move(*scan)));
}

bool PageStore::reserve(std::uint64_t bytes) {
  std::uint64_t stored = stored_bytes_.load(std::memory_order_relaxed);
  do {
    if (bytes > options_.budget_bytes || stored > options_.budget_bytes - bytes) return false;
  } while (!stored_bytes_.compare_exchange_weak(stored, stored + bytes, std::memory_order_relaxed));
  return true;
}

void PageStore::release(std::uint64_t bytes) { CHECK(stored_bytes_.fetch_sub(bytes, std::memory_order_relaxed) >= bytes); }

void PageStore::note_page_out_time(Nanoseconds took) {
  tally_.page_out_time_ns += took.count();
  std::size_t i = 0;
  while (i < kPageOutTimeBounds.size() && took > kPageOutTimeBounds[i]) ++i;
  ++tally_.page_out_times[i];
}

void PageStore::report(const Error& error, Nanoseconds now) {
  constexpr Nanoseconds kSilence = std::chrono::minutes(1);
  std::int64_t until = silent_until_ns_;
  if (now.count() < until || !silent_until_ns_.compare_exchange_strong(until, (now + kSilence).count())) {
    ++unreported_;
    return;
  }
  log_.warning("a guest stays in RAM: its page-out has failed", {{"error", error.message}, {"more_of_these", unreported_.exchange(0)}});
}

void PageStore::trim_heap(Nanoseconds now) {
  constexpr Nanoseconds kPause = std::chrono::seconds(10);
  std::int64_t before = no_trim_before_ns_;
  if (now.count() < before || !no_trim_before_ns_.compare_exchange_strong(before, (now + kPause).count())) return;
  ::malloc_trim(0);
}

PageStore::Counters PageStore::counters() const {
  Counters counters{.page_outs = tally_.page_outs,
          .page_outs_failed = tally_.page_outs_failed,
          .page_outs_refused = tally_.page_outs_refused,
          .written_bytes = tally_.written_bytes,
          .freed_bytes = tally_.freed_bytes,
          .wakes = tally_.wakes,
          .cold_wakes = tally_.cold_wakes,
          .files = tally_.files,
          .stored_bytes = stored_bytes_,
          .page_out_time = Nanoseconds(tally_.page_out_time_ns.load())};
  for (std::size_t i = 0; i < counters.page_out_times.size(); ++i) counters.page_out_times[i] = tally_.page_out_times[i];
  return counters;
}

}  // namespace dormouse::paging
