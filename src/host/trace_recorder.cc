// SPDX-License-Identifier: Apache-2.0
#include "host/trace_recorder.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

namespace dormouse::host {

Result<std::unique_ptr<TraceRecorder>> TraceRecorder::create(const std::string& path, const Clock& clock, Log& log) {
  UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!file) return fail_errno(errno, path);
  return std::unique_ptr<TraceRecorder>(new TraceRecorder(path, std::move(file), clock, log));
}

TraceRecorder::TraceRecorder(std::string path, UniqueFd file, const Clock& clock, Log& log)
    : path_(std::move(path)), log_(log), start_(clock.monotonic()), file_(std::move(file)), buffer_(std::string(guest::kTraceHeader) + "\n") {}

TraceRecorder::~TraceRecorder() { write_out(); }

void TraceRecorder::record(std::string_view guest, guest::TraceWait wait) {
  const std::lock_guard lock(mutex_);
  if (!file_) return;
  // Two workers may come in the other order than their guests woke, by microseconds. What is written can be read again.
  wait.woken = last_woken_ = std::max(last_woken_, wait.woken - start_);
  wait.parked = std::clamp(wait.parked - start_, Nanoseconds(0), wait.woken);
  if (wait.deadline) wait.deadline = std::max(*wait.deadline - start_, wait.parked);
  if (wait.cause == guest::WakeCause::Deadline) wait.deadline = std::min(wait.deadline.value_or(wait.woken), wait.woken);
  if (wait.deadline && *wait.deadline > guest::kTraceTimeMax) wait.deadline.reset();
  buffer_ += trace_line(guest, wait);
  if (buffer_.size() >= kBufferBytes) write_out();
}

void TraceRecorder::write_out() {
  for (std::string_view rest = buffer_; file_ && !rest.empty();) {
    const ssize_t written = ::write(file_.get(), rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      log_.error("the trace is not recorded any further", {{"file", path_}, {"error", fail_errno(errno, path_).error().message}});
      file_.reset();
      break;
    }
    rest.remove_prefix(static_cast<std::size_t>(written));
    written_bytes_ += static_cast<std::size_t>(written);
  }
  buffer_.clear();
  if (file_ && written_bytes_ >= guest::kTraceBytesMax - 2 * kBufferBytes) {
    log_.warning("the trace is full and ends here", {{"file", path_}, {"bytes", written_bytes_}});
    file_.reset();
  }
}

}  // namespace dormouse::host
