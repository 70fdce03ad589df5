// SPDX-License-Identifier: Apache-2.0
#include "host/start_queue.h"

#include <gtest/gtest.h>

#include <set>

namespace dormouse::host {
namespace {

using Names = std::vector<std::string>;

const auto nobody = [](const std::string&) { return false; };
const auto everybody = [](const std::string&) { return true; };

StartQueue queue_of(std::size_t pods) {
  StartQueue queue;
  for (std::size_t i = 0; i < pods; ++i) queue.add("pod" + std::to_string(i));
  return queue;
}

TEST(StartQueue, StartsSoManyAtOnceAndTheRestAsTheyComeToRest) {
  StartQueue queue = queue_of(StartQueue::kAtOnce + 2);
  EXPECT_EQ(queue.next(Nanoseconds(0), nobody, false).size(), StartQueue::kAtOnce);
  EXPECT_TRUE(queue.next(Nanoseconds(1), nobody, false).empty());
  EXPECT_TRUE(queue.busy());
  EXPECT_EQ(queue.next(Nanoseconds(2), [](const std::string& name) { return name == "pod3"; }, false), Names{"pod" + std::to_string(StartQueue::kAtOnce)});
  EXPECT_EQ(queue.next(Nanoseconds(3), everybody, false), Names{"pod" + std::to_string(StartQueue::kAtOnce + 1)});
  EXPECT_FALSE(queue.busy());
}

TEST(StartQueue, StartsEachOnceAndInOrder) {
  StartQueue queue = queue_of(100);
  queue.add("pod99");
  queue.add("pod0");
  Names all;
  while (queue.busy()) {
    for (std::string& name : queue.next(Nanoseconds(0), everybody, false)) all.push_back(std::move(name));
    if (all.size() < 100) {
      queue.add(all.back());  // Is starting: no second time.
    }
  }
  ASSERT_EQ(all.size(), 100U);
  for (std::size_t i = 0; i < all.size(); ++i) EXPECT_EQ(all[i], "pod" + std::to_string(i));
}

TEST(StartQueue, OneThatNeverRestsDoesNotHoldUpOthers) {
  StartQueue queue = queue_of(StartQueue::kAtOnce + 1);
  queue.next(Nanoseconds(0), nobody, false);
  EXPECT_TRUE(queue.next(StartQueue::kStartTimeMax - Nanoseconds(1), nobody, false).empty());
  EXPECT_EQ(queue.next(StartQueue::kStartTimeMax, nobody, false).size(), 1U);
}

TEST(StartQueue, OneAtATimeWhenMemoryIsShort) {
  StartQueue queue = queue_of(3);
  EXPECT_EQ(queue.next(Nanoseconds(0), nobody, true), Names{"pod0"});
  EXPECT_TRUE(queue.next(Nanoseconds(1), nobody, true).empty());
  EXPECT_EQ(queue.next(Nanoseconds(2), everybody, true), Names{"pod1"});
}

TEST(StartQueue, WhoIsRemovedNeitherStartsNorCounts) {
  StartQueue queue = queue_of(StartQueue::kAtOnce + 2);
  const Names first = queue.next(Nanoseconds(0), nobody, false);
  queue.remove(first[0]);
  queue.remove("pod" + std::to_string(StartQueue::kAtOnce));
  EXPECT_EQ(queue.next(Nanoseconds(1), nobody, false), Names{"pod" + std::to_string(StartQueue::kAtOnce + 1)});
  queue.add(first[0]);
  EXPECT_TRUE(queue.busy());
}

}  // namespace
}  // namespace dormouse::host
