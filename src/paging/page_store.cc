// SPDX-License-Identifier: Apache-2.0
#include "paging/page_store.h"

#include <linux/magic.h>
#include <malloc.h>
#include <sys/vfs.h>

#include <cerrno>

#include "paging/bus_guard.h"

namespace dormouse::paging {

namespace {

// Whether it is time again for what happens at most once each `pause`; of those who ask at once, one is told so.
bool take_turn(std::atomic<std::int64_t>& not_before_ns, Nanoseconds now, Nanoseconds pause) {
  std::int64_t before = not_before_ns;
  return now.count() >= before && not_before_ns.compare_exchange_strong(before, (now + pause).count());
}

}  // namespace

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

void PageStore::note_page_out_time(Nanoseconds took) {
  tally_.page_out_time_ns += took.count();
  std::size_t i = 0;
  while (i < kPageOutTimeBounds.size() && took > kPageOutTimeBounds[i]) ++i;
  ++tally_.page_out_times[i];
}

void PageStore::report(const Error& error, Nanoseconds now) {
  constexpr Nanoseconds kSilence = std::chrono::minutes(1);
  if (!take_turn(silent_until_ns_, now, kSilence)) {
    ++unreported_;
    return;
  }
  log_.warning("a guest stays in RAM: its page-out has failed", {{"error", error.message}, {"more_of_these", unreported_.exchange(0)}});
}

std::optional<Nanoseconds> PageStore::tidy_host(Nanoseconds now) {
  if (take_turn(no_tidy_before_ns_, now, kTidyPause)) {
    tidier_told_ = false;
    ::malloc_trim(0);
    own_code_.drop(*scan_);
    return std::nullopt;
  }
  if (tidier_told_.exchange(true)) return std::nullopt;
  return Nanoseconds(no_tidy_before_ns_.load());
}

PageStore::Counters PageStore::counters() const {
  Counters counters{.page_outs_failed = tally_.page_outs_failed,
                    .page_outs_refused = room_.refusals(),
                    .written_bytes = tally_.written_bytes,
                    .wakes = tally_.wakes,
                    .cold_wakes = tally_.cold_wakes,
                    .files = tally_.files,
                    .stored_bytes = room_.used_bytes(),
                    .page_out_time = Nanoseconds(tally_.page_out_time_ns.load())};
  for (std::size_t i = 0; i < counters.page_out_times.size(); ++i) counters.page_out_times[i] = tally_.page_out_times[i];
  return counters;
}

}  // namespace dormouse::paging
