// SPDX-License-Identifier: Apache-2.0
#include "paging/own_code.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/log.h"
#include "paging/page_store.h"
#include "paging/test_support.h"

namespace dormouse::paging {
namespace {

using namespace std::chrono_literals;

TEST(OwnCode, WhatIsMappedLeavesAndWhatRunsComesBack) {
  const auto scan = PageScan::create().value();
  const OwnCode code;
  const std::uint64_t before = code.mapped_bytes(*scan);
  EXPECT_GT(before, 0U);
  EXPECT_EQ(code.drop(*scan, ~std::uint64_t{0}), 0U) << "no more than may be";
  EXPECT_GE(code.mapped_bytes(*scan), before);
  EXPECT_GE(code.drop(*scan, 0), before);  // What has run since is mapped, too.
  const std::uint64_t after = code.mapped_bytes(*scan);
  EXPECT_GT(after, 0U) << "this runs";
  EXPECT_LT(after, before);
}

TEST(PageStore, OneOfThoseWhoAskTooEarlyIsToldToComeAgain) {
  testing::Scratch folder;
  testing::FaultyDisk disk;
  const SystemClock clock;
  Log log{{.level = Log::Level::Error}, clock};
  const auto store = PageStore::create({.directory = folder.path, .budget_bytes = 1 << 20, .allow_ram_file_system = true}, disk, log).value();
  EXPECT_EQ(store->tidy_host(100s), std::nullopt);
  EXPECT_EQ(store->tidy_host(101s), 100s + PageStore::kTidyPause);
  EXPECT_EQ(store->tidy_host(102s), std::nullopt) << "the first does it";
  EXPECT_EQ(store->tidy_host(100s + PageStore::kTidyPause), std::nullopt);
  EXPECT_EQ(store->tidy_host(115s), 100s + 2 * PageStore::kTidyPause);
}

}  // namespace
}  // namespace dormouse::paging
