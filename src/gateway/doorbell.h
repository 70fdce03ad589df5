// SPDX-License-Identifier: Apache-2.0
#pragma once
// How a guest's thread calls something that lives on the loop: however often it is rung, one call is on its way at
// most, and none comes after the target has gone.
//
// Ownership: shared by the ringers and the target; the target silences it when it goes.
// Threads: ring() from any; everything else on the loop.

#include <atomic>
#include <functional>
#include <memory>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include "base/types.h"

namespace dormouse::gateway {

class Doorbell final : public std::enable_shared_from_this<Doorbell>, Immovable {
 public:
  static std::shared_ptr<Doorbell> create(boost::asio::io_context& loop) { return std::shared_ptr<Doorbell>(new Doorbell(loop)); }

  void ring() {
    if (rung_.exchange(true, std::memory_order_acq_rel)) return;
    boost::asio::post(loop_, [self = shared_from_this()] { self->answer(); });
  }
  void answer_with(std::function<void()> target) { target_ = std::move(target); }
  void silence() { target_ = nullptr; }

 private:
  explicit Doorbell(boost::asio::io_context& loop) : loop_(loop) {}
  void answer() {
    // An exchange, so that what was done before a ring() that found the bell rung is seen by the target.
    rung_.exchange(false, std::memory_order_acq_rel);
    // A copy, for the target may silence the bell while it runs.
    if (const std::function<void()> target = target_) target();
  }

  boost::asio::io_context& loop_;
  std::atomic<bool> rung_{false};
  std::function<void()> target_;
};

}  // namespace dormouse::gateway
