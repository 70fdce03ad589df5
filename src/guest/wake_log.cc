// SPDX-License-Identifier: Apache-2.0
#include "guest/wake_log.h"

#include <algorithm>
#include <utility>

namespace dormouse::guest {
namespace {

std::chrono::duration<std::uint32_t, std::micro> bounded(Nanoseconds duration) {
  return std::chrono::duration<std::uint32_t, std::micro>(static_cast<std::uint32_t>(std::clamp<std::int64_t>(duration.count() / 1000, 0, 3'600'000'000)));
}

}  // namespace

void WakeLog::begin(Start start) {
  Wake wake{.at = start.at, .cause = std::move(start.cause), .was_paged_out = start.was_paged_out};
  const std::lock_guard lock(mutex_);
  ++totals_.by_cause[static_cast<std::size_t>(wake.cause.kind)];
  (start.was_cold ? totals_.from_disk : wake.was_paged_out ? totals_.from_page_cache : totals_.from_ram).add(start.latency);
  if (wakes_.size() < kWakesKept) {
    // Doubling would hold up to twice of what a guest that seldom wakes needs.
    if (wakes_.size() == wakes_.capacity()) wakes_.reserve(std::min(kWakesKept, wakes_.size() < 4 ? 4 : wakes_.size() * 2));
    wakes_.push_back(std::move(wake));
  } else {
    std::swap(wakes_[next_], wake);  // The old one's text goes after the lock does.
    next_ = (next_ + 1) % kWakesKept;
  }
}

void WakeLog::end(Nanoseconds awake, Nanoseconds cpu, bool active) {
  const std::lock_guard lock(mutex_);
  Wake* const wake = const_cast<Wake*>(newest());
  if (wake == nullptr || wake->over) return;
  wake->awake = bounded(awake);
  wake->cpu = bounded(cpu);
  wake->active = active;
  wake->over = true;
  if (!active) ++totals_.idle;
}

std::vector<WakeLog::Wake> WakeLog::recent() const {
  const std::lock_guard lock(mutex_);
  std::vector<Wake> wakes;
  wakes.reserve(wakes_.size());
  for (std::size_t i = 0; i < wakes_.size(); ++i) wakes.push_back(wakes_[(next_ + i) % wakes_.size()]);
  return wakes;
}

std::optional<WakeLog::Wake> WakeLog::last() const {
  const std::lock_guard lock(mutex_);
  const Wake* const wake = newest();
  return wake == nullptr ? std::nullopt : std::optional(*wake);
}

WakeLog::Totals WakeLog::totals() const {
  const std::lock_guard lock(mutex_);
  return totals_;
}

}  // namespace dormouse::guest
