// SPDX-License-Identifier: Apache-2.0
#include "guest/memory_governor.h"

#include <algorithm>

namespace dormouse::guest {
namespace {

std::uint64_t share(std::uint64_t bytes, double part) { return static_cast<std::uint64_t>(static_cast<double>(bytes) * part); }

// Byte-seconds that its leaving frees. Who is expected at once still gains a little by being large.
double worth(const MemoryGovernor::Guest& guest, Nanoseconds now) {
  constexpr Nanoseconds kSoon = std::chrono::milliseconds(10);
  return static_cast<double>(guest.resident_bytes) * static_cast<double>(std::max(guest.expected_wake - now, kSoon).count());
}

}  // namespace

bool MemoryGovernor::concerned(const Reading& reading) const { return reading.pressure || reading.used_bytes > share(budget_bytes_, kHighShare); }

MemoryGovernor::Decision MemoryGovernor::decide(const Reading& reading, std::span<const Guest> guests) {
  Decision decision;
  if (!concerned(reading)) {
    asked_.clear();
    return decision;
  }
  std::unordered_map<std::uint64_t, Asked> still_asked;
  std::vector<std::size_t> candidates;
  std::uint64_t leaving = 0, waiting = 0;
  std::size_t under_way = 0;
  for (std::size_t i = 0; i < guests.size(); ++i) {
    const Guest& guest = guests[i];
    if (!guest.parked || !guest.may_page_out || guest.resident_bytes == 0) continue;
    waiting += guest.resident_bytes;
    const auto asked = asked_.find(guest.id);
    const bool same_wait = asked != asked_.end() && asked->second.parked_since == guest.parked_since;
    const Nanoseconds ago = same_wait ? reading.now - asked->second.at : kLetAlone;
    if (ago >= kLetAlone) {
      candidates.push_back(i);
      continue;
    }
    still_asked.insert(*asked);
    if (ago >= kLeaveTime) continue;
    leaving += guest.resident_bytes;
    ++under_way;
  }
  asked_ = std::move(still_asked);

  const bool over = reading.used_bytes > share(budget_bytes_, kHighShare);
  std::uint64_t need = over ? reading.used_bytes - share(budget_bytes_, kLowShare) : 0;
  if (reading.pressure) need = std::max(need, share(waiting, kPressureShare));
  if (need <= leaving) return decision;
  need -= leaving;

  const std::size_t room = kAskedAtOnceMax - std::min(kAskedAtOnceMax, under_way);
  const std::size_t count = std::min(room, candidates.size());
  std::ranges::partial_sort(candidates, candidates.begin() + static_cast<std::ptrdiff_t>(count), std::greater<>(), [&](std::size_t i) { return worth(guests[i], reading.now); });
  for (std::size_t k = 0; k < count && need > 0; ++k) {
    const Guest& guest = guests[candidates[k]];
    asked_[guest.id] = {reading.now, guest.parked_since};
    decision.leave.push_back(candidates[k]);
    need -= std::min(need, guest.resident_bytes);
  }
  if (need > 0 && under_way == 0 && decision.leave.size() == candidates.size() && reading.used_bytes > budget_bytes_) decision.short_bytes = reading.used_bytes - budget_bytes_;
  return decision;
}

}  // namespace dormouse::guest
