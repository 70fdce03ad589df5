// SPDX-License-Identifier: Apache-2.0
#include "paging/paged_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "paging/working_set.h"

namespace dormouse::paging {
namespace {

// Of a cold file whose working set is not known yet, the memory is read ahead up to this: that takes a medium no longer than finding
// it a fault at a time (findings: 5.7 -> 1.3 ms for 2 MB), reading 34 MB does.
constexpr std::uint64_t kReadAheadAllBytes = 2 << 20;
constexpr std::size_t kCipherBatchPages = 16;
// What the last wake-up changed of the head is copied at once for the next, if it is no more than so much: two faults less for each.
// Of the head alone, for each run changes the same there. A page that was copied for nothing is not among them the next time.
constexpr std::uint64_t kWrittenPagesMax = 32;

bool all_zero(const std::byte* page) {
  const auto* words = reinterpret_cast<const std::uint64_t*>(page);
  for (std::size_t i = 0; i < page_bytes() / sizeof *words; i += 8) {
    if ((words[i] | words[i + 1] | words[i + 2] | words[i + 3] | words[i + 4] | words[i + 5] | words[i + 6] | words[i + 7]) != 0) return false;
  }
  return true;
}

Error disk_error(int problem, std::string_view what) {
  Error error = fail_errno(problem, fmt::format("{} a guest's page file", what)).error();
  return error;
}

}  // namespace

struct PagedMemory::Plan {
  PageRuns writes;          // Not all zeros.
  PageRuns holes;           // All zeros, or not wanted any more, but the file holds something there.
  std::uint64_t new_pages = 0;  // Of `writes`: not stored before.
};

PagedMemory::~PagedMemory() { forget_file(); }

void PagedMemory::forget_file() {
  store_.release(stored_bytes());
  stored_.clear();
  if (file_) --store_.tally().files;
  file_.reset();
  file_pages_ = 0;
}

std::byte* PagedMemory::address_of(std::uint32_t page) const {
  const std::uint32_t head_pages = pages_of(head());
  return page < head_pages ? regions_.stack.data() + page * page_bytes() : regions_.memory.data() + std::size_t{page - head_pages} * page_bytes();
}

Result<PagedMemory::Plan> PagedMemory::make_plan() const {
  const std::uint32_t head_pages = pages_of(head());
  PageRuns candidates;
  const auto unused = static_cast<std::uint32_t>(regions_.unused_bytes / page_bytes());
  if (auto done = store_.scan().scan(head().subspan(regions_.unused_bytes), PageScan::Kind::Private, unused, candidates); !done) return fail(std::move(done.error()));
  // At first the initial image is behind the memory's clean pages, and goes with its mapping: all of it counts as changed.
  const std::size_t image_bytes = laid_over_ ? 0 : std::min<std::size_t>((regions_.image_bytes + page_bytes() - 1) / page_bytes() * page_bytes(), regions_.memory.size());
  const auto image_pages = static_cast<std::uint32_t>(image_bytes / page_bytes());
  append(candidates, {head_pages, image_pages});
  if (auto done = store_.scan().scan(regions_.memory.subspan(image_bytes), PageScan::Kind::Private, head_pages + image_pages, candidates); !done) return fail(std::move(done.error()));
  Plan plan;
  plan.holes = stored_.runs(0, unused);
  PageSet copied;
  copied.insert(written_);
  for (const PageRun& run : candidates) {
    for (std::uint32_t page = run.first; page < run.end(); ++page) {
      if (copied.contains(page) && stored_.contains(page) && same_in_file(page)) continue;
      if (!all_zero(address_of(page))) {
        append(plan.writes, {page, 1});
        if (!stored_.contains(page)) ++plan.new_pages;
      } else if (stored_.contains(page)) {
        append(plan.holes, {page, 1});
      }
    }
  }
  return plan;
}

bool PagedMemory::same_in_file(std::uint32_t page) const {
  alignas(64) std::array<std::byte, 4096> there;
  if (cipher_ || page_bytes() > there.size()) return false;
  return read_all(store_.disk(), file_.get(), std::span(there).first(page_bytes()), std::uint64_t{page} * page_bytes()) == 0 &&
         std::memcmp(there.data(), address_of(page), page_bytes()) == 0;
}

int PagedMemory::write_run(PageRun run) {
  // A run may go from the head's end over to the memory's begin, which are neighbours only in the file.
  const std::uint32_t head_pages = pages_of(head());
  if (run.first < head_pages && run.end() > head_pages) {
    if (const int problem = write_run({run.first, head_pages - run.first})) return problem;
    run = {head_pages, run.end() - head_pages};
  }
  Disk& disk = store_.disk();
  if (!cipher_) return write_all(disk, file_.get(), {address_of(run.first), run.count * page_bytes()}, run.first * page_bytes());
  std::vector<std::byte> batch(std::min<std::size_t>(run.count, kCipherBatchPages) * page_bytes());
  for (std::uint32_t page = run.first; page < run.end();) {
    const std::uint32_t count = std::min<std::uint32_t>(kCipherBatchPages, run.end() - page);
    for (std::uint32_t i = 0; i < count; ++i) {
      if (!cipher_->encrypt(page + i, {address_of(page + i), page_bytes()}, batch.data() + i * page_bytes())) return EIO;
    }
    if (const int problem = write_all(disk, file_.get(), {batch.data(), count * page_bytes()}, page * page_bytes())) return problem;
    page += count;
  }
  return 0;
}

int PagedMemory::make_hole(PageRun run) {
  Disk& disk = store_.disk();
  const std::uint64_t offset = std::uint64_t{run.first} * page_bytes();
  if (disk.punch(file_.get(), offset, std::uint64_t{run.count} * page_bytes()) == 0) {
    for (std::uint32_t page = run.first; page < run.end(); ++page) {
      if (stored_.erase(page)) store_.release(page_bytes());
    }
    return 0;
  }
  // Not every file system has holes: then zeros are written, and still take their place.
  return write_run(run);
}

Result<void> PagedMemory::store(const Plan& plan) {
  Disk& disk = store_.disk();
  if (!file_) {
    auto file = disk.create_file(store_.options().directory);
    if (!file) return fail(std::move(file.error()));
    file_ = std::move(*file);
    ++store_.tally().files;
    if (store_.options().encrypted && !cipher_) {
      auto cipher = PageCipher::create();
      if (!cipher) return fail(std::move(cipher.error()));
      cipher_ = std::move(*cipher);
    }
  }
  // The whole of both regions, so that no fault on the mapping can be behind the file's end.
  const std::uint64_t pages = pages_of(head()) + pages_of(regions_.memory);
  if (pages > file_pages_) {
    if (const int problem = disk.resize(file_.get(), pages * page_bytes())) return fail(disk_error(problem, "enlarge"));
    file_pages_ = pages;
  }
  if (!store_.reserve(plan.new_pages * page_bytes())) {
    return fail(ErrorCode::ResourceExhausted, "page files have no room for another {} bytes: their limit is {} bytes (--page-budget)", plan.new_pages * page_bytes(), store_.options().budget_bytes);
  }
  stored_.insert(plan.writes);
  for (const PageRun& run : plan.writes) {
    if (const int problem = write_run(run)) return fail(disk_error(problem, "write"));
  }
  for (const PageRun& run : plan.holes) {
    if (const int problem = make_hole(run)) return fail(disk_error(problem, "clear a part of"));
  }
  if (store_.options().drop_page_cache) {
    if (const int problem = disk.sync(file_.get())) return fail(disk_error(problem, "save"));
  }
  return {};
}

// `gone`: nothing is there already.
int PagedMemory::map_part(std::span<std::byte> part, std::uint32_t first_page, bool gone) {
  if (part.empty()) return 0;
  Disk& disk = store_.disk();
  // What a cold wake-up will want of it is asked for by itself.
  const bool alone = !cipher_ && (first_page == 0 || !working_set_.empty());
  const int problem = disk.map(part.data(), part.size(), cipher_ ? -1 : file_.get(), std::uint64_t{first_page} * page_bytes(), alone);
  if (problem == 0) return 0;
  // Newer kernels change nothing when they fail; older ones may have taken the mapping away already. Its bytes are in the file.
  if (!gone && (::msync(part.data(), part.size(), MS_ASYNC) == 0 || errno != ENOMEM)) return problem;
  if (SystemDisk().map(part.data(), part.size(), -1, 0, false) != 0 || !bring_back(first_page, first_page + pages_of(part))) lost_ = true;
  return problem;
}

// True: memory and what is around it are one mapping without access, and the page tables have gone. If it fails they stay.
bool PagedMemory::clear_around() {
  if (regions_.around_bytes < kTablesReachBytes || regions_.memory.empty()) return false;
  const auto memory = reinterpret_cast<std::uintptr_t>(regions_.memory.data());
  const std::uintptr_t begin = memory / kTablesReachBytes * kTablesReachBytes;
  const std::uintptr_t end = (memory + regions_.memory.size() + kTablesReachBytes - 1) / kTablesReachBytes * kTablesReachBytes;
  return store_.disk().reserve(regions_.memory.data() - (memory - begin), end - begin) == 0;
}

Result<void> PagedMemory::map_over() {
  // The memory first: should the head's mapping fail, all is as it was but for where clean pages come from.
  const bool gone = clear_around();
  if (const int problem = map_part(regions_.memory, pages_of(head()), gone)) return fail(disk_error(problem, "map"));
  laid_over_ = true;
  if (const int problem = map_part(head(), 0)) {
    if (cipher_ && !bring_back(pages_of(head()), static_cast<std::uint32_t>(file_pages_))) lost_ = true;
    return fail(disk_error(problem, "map"));
  }
  return {};
}

Result<PagedMemory::Freed> PagedMemory::page_out(const Regions& regions, bool idled) {
  CHECK(state_ == State::Resident);
  CHECK(!laid_over_ || (regions.stack.data() == regions_.stack.data() && regions.stack.size() == regions_.stack.size() && regions.beside.size() == regions_.beside.size() &&
                        regions.memory.data() == regions_.memory.data() && regions.memory.size() >= regions_.memory.size()));
  CHECK(regions.beside.empty() || regions.beside.data() == regions.stack.data() + regions.stack.size());
  regions_ = regions;
  Freed freed;
  const auto attempt = [&]() -> Result<void> {
    auto plan = make_plan();
    if (!plan) return fail(std::move(plan.error()));
    if (auto stored = store(*plan); !stored) return stored;
    freed = {.resident_bytes = note_working_set(idled), .written_bytes = page_count(plan->writes) * page_bytes()};
    if (!idled) note_written(*plan);
    return map_over();
  };
  if (auto done = attempt(); !done) {
    ++store_.tally().page_outs_failed;
    // Nothing is mapped from it yet, so what a first attempt has left there is of no use.
    if (!laid_over_) forget_file();
    return fail(std::move(done.error()));
  }
  state_ = State::PagedOut;
  if (store_.options().drop_page_cache) store_.disk().drop_cache(file_.get());
  store_.tally().written_bytes += freed.written_bytes;
  return freed;
}

void PagedMemory::note_written(const Plan& plan) {
  written_.clear();
  if (!laid_over_) return;
  written_ = within(plan.writes, 0, pages_of(head()));
  if (page_count(written_) > kWrittenPagesMax) written_.clear();
}

// What is mapped now was touched since the last wake-up. Yields how much it is.
std::uint64_t PagedMemory::note_working_set(bool idled) {
  PageRuns of_head, of_memory;
  (void)store_.scan().scan(head(), PageScan::Kind::Present, 0, of_head);
  (void)store_.scan().scan(regions_.memory, PageScan::Kind::Present, pages_of(head()), of_memory);
  const std::uint64_t bytes = (page_count(of_head) + page_count(of_memory)) * page_bytes();
  // A start touches what no wake-up ever will.
  if (laid_over_ && !idled) working_set_ = joined(std::move(of_memory), WorkingSet::kRunsMax);
  return bytes;
}

Result<void> PagedMemory::bring_back(std::uint32_t first, std::uint32_t end) {
  for (const PageRun& run : stored_.runs(first, end)) {
    for (std::uint32_t page = run.first; page < run.end(); ++page) {
      std::byte* const to = address_of(page);
      if (const int problem = read_all(store_.disk(), file_.get(), {to, page_bytes()}, std::uint64_t{page} * page_bytes())) return fail(disk_error(problem, "read"));
      if (!cipher_) continue;
      if (auto plain = cipher_->decrypt(page, {to, page_bytes()}, to); !plain) return plain;
    }
  }
  return {};
}

void PagedMemory::read_ahead() {
  const auto ask = [&](const PageRuns& runs) {
    for (const PageRun& run : runs) store_.disk().read_ahead(file_.get(), std::uint64_t{run.first} * page_bytes(), std::uint64_t{run.count} * page_bytes());
  };
  const std::uint32_t head_pages = pages_of(head());
  // At once, with what holes are between: what lies together on the medium comes in one request then.
  ask(joined(stored_.runs(0, head_pages), 2));
  if (cipher_ || (working_set_.empty() && stored_bytes() <= kReadAheadAllBytes)) ask(stored_.runs(head_pages, static_cast<std::uint32_t>(file_pages_)));
  else ask(working_set_);
}

// `on_wait`: called if the first of them had to be waited for.
Result<void> PagedMemory::touch(const PageRuns& runs, bool copies, std::function<void()> on_wait) {
  for (const PageRun& run : runs) {
    bool waited = false;
    const int problem = store_.disk().populate({address_of(run.first), run.count * page_bytes()}, copies, on_wait ? &waited : nullptr);
    if (problem != 0) return fail(disk_error(problem, "read"));
    if (waited) on_wait();
    on_wait = nullptr;
  }
  return {};
}

Result<void> PagedMemory::wake(const std::function<void()>& if_cold) {
  CHECK(state_ == State::PagedOut);
  const std::uint32_t stack_pages = pages_of(regions_.stack), head_pages = pages_of(head());
  ++store_.tally().wakes;
  bool cold = false;
  const auto begin_cold = [&] {
    cold = true;
    ++store_.tally().cold_wakes;
    read_ahead();
    if (if_cold) if_cold();
  };
  // A stack without a page of its own: what lies beside it tells as much.
  const PageRuns beside = stored_.runs(stack_pages, head_pages);
  PageRuns stack = stored_.runs(0, stack_pages);
  if (stack.empty() && !beside.empty()) append(stack, {beside.front().first, 1});
  if (cipher_) {
    if (!stack.empty() && !store_.disk().cached(file_.get(), std::uint64_t{stack.back().end() - 1} * page_bytes())) begin_cold();
    if (auto back = bring_back(0, static_cast<std::uint32_t>(file_pages_)); !back) return back;
  } else {
    // What the stack holds is wanted at once; an error here is one that can still be answered; and who waits for it learns that the file is cold.
    const bool copied = !written_.empty() && touch(written_, true, begin_cold).has_value();
    if (auto read = touch(copied ? without(stack, written_) : stack, false, copied || cold ? std::function<void()>() : begin_cold); !read) return read;
    if (cold) {
      if (auto read = touch(beside, false, nullptr); !read) return read;
    }
  }
  state_ = State::Resident;
  return {};
}

}  // namespace dormouse::paging
