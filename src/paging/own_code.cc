// SPDX-License-Identifier: Apache-2.0
#include "paging/own_code.h"

#include <link.h>
#include <sys/mman.h>

namespace dormouse::paging {

OwnCode::OwnCode() {
  // The first object is the program itself. Relocated constants are in a segment that is written to, and stay.
  ::dl_iterate_phdr(
      [](dl_phdr_info* object, std::size_t, void* segments) {
        const std::uintptr_t page = page_bytes();
        for (int i = 0; i < object->dlpi_phnum; ++i) {
          const auto& header = object->dlpi_phdr[i];
          if (header.p_type != PT_LOAD || (header.p_flags & PF_W) != 0) continue;
          const std::uintptr_t begin = (object->dlpi_addr + header.p_vaddr) / page * page, end = (object->dlpi_addr + header.p_vaddr + header.p_memsz + page - 1) / page * page;
          static_cast<std::vector<std::span<std::byte>>*>(segments)->emplace_back(reinterpret_cast<std::byte*>(begin), end - begin);
        }
        return 1;
      },
      &segments_);
}

std::uint64_t OwnCode::mapped_bytes(const PageScan& scan) const {
  PageRuns mapped;
  std::uint32_t number = 0;
  for (const auto& segment : segments_) {
    if (!scan.scan(segment, PageScan::Kind::Present, number, mapped)) return 0;
    number += static_cast<std::uint32_t>(segment.size() / page_bytes());
  }
  return page_count(mapped) * page_bytes();
}

std::uint64_t OwnCode::drop(const PageScan& scan, std::uint64_t mapped_max) const {
  const std::uint64_t mapped = mapped_bytes(scan);
  if (mapped <= mapped_max) return 0;
  for (const auto& segment : segments_) {
    if (::madvise(segment.data(), segment.size(), MADV_DONTNEED) != 0) return 0;
  }
  return mapped;
}

}  // namespace dormouse::paging
