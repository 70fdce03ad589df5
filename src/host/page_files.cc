// SPDX-License-Identifier: Apache-2.0
#include "host/page_files.h"

#include <sys/statvfs.h>

#include <cerrno>
#include <limits>

#include "pods/quantity.h"

namespace dormouse::host {
namespace {

// Files without a name are nobody's litter, and /var/tmp is on a disk where /tmp often is not.
constexpr const char* kDirectory = "/var/tmp";

// Half of what is free now: a host that fills the disk harms others more than a guest that stays in RAM.
Result<std::uint64_t> half_of_free(const std::string& directory) {
  struct statvfs system{};
  if (::statvfs(directory.c_str(), &system) != 0) return fail_errno(errno, fmt::format("the directory for page files, {}", directory));
  return std::uint64_t{system.f_bavail} * system.f_frsize / 2;
}

Result<std::unique_ptr<paging::PageStore>> open(const HostOptions& options, paging::Disk& disk, Log& log) {
  paging::PageStore::Options store{
      .directory = options.page_directory.empty() ? kDirectory : options.page_directory,
      .encrypted = options.encrypt_pages,
      .drop_page_cache = options.drop_page_cache,
  };
  auto budget = options.page_budget.empty() ? half_of_free(store.directory) : pods::parse_quantity(options.page_budget);
  if (!budget) return fail(std::move(budget.error()).within("--page-budget"));
  store.budget_bytes = *budget;
  return paging::PageStore::create(std::move(store), disk, log);
}

}  // namespace

Result<std::unique_ptr<paging::PageStore>> open_page_files(const HostOptions& options, paging::Disk& disk, Log& log) {
  auto store = open(options, disk, log);
  if (store || !options.page_directory.empty() || !options.page_budget.empty() || options.encrypt_pages || options.drop_page_cache) return store;
  log.warning("guests stay in RAM while they sleep", {{"reason", store.error().message}});
  return nullptr;
}

}  // namespace dormouse::host
