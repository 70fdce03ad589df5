// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a guest prints, cut into lines for the host's log, and bounded: neither an endless line nor a flood
// of them costs the others more than a named rate.
//
// Threads: write() on the guest's thread (one at a time); the log takes lines from any.

#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/log.h"
#include "wasi/process.h"

namespace dormouse::guest {

class LineOutput final : public wasi::OutputSink {
 public:
  static constexpr std::size_t kLineBytesMax = 16 * 1024;  // A longer line is cut, as containerd cuts at 16 KiB.
  static constexpr std::uint64_t kBytesPerSecondMax = 1 << 20;
  static constexpr std::uint64_t kBurstBytesMax = 4 << 20;

  LineOutput(Log& log, const Clock& clock, std::string guest, std::string_view stream, unsigned colour_index);
  ~LineOutput() override;  // Writes a last line that lacks its newline.

  void write(std::span<const std::byte> bytes) override;

 private:
  void line(std::string_view text);

  Log& log_;
  const Clock& clock_;
  const std::string guest_;
  const std::string_view stream_;
  const unsigned colour_index_;
  std::string partial_;
  std::uint64_t allowance_bytes_ = kBurstBytesMax;
  Nanoseconds refilled_at_;
  std::uint64_t dropped_lines_ = 0;
};

// Straight to a descriptor of the host: a bare module's output is the program's own.
class DescriptorOutput final : public wasi::OutputSink {
 public:
  explicit DescriptorOutput(int fd) : fd_(fd) {}
  void write(std::span<const std::byte> bytes) override;

 private:
  const int fd_;
};

}  // namespace dormouse::guest
