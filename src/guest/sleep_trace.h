// SPDX-License-Identifier: Apache-2.0
#pragma once
// A record of when guests waited and what woke them: what sleep policies are compared on.
//
// Text, one line a wait, in the order in which waits ended; what follows '#' is a comment:
//   dormouse-trace 1
//   PARKED WOKEN GUEST CAUSE DEADLINE BYTES
// Times are whole microseconds from the start of the trace; CAUSE is timer, event, inbound or signal; DEADLINE is when the
// guest's own timer would have woken it, or "-"; BYTES is what a page-out would have freed. GUEST is any word. Host and
// simulator know nothing more of a guest, so a trace tells no names of objects.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "guest/sleep_policy.h"

namespace dormouse::guest {

inline constexpr std::string_view kTraceHeader = "dormouse-trace 1";
inline constexpr std::size_t kTraceBytesMax = 256 << 20;
inline constexpr std::size_t kTraceGuestsMax = 100'000, kTraceGuestNameMax = 512;
inline constexpr Nanoseconds kTraceTimeMax = std::chrono::hours(24 * 366);
inline constexpr std::uint64_t kTraceGuestBytesMax = std::uint64_t{8} << 30;

struct TraceWait {
  std::uint32_t guest = 0;  // Index into Trace::guests.
  WakeCause cause = WakeCause::Stream;
  Nanoseconds parked{}, woken{};
  std::optional<Nanoseconds> deadline;
  std::uint64_t bytes = 0;
};

struct Trace {
  std::vector<std::string> guests;
  // Invariant: ordered by `woken`; a guest's waits do not overlap; parked <= woken; a timer's wake-up is not before its deadline.
  std::vector<TraceWait> waits;
};

// `source` names it in messages. Errors: InvalidArgument with the line, ResourceExhausted.
Result<Trace> parse_trace(std::string_view text, std::string_view source);
// One line, with its newline.
std::string trace_line(std::string_view guest, const TraceWait& wait);

}  // namespace dormouse::guest
