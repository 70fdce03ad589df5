// SPDX-License-Identifier: Apache-2.0
#pragma once
// One call of a probe: a question to the guest through a port that it listens on, and its answer in time.
//
// A tcpSocket probe asks whether anybody listens, as the kernel answers for a process: the guest is not woken. An httpGet
// probe is a GET; 200 to 399 is success. Redirects are not followed.
//
// Ownership: owned by its Prober; shares the network, and borrows what Options name. Destroying it cuts the connection.
// Threads: the loop's.

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "gateway/doorbell.h"
#include "gateway/network.h"
#include "pods/pod.h"

namespace dormouse::host {

class ProbeCall final : Immovable {
 public:
  using Done = std::function<void(Result<void>)>;  // The error says in a sentence what the guest did.
  // `done` is called once, from the loop and never from within here, unless this is destroyed before.
  ProbeCall(boost::asio::io_context& loop, std::shared_ptr<gateway::Network> network, const pods::Probe& probe, Done done);
  ~ProbeCall();

 private:
  void send();
  void on_channel();
  void answer(Result<void> outcome);

  const std::shared_ptr<gateway::Network> network_;
  const pods::Probe& probe_;
  const Done done_;
  const std::shared_ptr<gateway::Doorbell> bell_;
  boost::asio::steady_timer timer_;
  std::shared_ptr<wasi::Channel> channel_;
  std::string received_;
  bool answered_ = false;
  const std::shared_ptr<const bool> alive_ = std::make_shared<const bool>(true);
};

}  // namespace dormouse::host
