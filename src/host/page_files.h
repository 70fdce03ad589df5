// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where guests' memory goes while they sleep, as the command line has it.

#include <memory>

#include "base/log.h"
#include "base/result.h"
#include "host/host.h"
#include "paging/page_store.h"

namespace dormouse::host {

// Null, with a line in the log, when page files were not asked for by name and cannot be had: then guests stay in RAM.
// Errors: what was asked for cannot be had.
Result<std::unique_ptr<paging::PageStore>> open_page_files(const HostOptions& options, paging::Disk& disk, Log& log);

}  // namespace dormouse::host
