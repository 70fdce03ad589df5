// SPDX-License-Identifier: Apache-2.0
#pragma once
// Prometheus text format 0.0.4 (prometheus.io, "Exposition formats"), as far as our metrics need it.
//
// Threads: any.

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace dormouse::host {

inline std::string label_value(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n') out += "\\n";
    else out += c;
  }
  return out;
}

class MetricsText {
 public:
  // What follows are samples of this.
  void family(std::string_view name, std::string_view type, std::string_view help) {
    name_ = name;
    text_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
  }
  // `labels`: `a="b",c="d"`, or empty.
  template <typename Number>
  void sample(std::string_view labels, Number value) {
    text_ += fmt::format("{}{} {}\n", name_, braced(labels), value);
  }
  // The last of `counts` is of what is above all bounds; `bound_of(i)` is a bucket's, in the metric's unit.
  template <typename BoundOf>
  void histogram(std::string_view labels, std::span<const std::uint64_t> counts, BoundOf bound_of, double sum) {
    std::uint64_t count = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
      count += counts[i];
      text_ += fmt::format("{}_bucket{{{}{}le=\"{}\"}} {}\n", name_, labels, labels.empty() ? "" : ",", i + 1 < counts.size() ? fmt::format("{}", bound_of(i)) : "+Inf", count);
    }
    text_ += fmt::format("{}_sum{} {}\n{}_count{} {}\n", name_, braced(labels), sum, name_, braced(labels), count);
  }
  std::string take() { return std::move(text_); }

 private:
  static std::string braced(std::string_view labels) { return labels.empty() ? std::string() : fmt::format("{{{}}}", labels); }

  std::string name_, text_;
};

}  // namespace dormouse::host
