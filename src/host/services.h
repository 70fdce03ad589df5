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
#include "guest/sleep_observer.h"
#include "guest/worker_pool.h"
#include "host/module_store.h"
#include "paging/page_store.h"
#include "pods/sleep.h"
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
  paging::PageStore* pages = nullptr;            // Null: guests stay in RAM.
  std::uint64_t next_run = 1;                    // Numbers runs, so that each has its own.
  pods::SleepMode sleep_default;                 // For pods that name none.
  std::shared_ptr<const guest::SleepObserver> sleep_observer;  // Null: nobody watches.
};

}  // namespace dormouse::host
