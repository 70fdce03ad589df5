// SPDX-License-Identifier: Apache-2.0
#pragma once
// Why a pod's guests were awake, as others read it: JSON for `dormouse why -o json`, a table for people.
//
// Threads: any. Ownership: values.

#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "guest/wake_log.h"
#include "wasi/stand_in.h"

namespace dormouse::host {

struct ContainerWakes {
  std::string name;
  guest::WakeLog::Totals totals;
  std::vector<guest::WakeLog::Wake> recent;  // The oldest first.
  wasi::StandIn::Counters offload;
  Nanoseconds timer_slack_max{}, offload_max_sleep{};
};
struct PodWakes {
  std::string name_space, name;
  std::vector<ContainerWakes> containers;
};

// "watch pods in team-a", "answer to list pods", "timer".
std::string cause_text(const wasi::WakeCause& cause);

std::string wakes_json(const PodWakes& wakes, Nanoseconds now);
// The table of `dormouse why` from that JSON, the latest first. Errors: Corrupt.
Result<std::string> wakes_table(std::string_view json);

}  // namespace dormouse::host
