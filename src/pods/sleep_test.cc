// SPDX-License-Identifier: Apache-2.0
#include "pods/sleep.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dormouse::pods {
namespace {

using ::testing::HasSubstr;

TEST(Sleep, WhatIsPrintedIsReadAsTheSame) {
  for (const char* text : {"never", "immediately", "pressure", "predictive", "idle=0s", "idle=30s", "idle=1500ms", "idle=86400s"}) {
    const auto mode = parse_sleep(text);
    ASSERT_TRUE(mode) << text;
    EXPECT_EQ(to_string(*mode), text);
  }
  EXPECT_EQ(parse_sleep("idle=2m")->idle, std::chrono::minutes(2));
  EXPECT_EQ(parse_sleep("idle=24h")->idle, std::chrono::hours(24));
}

TEST(Sleep, RefusesWhatIsNotAWayToSleep) {
  for (const char* text : {"", "Never", "never ", "idle", "idle=", "idle=s", "idle=5", "idle=-5s", "idle=+5s", "idle=1.5s", "idle=5 s", "idle=5sec", "idle=5s5", "idle=99999999999s", "idle=25h", "idle=4294967295h", "always"}) {
    EXPECT_FALSE(parse_sleep(text)) << text;
  }
}

TEST(Sleep, ItsErrorSaysWhatToWrite) {
  EXPECT_THAT(parse_sleep("sometimes").error().message, HasSubstr("never, immediately, idle=DURATION"));
  EXPECT_THAT(parse_sleep("idle=5").error().message, HasSubstr("such as 30s"));
  EXPECT_THAT(parse_sleep("idle=25h").error().message, HasSubstr("pressure"));
}

}  // namespace
}  // namespace dormouse::pods
