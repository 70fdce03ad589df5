// SPDX-License-Identifier: Apache-2.0
#include "guest/output.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/types.h"

namespace dormouse::guest {
namespace {

class Captured {
 public:
  Captured() : file_(::memfd_create("log", 0)), log_({.fd = file_.get()}, clock_) {}
  LineOutput output() { return {log_, clock_, "g", "stdout", 0}; }
  ManualClock& clock() { return clock_; }
  std::string text() const {
    std::string content(static_cast<std::size_t>(::lseek(file_.get(), 0, SEEK_END)), '\0');
    EXPECT_EQ(::pread(file_.get(), content.data(), content.size(), 0), static_cast<ssize_t>(content.size()));
    return content;
  }

 private:
  UniqueFd file_;
  ManualClock clock_;
  Log log_;
};

void print(LineOutput& output, std::string_view text) { output.write(std::as_bytes(std::span(text))); }

TEST(LineOutput, JoinsPiecesIntoLinesAndKeepsTheLastOne) {
  Captured captured;
  {
    LineOutput output = captured.output();
    print(output, "on");
    print(output, "e\ntwo\r\n\nthr");
    print(output, "ee");
  }
  EXPECT_EQ(captured.text(), "g | one\ng | two\ng | \ng | three\n");
}

TEST(LineOutput, CutsALongLineAndLosesNoneOfIt) {
  Captured captured;
  {
    LineOutput output = captured.output();
    print(output, "a");
    print(output, std::string(LineOutput::kLineBytesMax, 'b') + "c\nd");
  }
  const std::string text = captured.text();
  EXPECT_EQ(std::ranges::count(text, 'b'), static_cast<long>(LineOutput::kLineBytesMax));
  EXPECT_THAT(text, ::testing::EndsWith("g | bc\ng | d\n"));
}

TEST(LineOutput, AFloodIsDroppedAboveItsRateAndSaidSo) {
  Captured captured;
  LineOutput output = captured.output();
  const std::string line = std::string(1023, 'x') + "\n";
  for (std::uint64_t i = 0; i < LineOutput::kBurstBytesMax / 1024 + 10; ++i) print(output, line);
  captured.clock().advance(std::chrono::seconds(1));
  print(output, "after\n");
  const std::string text = captured.text();
  EXPECT_THAT(text, ::testing::HasSubstr("output lines dropped guest=g stream=stdout lines=10"));
  EXPECT_THAT(text, ::testing::EndsWith("g | after\n"));
}

}  // namespace
}  // namespace dormouse::guest
