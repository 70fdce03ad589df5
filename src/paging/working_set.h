// SPDX-License-Identifier: Apache-2.0
#pragma once
// What of a file's mapping was used lately, so that it is read from the medium at once instead of a fault at a time.
//
// Threads: any.

#include <cstddef>
#include <mutex>
#include <span>

#include "base/types.h"
#include "paging/page_scan.h"
#include "paging/page_set.h"

namespace dormouse::paging {

class WorkingSet final : Immovable {
 public:
  // Kept as at most so many runs, those with the smallest gaps between them joined.
  static constexpr std::size_t kRunsMax = 64;

  // Takes what is mapped of `mapping` now for what is used; the first time it forgets it, for a start uses what nothing ever will again.
  void note(const PageScan& scan, std::span<const std::byte> mapping);
  // Asks for what was noted of the same mapping, without waiting.
  void read_ahead(std::span<std::byte> mapping) const;

 private:
  mutable std::mutex mutex_;
  bool started_ = false;
  PageRuns runs_;
};

}  // namespace dormouse::paging
