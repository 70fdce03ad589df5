// SPDX-License-Identifier: Apache-2.0
#include "host/memory_watch.h"

#include <boost/asio/post.hpp>

#include <algorithm>
#include <utility>

#include "pods/quantity.h"

namespace dormouse::host {
namespace {

constexpr std::uint64_t kBudgetMin = 16 << 20;

}  // namespace

MemoryWatch::MemoryWatch(boost::asio::io_context& loop, const Clock& clock, Log& log, Options options)
    : loop_(loop), clock_(clock), log_(log), options_(std::move(options)), governor_(options_.budget_bytes), timer_(loop) {
  counters_.budget_bytes = options_.budget_bytes;
  if (options_.pressure_path.empty()) return;
  auto watch = PressureWatch::create(loop_, options_.pressure_path, [this] {
    ++counters_.pressure;
    pressure_ = true;
    look();
  });
  if (watch) pressure_watch_ = std::move(*watch);
  else log_.debug("the kernel does not tell of memory pressure; the budget alone counts", {{"error", watch.error().message}});
}

void MemoryWatch::note_park() {
  if (park_noted_.exchange(true)) return;
  boost::asio::post(loop_, [this] { arm(std::max(last_look_ + interval_ - clock_.monotonic(), Nanoseconds(0))); });
}

void MemoryWatch::arm(Nanoseconds delay) {
  timer_.expires_after(delay);
  timer_.async_wait([this](boost::system::error_code problem) {
    if (!problem) look();
  });
}

void MemoryWatch::look() {
  timer_.cancel();
  park_noted_ = false;
  last_look_ = clock_.monotonic();
  const auto used = options_.used_bytes();
  if (!used) {
    if (!std::exchange(unreadable_told_, true)) log_.warning("the host's memory cannot be watched, the budget is not kept", {{"error", used.error().message}});
    interval_ = kStuck;
    return;
  }
  unreadable_told_ = false;
  counters_.used_bytes = *used;
  const guest::MemoryGovernor::Reading reading{.now = last_look_, .used_bytes = *used, .pressure = std::exchange(pressure_, false)};
  interval_ = static_cast<double>(*used) > kNearShare * static_cast<double>(options_.budget_bytes) ? kNear : kFar;
  if (!governor_.concerned(reading)) {
    short_told_ = false;
    return;
  }
  const std::vector<Sleeper> sleepers = options_.sleepers();
  std::vector<guest::MemoryGovernor::Guest> guests;
  guests.reserve(sleepers.size());
  for (const Sleeper& sleeper : sleepers) guests.push_back(sleeper.guest);
  const auto decision = governor_.decide(reading, guests);
  for (const std::size_t i : decision.leave) sleepers[i].page_out();
  counters_.asked += decision.leave.size();
  if (!decision.leave.empty()) log_.debug("guests are asked to leave RAM", {{"guests", decision.leave.size()}, {"used_bytes", *used}, {"budget_bytes", options_.budget_bytes}, {"pressure", reading.pressure ? "yes" : "no"}});
  // Nobody is woken for it later, but whoever reads it first waits for it.
  std::uint64_t compressed = 0;
  if (options_.compress_cache && (decision.short_bytes > 0 || reading.pressure)) compressed = options_.compress_cache(kCompressBytes);
  counters_.compressed_bytes += compressed;
  const bool stuck = decision.short_bytes > 0 && decision.leave.empty() && compressed == 0;
  if (stuck && !std::exchange(short_told_, true)) {
    log_.warning("memory is above the budget, and no guest can leave RAM: they run, must stay (dormouse.io/sleep: never), or could not be paged out",
                 {{"used_bytes", *used}, {"budget_bytes", options_.budget_bytes}});
  }
  // Until it is no longer short: nobody might park meanwhile.
  arm(stuck ? kStuck : kNear);
}

bool MemoryWatch::short_of_memory() {
  look();
  return static_cast<double>(counters_.used_bytes) > guest::MemoryGovernor::kLowShare * static_cast<double>(options_.budget_bytes);
}

MemoryWatch::Counters MemoryWatch::counters() const { return counters_; }

Result<std::uint64_t> memory_budget(std::string_view text, const HostMemory& memory) {
  if (text.empty()) return memory.default_budget_bytes();
  if (text == "none") return 0;
  const auto bytes = pods::parse_quantity(text);
  if (!bytes) return fail(ErrorCode::InvalidArgument, "{}, or \"none\"", bytes.error().message);
  if (*bytes < kBudgetMin) return fail(ErrorCode::InvalidArgument, "{} is less than a host needs by itself; give at least 16Mi, or \"none\"", text);
  const std::uint64_t most = memory.limit_bytes().value_or(memory.machine_bytes());
  if (most != 0 && *bytes > most) return fail(ErrorCode::InvalidArgument, "{} is more than there is: {} bytes in the {}", text, most, memory.limit_bytes() ? memory.source() : "machine");
  return *bytes;
}

}  // namespace dormouse::host
