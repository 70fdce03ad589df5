// SPDX-License-Identifier: Apache-2.0
#pragma once
// Writes each wait of each guest to a trace file, for `dormouse simulate-policy`.
//
// Ownership: owns the file. Threads: any; lines are written under a lock, in the order in which waits end.

#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/log.h"
#include "base/types.h"
#include "guest/sleep_trace.h"

namespace dormouse::host {

class TraceRecorder final : Immovable {
 public:
  static constexpr std::size_t kBufferBytes = 32 << 10;  // Written when full, and at the end.

  // An existing file is replaced. Errors: it cannot be written.
  static Result<std::unique_ptr<TraceRecorder>> create(const std::string& path, const Clock& clock, Log& log);
  ~TraceRecorder();

  void record(std::string_view guest, guest::TraceWait wait);

 private:
  TraceRecorder(std::string path, UniqueFd file, const Clock& clock, Log& log);
  void write_out();  // With the mutex held.

  const std::string path_;
  Log& log_;
  const Nanoseconds start_;
  std::mutex mutex_;
  UniqueFd file_;
  std::string buffer_;
  std::size_t written_bytes_ = 0;
  Nanoseconds last_woken_{};
};

}  // namespace dormouse::host
