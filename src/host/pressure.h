// SPDX-License-Identifier: Apache-2.0
#pragma once
// How much memory this host may use and does use, and the kernel's word when memory is short (PSI).
//
// Inside a cgroup with a limit (v1 or v2) the cgroup's figures count; else this process's own and the machine's. "Used" is
// what the kernel cannot take back without us: heap, stacks, dirty guest memory. Page cache, such as code and the clean pages
// of page files, is not counted, for the kernel drops it when it needs to.
//
// Sources: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst, accounting/psi.rst, proc(5).

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/types.h"

namespace dormouse::host {

// Where the kernel's files are; other folders in tests.
struct KernelPaths {
  std::string proc = "/proc", cgroup = "/sys/fs/cgroup";
};

// What was found at the start; limits that are changed later are seen at the next start.
class HostMemory {
 public:
  // Whatever cannot be read counts as not there, so this does not fail.
  static HostMemory look(const KernelPaths& paths = {});

  std::optional<std::uint64_t> limit_bytes() const { return limit_bytes_; }  // The cgroup's, if less than the machine has.
  std::uint64_t machine_bytes() const { return machine_bytes_; }             // 0: unknown.
  // 90 % of the cgroup's limit, for what is not guests' and for the time that leaving takes; else half the machine.
  std::uint64_t default_budget_bytes() const;
  // "cgroup /kubepods/x (v2)" or "process", for the log.
  std::string source() const;
  // The nearest file that tells of pressure; empty if there is none.
  const std::string& pressure_path() const { return pressure_path_; }

  // Measured: 25 µs of the process, 70 µs of a cgroup (smaps_rollup: 11 ms with 3,000 mappings, 94 ms with 30,000). Errors: a
  // file that is gone or not as expected.
  Result<std::uint64_t> used_bytes() const;

 private:
  enum class Source : std::uint8_t { Process, CgroupV1, CgroupV2 };
  Source source_ = Source::Process;
  std::string statm_path_, cgroup_folder_, cgroup_name_, pressure_path_;
  std::optional<std::uint64_t> limit_bytes_;
  std::uint64_t machine_bytes_ = 0;
};

// Calls back when tasks were stalled for want of memory for 150 ms within 2 s; at most once in 2 s.
//
// Ownership: borrows the loop. Threads: the loop's.
class PressureWatch final : Immovable {
 public:
  // Errors: the file cannot be opened, or the kernel takes no trigger (PSI off, too old, not permitted).
  static Result<std::unique_ptr<PressureWatch>> create(boost::asio::io_context& loop, const std::string& path, std::function<void()> on_pressure);

 private:
  PressureWatch(boost::asio::io_context& loop, std::function<void()> on_pressure) : file_(loop), on_pressure_(std::move(on_pressure)) {}
  void await();

  boost::asio::posix::stream_descriptor file_;
  std::function<void()> on_pressure_;
};

}  // namespace dormouse::host
