// SPDX-License-Identifier: Apache-2.0
#pragma once
// The state of guests as others read it: JSON for `dormouse ps -o json`, a table for people, Prometheus text for scrapes.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "host/container.h"
#include "kube/upstream.h"
#include "paging/page_store.h"

namespace dormouse::host {

struct PodStatus {
  std::string name_space, name, service_account;
  std::string message;                     // Why it waits, if it does.
  std::vector<ContainerStatus> containers;
};

struct HostStatus {
  std::vector<PodStatus> pods;
  guest::WorkerPool::Counters workers;
  kube::Upstream::Counters upstream;
  std::optional<paging::PageStore::Counters> pages;  // Unset: nobody leaves RAM.
  std::uint64_t loop_wakeups = 0;          // Returns of the loop from waiting in the kernel.
  MemoryWatch::Counters memory;            // Without a budget: zeros.
  Nanoseconds now{};                       // Real time.
};

std::string status_json(const HostStatus& status);
// The table of `dormouse ps` from that JSON. Errors: Corrupt.
Result<std::string> status_table(std::string_view json);
// Prometheus text format 0.0.4.
std::string metrics_text(const HostStatus& status);

}  // namespace dormouse::host
