// SPDX-License-Identifier: Apache-2.0
#include "guest/sleep_trace.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <unordered_map>

namespace dormouse::guest {
namespace {

constexpr std::array<std::string_view, 4> kCauses = {"timer", "event", "inbound", "signal"};
constexpr std::size_t kFields = 6;

std::optional<std::uint64_t> number(std::string_view text, std::uint64_t max) {
  std::uint64_t value = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc{} || end != text.data() + text.size() || value > max) return std::nullopt;
  return value;
}

std::optional<Nanoseconds> time_of(std::string_view text) {
  const auto us = number(text, static_cast<std::uint64_t>(kTraceTimeMax.count()) / 1000);
  if (!us) return std::nullopt;
  return Nanoseconds(static_cast<std::int64_t>(*us) * 1000);
}

class Parser {
 public:
  // What is wrong with the line; empty if nothing.
  std::string line(std::string_view text) {
    std::array<std::string_view, kFields> fields;
    std::size_t count = 0;
    while (true) {
      const std::size_t begin = text.find_first_not_of(" \t");
      if (begin == std::string_view::npos) break;
      text.remove_prefix(begin);
      const std::size_t end = std::min(text.find_first_of(" \t"), text.size());
      if (count == kFields) return "more than six fields";
      fields[count++] = text.substr(0, end);
      text.remove_prefix(end);
    }
    if (count != kFields) return "expected PARKED WOKEN GUEST CAUSE DEADLINE BYTES";
    TraceWait wait;
    const auto parked = time_of(fields[0]), woken = time_of(fields[1]);
    if (!parked) return fmt::format("PARKED \"{}\" is not a time in microseconds within a year", fields[0]);
    if (!woken) return fmt::format("WOKEN \"{}\" is not a time in microseconds within a year", fields[1]);
    wait.parked = *parked;
    wait.woken = *woken;
    const auto cause = std::ranges::find(kCauses, fields[3]);
    if (cause == kCauses.end()) return fmt::format("CAUSE \"{}\" is none of timer, event, inbound, signal", fields[3]);
    wait.cause = static_cast<WakeCause>(cause - kCauses.begin());
    if (fields[4] != "-") {
      wait.deadline = time_of(fields[4]);
      if (!wait.deadline) return fmt::format("DEADLINE \"{}\" is neither \"-\" nor a time in microseconds within a year", fields[4]);
    }
    const auto bytes = number(fields[5], kTraceGuestBytesMax);
    if (!bytes) return fmt::format("BYTES \"{}\" is not a number of bytes up to 8 GiB", fields[5]);
    wait.bytes = *bytes;
    if (wait.woken < wait.parked) return "WOKEN is before PARKED";
    if (wait.deadline && *wait.deadline < wait.parked) return "DEADLINE is before PARKED";
    if (wait.cause == WakeCause::Deadline && (!wait.deadline || *wait.deadline > wait.woken)) return "woken by its timer, but DEADLINE is not the time or before it";
    if (!trace_.waits.empty() && wait.woken < trace_.waits.back().woken) return "WOKEN is before that of the line above; a trace is in the order of WOKEN";
    return add(fields[2], wait);
  }

  Trace take() { return std::move(trace_); }

 private:
  std::string add(std::string_view guest, TraceWait wait) {
    if (guest.size() > kTraceGuestNameMax) return fmt::format("GUEST is longer than {} bytes", kTraceGuestNameMax);
    const auto [found, fresh] = index_.try_emplace(std::string(guest), static_cast<std::uint32_t>(trace_.guests.size()));
    if (fresh) {
      if (trace_.guests.size() == kTraceGuestsMax) return fmt::format("more than {} guests", kTraceGuestsMax);
      trace_.guests.emplace_back(guest);
      last_woken_.push_back({});
    }
    wait.guest = found->second;
    if (wait.parked < last_woken_[wait.guest]) return fmt::format("{} parks before it was woken from the wait before", guest);
    last_woken_[wait.guest] = wait.woken;
    trace_.waits.push_back(wait);
    return {};
  }

  Trace trace_;
  std::unordered_map<std::string, std::uint32_t> index_;
  std::vector<Nanoseconds> last_woken_;
};

}  // namespace

Result<Trace> parse_trace(std::string_view text, std::string_view source) {
  if (text.size() > kTraceBytesMax) return fail(ErrorCode::ResourceExhausted, "{}: larger than {} MiB; cut it in parts", source, kTraceBytesMax >> 20);
  Parser parser;
  bool header = false;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    line = line.substr(0, line.find('#'));
    while (line.ends_with(' ') || line.ends_with('\t') || line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    if (!header) {
      if (line != kTraceHeader) return fail(ErrorCode::InvalidArgument, "{}:{}: not a trace of Dormouse's: it must begin with \"{}\"", source, number, kTraceHeader);
      header = true;
      continue;
    }
    if (const std::string problem = parser.line(line); !problem.empty()) return fail(ErrorCode::InvalidArgument, "{}:{}: {}", source, number, problem);
  }
  if (!header) return fail(ErrorCode::InvalidArgument, "{}: empty; a trace begins with \"{}\"", source, kTraceHeader);
  return parser.take();
}

std::string trace_line(std::string_view guest, const TraceWait& wait) {
  const auto us = [](Nanoseconds time) { return time / std::chrono::microseconds(1); };
  return fmt::format("{} {} {} {} {} {}\n", us(wait.parked), us(wait.woken), guest, kCauses[static_cast<std::size_t>(wait.cause)],
                     wait.deadline ? fmt::format("{}", us(*wait.deadline)) : "-", wait.bytes);
}

}  // namespace dormouse::guest
