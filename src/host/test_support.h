// SPDX-License-Identifier: Apache-2.0
#pragma once
// For this folder's tests: a scratch folder and a log that can be read.

#include <sys/mman.h>
#include <unistd.h>

#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/log.h"
#include "base/test_support.h"
#include "base/types.h"

namespace dormouse::host::testing {

using dormouse::testing::Scratch;

class ReadableLog final : Immovable {
 public:
  explicit ReadableLog(Log::Level level = Log::Level::Info) : fd_(::memfd_create("log", MFD_CLOEXEC)), log_({.fd = fd_.get(), .level = level}, clock_) {}
  Log& operator*() { return log_; }
  std::string text() const {
    std::string text(1 << 20, '\0');
    const ssize_t got = ::pread(fd_.get(), text.data(), text.size(), 0);
    text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return text;
  }

 private:
  UniqueFd fd_;
  SystemClock clock_;
  Log log_;
};

}  // namespace dormouse::host::testing
