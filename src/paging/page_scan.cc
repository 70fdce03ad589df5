// SPDX-License-Identifier: Apache-2.0
#include "paging/page_scan.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/check.h"

namespace dormouse::paging {
namespace {

// As linux/fs.h has them since 6.7 (Documentation/admin-guide/mm/pagemap.rst); our headers may be older.
struct ScanRegion {
  std::uint64_t start, end, categories;
};
struct ScanArgument {
  std::uint64_t size, flags, start, end, walk_end, regions, regions_count, pages_max, category_inverted, category_mask, category_any_mask, return_mask;
};
constexpr unsigned long kPagemapScan = _IOWR('f', 16, ScanArgument);
constexpr std::uint64_t kFile = 1 << 2, kPresent = 1 << 3, kSwapped = 1 << 4, kZeroPage = 1 << 5;

// The entries of /proc/self/pagemap.
constexpr std::uint64_t kEntryPresent = std::uint64_t{1} << 63, kEntrySwapped = std::uint64_t{1} << 62, kEntryFile = std::uint64_t{1} << 61;

}  // namespace

std::size_t page_bytes() {
  static const auto bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}

Result<std::unique_ptr<PageScan>> PageScan::create(bool use_ioctl) {
  UniqueFd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  if (!pagemap) return fail_errno(errno, "guests cannot leave RAM without /proc/self/pagemap: open it");
  if (use_ioctl) {
    ScanArgument nothing{};
    nothing.size = sizeof nothing;
    use_ioctl = ::ioctl(pagemap.get(), kPagemapScan, &nothing) >= 0;
  }
  return std::unique_ptr<PageScan>(new PageScan(std::move(pagemap), use_ioctl));
}

Result<void> PageScan::scan(std::span<const std::byte> range, Kind kind, std::uint32_t first_number, PageRuns& out) const {
  CHECK(reinterpret_cast<std::uintptr_t>(range.data()) % page_bytes() == 0 && range.size() % page_bytes() == 0);
  if (range.empty()) return {};
  return use_ioctl_ ? scan_by_ioctl(range, kind, first_number, out) : scan_by_reading(range, kind, first_number, out);
}

Result<void> PageScan::scan_by_ioctl(std::span<const std::byte> range, Kind kind, std::uint32_t first_number, PageRuns& out) const {
  std::array<ScanRegion, 256> regions;
  const auto begin = reinterpret_cast<std::uint64_t>(range.data());
  ScanArgument argument{};
  argument.size = sizeof argument;
  argument.start = begin;
  argument.end = begin + range.size();
  argument.regions = reinterpret_cast<std::uint64_t>(regions.data());
  argument.regions_count = regions.size();
  if (kind == Kind::Private) {
    argument.category_inverted = argument.category_mask = kFile | kZeroPage;
    argument.category_any_mask = kPresent | kSwapped;
  } else {
    argument.category_mask = kPresent;
  }
  argument.return_mask = kPresent;
  while (argument.start < argument.end) {
    const int found = ::ioctl(pagemap_.get(), kPagemapScan, &argument);
    if (found < 0 && errno == EINTR) continue;
    if (found < 0) return fail_errno(errno, "ask for a guest's changed pages (PAGEMAP_SCAN)");
    for (int i = 0; i < found; ++i) {
      const ScanRegion& region = regions[static_cast<std::size_t>(i)];
      append(out, {first_number + static_cast<std::uint32_t>((region.start - begin) / page_bytes()), static_cast<std::uint32_t>((region.end - region.start) / page_bytes())});
    }
    CHECK(argument.walk_end > argument.start);
    argument.start = argument.walk_end;
  }
  return {};
}

Result<void> PageScan::scan_by_reading(std::span<const std::byte> range, Kind kind, std::uint32_t first_number, PageRuns& out) const {
  std::array<std::uint64_t, 512> entries;
  const std::uint64_t first = reinterpret_cast<std::uint64_t>(range.data()) / page_bytes(), pages = range.size() / page_bytes();
  for (std::uint64_t done = 0; done < pages;) {
    const std::size_t wanted = std::min<std::uint64_t>(entries.size(), pages - done) * sizeof(std::uint64_t);
    const ssize_t read = ::pread(pagemap_.get(), entries.data(), wanted, static_cast<off_t>((first + done) * sizeof(std::uint64_t)));
    if (read < 0 && errno == EINTR) continue;
    if (read <= 0) return fail_errno(read < 0 ? errno : EIO, "read /proc/self/pagemap");
    const std::size_t count = static_cast<std::size_t>(read) / sizeof(std::uint64_t);
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint64_t entry = entries[i];
      // The page of zeros looks like any other here: whoever asks sees by its content.
      const bool match = kind == Kind::Private ? (entry & (kEntryPresent | kEntrySwapped)) != 0 && (entry & kEntryFile) == 0 : (entry & kEntryPresent) != 0;
      if (match) append(out, {first_number + static_cast<std::uint32_t>(done + i), 1});
    }
    done += count;
  }
  return {};
}

}  // namespace dormouse::paging
