// SPDX-License-Identifier: Apache-2.0
#pragma once
// Asks the kernel which pages of this process are in RAM, and which of them are its own (written to).
//
// A private page of a MAP_PRIVATE mapping is one that was written to since it was mapped: dirty tracking for nothing.
// ioctl(PAGEMAP_SCAN) since Linux 6.7; before that, /proc/self/pagemap's eight bytes a page.
//
// Threads: any.

#include <cstddef>
#include <memory>
#include <span>

#include "base/result.h"
#include "base/types.h"
#include "paging/page_set.h"

namespace dormouse::paging {

std::size_t page_bytes();

class PageScan final : Immovable {
 public:
  enum class Kind : std::uint8_t {
    Private,  // Anonymous or copied on a write, swapped out ones too. The shared page of zeros is not.
    Present,  // Mapped now, whatever is behind it. Swapped out ones are not.
  };
  // Errors: when /proc is not there.
  static Result<std::unique_ptr<PageScan>> create(bool use_ioctl = true);

  // Appends to `out` the pages of that kind, numbered from `first_number` at the range's begin.
  // REQUIRES: `range` is page-aligned. Errors: Internal.
  Result<void> scan(std::span<const std::byte> range, Kind kind, std::uint32_t first_number, PageRuns& out) const;

 private:
  PageScan(UniqueFd pagemap, bool use_ioctl) : pagemap_(std::move(pagemap)), use_ioctl_(use_ioctl) {}
  Result<void> scan_by_ioctl(std::span<const std::byte> range, Kind kind, std::uint32_t first_number, PageRuns& out) const;
  Result<void> scan_by_reading(std::span<const std::byte> range, Kind kind, std::uint32_t first_number, PageRuns& out) const;

  const UniqueFd pagemap_;
  const bool use_ioctl_;
};

}  // namespace dormouse::paging
