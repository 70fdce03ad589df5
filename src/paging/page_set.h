// SPDX-License-Identifier: Apache-2.0
#pragma once
// Sets of pages: runs of neighbours, and a bit a page.

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

namespace dormouse::paging {

// Pages [first, first + count).
struct PageRun {
  std::uint32_t first = 0, count = 0;
  std::uint32_t end() const { return first + count; }
  bool operator==(const PageRun&) const = default;
};

// In ascending order, apart from each other.
using PageRuns = std::vector<PageRun>;

// Adds `run`, which begins at or behind the last one's end.
inline void append(PageRuns& runs, PageRun run) {
  if (run.count == 0) return;
  if (!runs.empty() && runs.back().end() == run.first) {
    runs.back().count += run.count;
  } else {
    runs.push_back(run);
  }
}

// The pages of `runs` that are not in `others`.
inline PageRuns without(const PageRuns& runs, const PageRuns& others) {
  PageRuns left;
  auto other = others.begin();
  for (PageRun run : runs) {
    while (run.count > 0) {
      while (other != others.end() && other->end() <= run.first) ++other;
      const std::uint32_t until = other == others.end() ? run.end() : std::clamp(other->first, run.first, run.end());
      append(left, {run.first, until - run.first});
      const std::uint32_t next = other == others.end() ? run.end() : std::clamp(other->end(), until, run.end());
      run = {next, run.end() - next};
    }
  }
  return left;
}

// The pages of `runs` in [first, end).
inline PageRuns within(const PageRuns& runs, std::uint32_t first, std::uint32_t end) {
  PageRuns inside;
  for (const PageRun& run : runs) {
    const std::uint32_t from = std::max(run.first, first), until = std::min(run.end(), end);
    if (from < until) append(inside, {from, until - from});
  }
  return inside;
}

inline std::uint64_t page_count(const PageRuns& runs) {
  std::uint64_t pages = 0;
  for (const PageRun& run : runs) pages += run.count;
  return pages;
}

// At most so many runs, of the same pages and of some between them: the smallest gaps are closed first.
inline PageRuns joined(PageRuns runs, std::size_t runs_max) {
  for (std::uint32_t gap = 1; runs.size() > runs_max; gap *= 2) {
    PageRuns fewer;
    for (const PageRun& run : runs) {
      if (!fewer.empty() && run.first - fewer.back().end() <= gap) {
        fewer.back().count = run.end() - fewer.back().first;
      } else {
        fewer.push_back(run);
      }
    }
    runs = std::move(fewer);
  }
  return PageRuns(runs.begin(), runs.end());  // With no room to spare: it is kept.
}

class PageSet {
 public:
  bool contains(std::uint32_t page) const { return page / 64 < words_.size() && (words_[page / 64] >> (page % 64) & 1) != 0; }
  // True if it was not there.
  bool insert(std::uint32_t page) {
    if (page / 64 >= words_.size()) words_.resize(page / 64 + 1);
    const std::uint64_t bit = std::uint64_t{1} << (page % 64);
    const bool fresh = (words_[page / 64] & bit) == 0;
    words_[page / 64] |= bit;
    pages_ += fresh ? 1 : 0;
    return fresh;
  }
  void insert(const PageRuns& runs) {
    for (const PageRun& run : runs) {
      for (std::uint32_t page = run.first; page < run.end(); ++page) insert(page);
    }
  }
  bool erase(std::uint32_t page) {
    if (!contains(page)) return false;
    words_[page / 64] &= ~(std::uint64_t{1} << (page % 64));
    --pages_;
    return true;
  }
  void clear() {
    words_ = {};
    pages_ = 0;
  }
  std::uint64_t size() const { return pages_; }
  // Those in [first, end).
  PageRuns runs(std::uint32_t first, std::uint32_t end) const {
    PageRuns out;
    end = static_cast<std::uint32_t>(std::min<std::uint64_t>(end, words_.size() * 64));
    for (std::uint32_t page = first; page < end;) {
      if (page % 64 == 0 && words_[page / 64] == 0) {
        page += 64;
        continue;
      }
      if (contains(page)) append(out, {page, 1});
      ++page;
    }
    return out;
  }

 private:
  std::vector<std::uint64_t> words_;
  std::uint64_t pages_ = 0;
};

}  // namespace dormouse::paging
