// SPDX-License-Identifier: Apache-2.0
#include "paging/working_set.h"

#include <sys/mman.h>

#include <utility>

#include "paging/page_store.h"

namespace dormouse::paging {

void WorkingSet::note(const PageScan& scan, std::span<const std::byte> mapping) {
  PageRuns present;
  if (!scan.scan(mapping, PageScan::Kind::Present, 0, present)) return;
  const std::lock_guard lock(mutex_);
  if (!std::exchange(started_, true) || present.empty()) return;
  runs_ = joined(std::move(present), kRunsMax);
}

void WorkingSet::read_ahead(std::span<std::byte> mapping) const {
  const std::lock_guard lock(mutex_);
  for (const PageRun& run : runs_) {
    const std::size_t first = run.first * page_bytes(), bytes = run.count * page_bytes();
    if (first + bytes <= mapping.size()) ::madvise(mapping.data() + first, bytes, MADV_WILLNEED);
  }
}

}  // namespace dormouse::paging
