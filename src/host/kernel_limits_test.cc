// SPDX-License-Identifier: Apache-2.0
#include "host/kernel_limits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

namespace dormouse::host {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(KernelLimits, OfThisMachineAreReadAndTheSoftLimitIsTheHardOne) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit lower = before;
  lower.rlim_cur = std::min<rlim_t>(before.rlim_max, 256);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &lower), 0);
  const KernelLimits limits = raise_and_read_kernel_limits();
  EXPECT_EQ(limits.descriptors_max, before.rlim_max);
  EXPECT_GT(limits.mappings_max, 1000U);
  ::setrlimit(RLIMIT_NOFILE, &before);
}

TEST(KernelLimits, EnoughIsNotSpokenOf) { EXPECT_THAT(too_low({.mappings_max = 65530, .descriptors_max = 20000}, 10'000), IsEmpty()); }

TEST(KernelLimits, WhatIsTooLowIsNamedWithWhatToDo) {
  EXPECT_THAT(too_low({.mappings_max = 65530, .descriptors_max = 20000}, 30'000),
              ElementsAre(AllOf(HasSubstr("30000 guests need about 151000 memory mappings"), HasSubstr("allows a process 65530"), HasSubstr("sysctl -w vm.max_map_count=302000")),
                          AllOf(HasSubstr("30100 open files"), HasSubstr("may have 20000"), HasSubstr("LimitNOFILE="))));
}

TEST(KernelLimits, WhatIsNotKnownIsNotJudged) { EXPECT_THAT(too_low({}, 1'000'000), IsEmpty()); }

}  // namespace
}  // namespace dormouse::host
