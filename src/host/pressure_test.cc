// SPDX-License-Identifier: Apache-2.0
#include "host/pressure.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <filesystem>

#include "host/test_support.h"

namespace dormouse::host {
namespace {

using testing::Scratch;
using ::testing::HasSubstr;

constexpr std::uint64_t kGi = std::uint64_t{1} << 30;

// A machine of 16 GiB whose kernel files are ours.
class FakeKernel {
 public:
  FakeKernel() {
    write("proc/meminfo", "MemTotal:       16777216 kB\nMemFree:        1 kB\n");
    write("proc/self/statm", "1000 500 200 1 0 100 0\n");
  }
  void write(const std::string& name, std::string_view text) {
    std::filesystem::create_directories((scratch_.path / name).parent_path());
    scratch_.file(name, text);
  }
  HostMemory look() const { return HostMemory::look({.proc = scratch_.path / "proc", .cgroup = scratch_.path / "cgroup"}); }
  std::string path(const std::string& name) const { return scratch_.path / name; }

 private:
  Scratch scratch_;
};

TEST(HostMemory, WithoutACgroupItIsTheProcessAndHalfTheMachine) {
  FakeKernel kernel;
  const HostMemory memory = kernel.look();
  EXPECT_EQ(memory.source(), "process");
  EXPECT_FALSE(memory.limit_bytes());
  EXPECT_EQ(memory.default_budget_bytes(), 8 * kGi);
  EXPECT_EQ(memory.used_bytes(), 300U * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)));
  EXPECT_EQ(memory.pressure_path(), "");
}

TEST(HostMemory, ACgroupWithoutALimitCountsAsNone) {
  FakeKernel kernel;
  kernel.write("proc/self/cgroup", "0::/user.slice\n");
  kernel.write("cgroup/user.slice/memory.max", "max\n");
  kernel.write("proc/pressure/memory", "");
  const HostMemory memory = kernel.look();
  EXPECT_EQ(memory.source(), "process");
  EXPECT_EQ(memory.pressure_path(), kernel.path("proc/pressure/memory"));
}

TEST(HostMemory, TakesTheTightestLimitOfAllCgroupsAboveItV2) {
  FakeKernel kernel;
  kernel.write("proc/self/cgroup", "0::/kubepods/pod1/host\n");
  kernel.write("cgroup/kubepods/memory.max", "4294967296\n");
  kernel.write("cgroup/kubepods/pod1/memory.max", "1073741824\n");
  kernel.write("cgroup/kubepods/pod1/host/memory.max", "max\n");
  kernel.write("cgroup/kubepods/pod1/memory.current", "900\n");
  kernel.write("cgroup/kubepods/pod1/memory.pressure", "");
  kernel.write("cgroup/kubepods/pod1/memory.stat", "anon 500\nfile 400\ninactive_file 300\nactive_file 50\nworkingset_activate_file 7\n");
  const HostMemory memory = kernel.look();
  EXPECT_EQ(memory.source(), "cgroup /kubepods/pod1 (v2)");
  EXPECT_EQ(memory.limit_bytes(), kGi);
  EXPECT_EQ(memory.default_budget_bytes(), kGi / 10 * 9);
  EXPECT_EQ(memory.used_bytes(), 550U);
  EXPECT_EQ(memory.pressure_path(), kernel.path("cgroup/kubepods/pod1/memory.pressure"));
}

TEST(HostMemory, ReadsV1AndItsWordForNoLimit) {
  FakeKernel kernel;
  kernel.write("proc/self/cgroup", "4:memory,hugetlb:/docker/abc\n1:cpu:/\n0::/\n");
  kernel.write("cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  kernel.write("cgroup/memory/docker/abc/memory.limit_in_bytes", "2147483648\n");
  kernel.write("cgroup/memory/docker/abc/memory.usage_in_bytes", "1000\n");
  kernel.write("cgroup/memory/docker/abc/memory.stat", "cache 5\ninactive_file 1\ntotal_inactive_file 100\ntotal_active_file 200\n");
  const HostMemory memory = kernel.look();
  EXPECT_EQ(memory.source(), "cgroup /docker/abc (v1)");
  EXPECT_EQ(memory.limit_bytes(), 2 * kGi);
  EXPECT_EQ(memory.used_bytes(), 700U);
}

TEST(HostMemory, InAContainerThatSeesOnlyItsOwnCgroupTheMountIsIt) {
  for (const char* line : {"0::/outer/path\n", "0::/\n", "0::/../other\n", "0::relative\n"}) {
    FakeKernel kernel;
    kernel.write("proc/self/cgroup", line);
    kernel.write("cgroup/memory.max", "1073741824\n");
    EXPECT_EQ(kernel.look().limit_bytes(), kGi) << line;
    EXPECT_EQ(kernel.look().source(), "cgroup / (v2)") << line;
  }
}

TEST(HostMemory, ALimitAboveWhatTheMachineHasIsNone) {
  FakeKernel kernel;
  kernel.write("proc/self/cgroup", "0::/\n");
  kernel.write("cgroup/memory.max", "17179869184\n");
  EXPECT_FALSE(kernel.look().limit_bytes());
}

TEST(HostMemory, SurvivesWhateverTheFilesHold) {
  const char* texts[] = {"", "\n", "::::", "0::", "max", "-1", "18446744073709551616", "9:memory", "memory 1", "inactive_file", "inactive_file x", "\0\xff", "1 2", "1", "1 2 3"};
  for (const char* text : texts) {
    FakeKernel kernel;
    for (const char* name : {"proc/meminfo", "proc/self/statm", "proc/self/cgroup", "cgroup/memory.max", "cgroup/memory.current", "cgroup/memory.stat", "cgroup/memory/memory.limit_in_bytes"}) kernel.write(name, text);
    const HostMemory memory = kernel.look();
    if (const auto used = memory.used_bytes(); !used) {
      EXPECT_FALSE(used.error().message.empty());
    }
    EXPECT_EQ(memory.default_budget_bytes(), 0U) << text;
  }
}

TEST(HostMemory, AFileThatGoesAwayIsAnErrorThatNamesIt) {
  FakeKernel kernel;
  kernel.write("proc/self/cgroup", "0::/\n");
  kernel.write("cgroup/memory.max", "1073741824\n");
  const auto used = kernel.look().used_bytes();
  ASSERT_FALSE(used);
  EXPECT_THAT(used.error().message, HasSubstr("memory.current"));
}

TEST(HostMemory, SeesThisProcessGrowAndShrink) {
  // A real kernel, whatever cgroup the test runs in: only the direction is sure.
  const HostMemory memory = HostMemory::look();
  ASSERT_TRUE(memory.used_bytes());
  if (memory.source() != "process") GTEST_SKIP() << "others share " << memory.source();
  constexpr std::size_t kBytes = 64 << 20;
  const std::uint64_t before = *memory.used_bytes();
  void* pages = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  ASSERT_NE(pages, MAP_FAILED);
  EXPECT_GT(*memory.used_bytes(), before + kBytes / 2);
  ::munmap(pages, kBytes);
  EXPECT_LT(*memory.used_bytes(), before + kBytes / 2);
}

TEST(PressureWatch, SaysWhyThereIsNone) {
  boost::asio::io_context loop;
  const auto missing = PressureWatch::create(loop, "/nonexistent/memory.pressure", [] {});
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().message, HasSubstr("/nonexistent/memory.pressure"));
  EXPECT_FALSE(PressureWatch::create(loop, "/proc/self/statm", [] {}));  // There, but takes no trigger.
}

TEST(PressureWatch, WaitsForTheKernelAndHoldsTheLoopOnlyWhileItLives) {
  const std::string path = HostMemory::look().pressure_path();
  if (path.empty()) GTEST_SKIP() << "this kernel has no PSI";
  boost::asio::io_context loop;
  auto watch = PressureWatch::create(loop, path, [] {});
  if (!watch) GTEST_SKIP() << watch.error().message;
  loop.poll();
  EXPECT_FALSE(loop.stopped());
  watch->reset();
  loop.run();  // Ends: nothing waits any more.
}

}  // namespace
}  // namespace dormouse::host
