// SPDX-License-Identifier: Apache-2.0
#pragma once
// The shared watch cache with the loop's timer under it.
//
// Ownership: owned by the host or the proxy; whatever serves from it goes before. Threads: the loop's.

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <functional>
#include <memory>
#include <random>

#include "gateway/shared_cache.h"

namespace dormouse::host {

class LoopCache final : Immovable {
 public:
  LoopCache(boost::asio::io_context& loop, const Clock& clock, Log& log, kube::Upstream& upstream, std::function<void(bool)> around_data = nullptr)
      : clock_(clock), timer_(loop), cache_(clock, log, upstream, {.seed = std::random_device{}(), .around_data = std::move(around_data), .wake_at = [this](Nanoseconds when) { arm(when); }}) {}
  gateway::SharedCache& cache() { return cache_; }

 private:
  void arm(Nanoseconds when) {
    timer_.expires_after(std::max(Nanoseconds(), when - clock_.monotonic()));
    timer_.async_wait([this](boost::system::error_code cancelled) {
      if (!cancelled) cache_.on_timer();
    });
  }
  const Clock& clock_;
  boost::asio::steady_timer timer_;
  gateway::SharedCache cache_;
};

}  // namespace dormouse::host
