// SPDX-License-Identifier: Apache-2.0
#include "gateway/api_client.h"

#include <algorithm>

#include "base/check.h"

namespace dormouse::gateway {

WriteLedger::Ticket WriteLedger::begin(const std::string& resource) {
  if (records_.size() >= kResourcesMax && !records_.contains(resource)) overflown_ = true;
  else ++records_[resource].under_way;
  return ++last_ticket_;
}

void WriteLedger::done(const std::string& resource, Ticket ticket, std::optional<watchcache::Revision> revision) {
  const auto found = records_.find(resource);
  if (found == records_.end()) return;
  Record& record = found->second;
  CHECK(record.under_way > 0);
  --record.under_way;
  if (!revision) {
    record.unknown = last_ticket_;
    return;
  }
  record.floor = std::max(record.floor, *revision);
  // Revisions ascend: a write that began after the unknown one had ended is above it.
  if (ticket > record.unknown) record.unknown = 0;
}

void WriteLedger::failed(const std::string& resource) {
  const auto found = records_.find(resource);
  if (found != records_.end()) --found->second.under_way;
}

std::optional<watchcache::Revision> WriteLedger::floor(std::string_view resource) const {
  if (overflown_) return std::nullopt;
  const auto found = records_.find(resource);
  if (found == records_.end()) return 0;
  if (found->second.under_way > 0 || found->second.unknown > 0) return std::nullopt;
  return found->second.floor;
}

}  // namespace dormouse::gateway
