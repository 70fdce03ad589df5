// SPDX-License-Identifier: Apache-2.0
#include "guest/output.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace dormouse::guest {

LineOutput::LineOutput(Log& log, const Clock& clock, std::string guest, std::string_view stream, unsigned colour_index)
    : log_(log), clock_(clock), guest_(std::move(guest)), stream_(stream), colour_index_(colour_index), refilled_at_(clock.monotonic()) {}

LineOutput::~LineOutput() {
  if (!partial_.empty()) line(partial_);
  if (dropped_lines_ > 0) log_.warning("output lines dropped", {{"guest", guest_}, {"stream", stream_}, {"lines", dropped_lines_}});
}

void LineOutput::write(std::span<const std::byte> bytes) {
  std::string_view rest(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  while (!rest.empty()) {
    const std::size_t room = kLineBytesMax - partial_.size();
    const std::size_t newline = rest.substr(0, room + 1).find('\n');
    const bool whole = newline != std::string_view::npos;
    if (!whole && rest.size() <= room) {
      partial_.append(rest);
      return;
    }
    const std::string_view piece = rest.substr(0, whole ? newline : room);
    if (partial_.empty()) {
      line(piece);
    } else {
      partial_.append(piece);
      line(partial_);
      partial_.clear();
    }
    rest.remove_prefix(piece.size() + (whole ? 1 : 0));
  }
}

void LineOutput::line(std::string_view text) {
  if (text.ends_with('\r')) text.remove_suffix(1);
  const Nanoseconds now = clock_.monotonic();
  const auto earned = static_cast<std::uint64_t>(static_cast<double>((now - refilled_at_).count()) * 1e-9 * kBytesPerSecondMax);
  if (earned > 0) {
    allowance_bytes_ = std::min(allowance_bytes_ + earned, kBurstBytesMax);
    refilled_at_ = now;
  }
  if (allowance_bytes_ < text.size() + 1) {
    ++dropped_lines_;
    return;
  }
  allowance_bytes_ -= text.size() + 1;
  if (dropped_lines_ > 0 && allowance_bytes_ > kBurstBytesMax / 8) {
    log_.warning("output lines dropped", {{"guest", guest_}, {"stream", stream_}, {"lines", dropped_lines_}, {"why", "more than 1 MiB a second"}});
    dropped_lines_ = 0;
  }
  log_.write_guest_line(guest_, stream_, text, colour_index_);
}

void DescriptorOutput::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return;
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

}  // namespace dormouse::guest
