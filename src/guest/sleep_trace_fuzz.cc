// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "guest/sleep_simulator.h"
#include "guest/sleep_trace.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dormouse::guest;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto trace = parse_trace(text, "fuzz.trace");
  if (!trace) {
    CHECK(!trace.error().message.empty());
    return 0;
  }
  // What was read is written and read as the same, and any trace can be simulated.
  std::string again(kTraceHeader);
  again += '\n';
  for (const TraceWait& wait : trace->waits) again += trace_line(trace->guests[wait.guest], wait);
  const auto twice = parse_trace(again, "fuzz.trace");
  CHECK(twice && twice->waits.size() == trace->waits.size() && twice->guests == trace->guests);
  for (const SimulatedPolicy& policy : simulate(*trace)) CHECK(policy.cold_events <= policy.events && policy.kept_byte_seconds >= 0);
  return 0;
}
