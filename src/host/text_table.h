// SPDX-License-Identifier: Apache-2.0
#pragma once
// Rows of text under each other, as `dormouse ps` and its like print them.
//
// Threads: any.

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

namespace dormouse::host {

// REQUIRES: every row has as many cells as the first, which is the heading.
inline std::string text_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths(rows.at(0).size());
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string table;
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) table += i + 1 == row.size() ? row[i] + "\n" : fmt::format("{:<{}}   ", row[i], widths[i]);
  }
  return table;
}

// "812B", "64Ki", "1.5Mi".
inline std::string size_text(double bytes) {
  if (bytes < 1024) return fmt::format("{:.0f}B", bytes);
  if (bytes < 1024 * 1024) return fmt::format("{:.0f}Ki", bytes / 1024);
  return fmt::format("{:.1f}Mi", bytes / 1024 / 1024);
}

}  // namespace dormouse::host
