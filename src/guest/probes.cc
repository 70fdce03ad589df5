// SPDX-License-Identifier: Apache-2.0
#include "guest/probes.h"

#include <algorithm>

#include "base/check.h"

namespace dormouse::guest {
namespace {

constexpr std::array kKinds{ProbeKind::Startup, ProbeKind::Liveness, ProbeKind::Readiness};
constexpr Nanoseconds kSecond = std::chrono::seconds(1);

Nanoseconds period_of(const pods::Probe& probe) { return std::chrono::seconds(probe.period_s); }

}  // namespace

std::string_view to_string(ProbeKind kind) {
  constexpr std::array<std::string_view, 3> kNames{"startup", "liveness", "readiness"};
  return kNames[static_cast<std::size_t>(kind)];
}

Probes::Probes(Specs specs) {
  slot(ProbeKind::Startup).spec = std::move(specs.startup);
  slot(ProbeKind::Liveness).spec = std::move(specs.liveness);
  slot(ProbeKind::Readiness).spec = std::move(specs.readiness);
}

void Probes::begin(Nanoseconds now) {
  began_at_ = now;
  running_ = true;
  for (const ProbeKind kind : kKinds) {
    Slot& it = slot(kind);
    it = Slot{.spec = std::move(it.spec)};
    it.over = !it.spec.has_value();
    it.result = kind == ProbeKind::Liveness;
    if (it.spec) it.next = now + std::max<Nanoseconds>(std::chrono::seconds(it.spec->initial_delay_s), kFirstCallMin);
  }
}

void Probes::stopping() { slot(ProbeKind::Startup).over = slot(ProbeKind::Liveness).over = true; }

bool Probes::started() const {
  const Slot& startup = slot(ProbeKind::Startup);
  return running_ && (!startup.spec || startup.result);
}

bool Probes::ready() const {
  const Slot& readiness = slot(ProbeKind::Readiness);
  return started() && (!readiness.spec || readiness.result);
}

std::optional<Nanoseconds> Probes::deadline() const {
  std::optional<Nanoseconds> earliest;
  for (const ProbeKind kind : kKinds) {
    const Slot& it = slot(kind);
    if (it.over || it.in_flight || waits_for_start(kind)) continue;
    if (!earliest || it.next < *earliest) earliest = it.next;
  }
  if (earliest) *earliest = (*earliest + kSecond - Nanoseconds(1)) / kSecond * kSecond;
  return earliest;
}

// To the next whole period that lies ahead: calls that were missed are not made up for.
void Probes::advance(Slot& slot, Nanoseconds now) {
  const Nanoseconds period = period_of(*slot.spec);
  if (slot.next <= now) slot.next += ((now - slot.next) / period + 1) * period;
}

bool Probes::may_pass_over(const Slot& slot, Nanoseconds now, std::optional<Nanoseconds> parked_since) {
  const bool firm = slot.result && slot.last && slot.answered_well_at.count() != 0;
  return slot.spec->kind == pods::Probe::Kind::HttpGet && firm && parked_since && *parked_since <= slot.answered_well_at + kSettleTime &&
         now - slot.answered_well_at < kPassOverMax;
}

std::vector<ProbeKind> Probes::due(Nanoseconds now, std::optional<Nanoseconds> parked_since) {
  std::vector<ProbeKind> kinds;
  for (const ProbeKind kind : kKinds) {
    Slot& it = slot(kind);
    if (it.over || it.in_flight || waits_for_start(kind) || now < it.next) continue;
    advance(it, now);
    if (may_pass_over(it, now, parked_since)) {
      ++counters_.passed_over;
      continue;
    }
    it.in_flight = true;
    ++counters_.called;
    kinds.push_back(kind);
  }
  return kinds;
}

Probes::Change Probes::answered(ProbeKind kind, Nanoseconds now, bool success) {
  Slot& it = slot(kind);
  CHECK(it.in_flight);
  it.in_flight = false;
  advance(it, now);
  if (!success) ++counters_.failed;
  if (success) it.answered_well_at = now;
  if (it.over) return Change::None;  // Stopped meanwhile.
  it.in_a_row = it.last == success ? it.in_a_row + 1 : 1;
  it.last = success;
  if (it.in_a_row < (success ? it.spec->success_threshold : it.spec->failure_threshold)) return Change::None;
  const bool before = std::exchange(it.result, success);
  switch (kind) {
    case ProbeKind::Startup:
      it.over = true;
      if (!success) return Change::Unhealthy;
      // Who waited for it is asked at once, unless it is too early for it.
      for (const ProbeKind waiting : {ProbeKind::Liveness, ProbeKind::Readiness}) {
        if (Slot& other = slot(waiting); other.spec) other.next = std::max(now, began_at_ + std::chrono::seconds(other.spec->initial_delay_s));
      }
      return Change::Started;
    case ProbeKind::Liveness:
      if (!success) it.over = true;
      return success ? Change::None : Change::Unhealthy;
    case ProbeKind::Readiness: return before == success ? Change::None : success ? Change::Ready : Change::NotReady;
  }
  return Change::None;
}

}  // namespace dormouse::guest
