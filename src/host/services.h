// SPDX-License-Identifier: Apache-2.0
#pragma once
// What every pod of a host needs, wired once by Host and lent to all.

#include <boost/asio/io_context.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/log.h"
#include "gateway/egress_tls.h"
#include "guest/worker_pool.h"
#include "host/module_store.h"
#include "wasm/engine.h"

namespace dormouse::host {

struct Services {
  boost::asio::io_context& loop;
  const Clock& clock;
  Log& log;
  wasm::Engine& engine;
  guest::WorkerPool& workers;
  ModuleStore& modules;
  gateway::EgressTls* egress_tls = nullptr;      // Null: no /net/tls.
  std::uint64_t memory_limit_default_bytes = 0;  // For containers that name none.
};

}  // namespace dormouse::host
