// SPDX-License-Identifier: Apache-2.0
#include "kubepp/loop.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

#include "kubepp/workqueue.h"

namespace kubepp {
namespace {

using std::chrono::milliseconds;

Task<> append_after(Loop& loop, std::string& out, char c, Duration delay) {
  co_await loop.sleep(delay);
  out += c;
}

Task<int> three_sleepers(Loop& loop, std::string& out) {
  loop.spawn(append_after(loop, out, 'c', milliseconds(15)));
  loop.spawn(append_after(loop, out, 'a', milliseconds(1)));
  loop.spawn(append_after(loop, out, 'b', milliseconds(8)));
  co_await loop.sleep(milliseconds(25));
  co_return 7;
}

TEST(Loop, TimersGoOffInOrderAndTheMainResultIsReturned) {
  Loop loop;
  std::string out;
  EXPECT_EQ(loop.run(three_sleepers(loop, out)), 7);
  EXPECT_EQ(out, "abc");
}

Task<int> one_long_sleep(Loop& loop) {
  co_await loop.sleep(milliseconds(120));
  co_return 0;
}

TEST(Loop, AnIdleProgramWakesOnlyAtItsDeadline) {
  Loop loop;
  loop.run(one_long_sleep(loop));
  EXPECT_EQ(loop.wakeups(), 1u);
}

Task<> wait_for_event(Loop& loop, Event& event, std::string& out, char c) {
  co_await loop.event(event);
  out += c;
}

Task<int> set_event(Loop& loop, Event& event) {
  co_await loop.sleep(milliseconds(1));
  event.set();
  co_await loop.sleep(milliseconds(1));
  co_return 0;
}

TEST(Loop, AnEventResumesAllWhoWait) {
  Loop loop;
  Event event;
  std::string out;
  loop.spawn(wait_for_event(loop, event, out, 'x'));
  loop.spawn(wait_for_event(loop, event, out, 'y'));
  loop.run(set_event(loop, event));
  EXPECT_EQ(out, "xy");
}

Task<int> deadline_first(Loop& loop, Event& event, bool& in_time) {
  in_time = co_await loop.event(event, Loop::now() + milliseconds(1));
  co_return 0;
}

TEST(Loop, AWaitTellsWhenItsDeadlineCameFirst) {
  Loop loop;
  Event event;
  bool in_time = true;
  loop.run(deadline_first(loop, event, in_time));
  EXPECT_FALSE(in_time);
  event.set();
  loop.run(deadline_first(loop, event, in_time));
  EXPECT_TRUE(in_time);
}

Task<int> cancel_a_waiting_task(Loop& loop, std::string& out) {
  {
    Task<> task = append_after(loop, out, '!', milliseconds(1));
    task.start();
  }
  co_await loop.sleep(milliseconds(5));
  co_return 0;
}

TEST(Loop, ADestroyedTaskNeverRuns) {
  Loop loop;
  std::string out;
  loop.run(cancel_a_waiting_task(loop, out));
  EXPECT_EQ(out, "");
}

Task<int> read_pipe(Loop& loop, int from, int to, std::string& out) {
  const bool early = co_await loop.readable(from, Loop::now() + milliseconds(1));
  out += early ? "early " : "nothing ";
  EXPECT_EQ(write(to, "z", 1), 1);
  co_await loop.readable(from);
  char c = 0;
  EXPECT_EQ(read(from, &c, 1), 1);
  out += c;
  co_return 0;
}

TEST(Loop, WaitsForDescriptors) {
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  Loop loop;
  std::string out;
  loop.run(read_pipe(loop, fds[0], fds[1], out));
  EXPECT_EQ(out, "nothing z");
  close(fds[0]);
  close(fds[1]);
}

Task<int> number(int i) { co_return i; }

Task<int> many_children_without_waiting() {
  std::int64_t sum = 0;
  for (int i = 0; i < 200000; ++i) sum += co_await number(i);
  co_return sum == 19999900000 ? 0 : 1;
}

TEST(Task, ChildrenThatDoNotWaitDoNotDeepenTheStack) {
  Loop loop;
  EXPECT_EQ(loop.run(many_children_without_waiting()), 0);
}

Task<std::string> take(WorkQueue& queue) {
  const std::optional<ObjectKey> key = co_await queue.get();
  co_return key ? key->name : "shut down";
}

void expect_next(const std::string& got, const std::string& want) { EXPECT_EQ(got, want); }

Task<int> deduplicates(WorkQueue& queue) {
  const ObjectKey a{"", "a"}, b{"", "b"};
  queue.add(a);
  queue.add(b);
  queue.add(a);
  EXPECT_EQ(queue.size(), 2u);
  expect_next(co_await take(queue), "a");
  // While it is worked on it waits, and does not run twice at the same time.
  queue.add(a);
  queue.add(a);
  expect_next(co_await take(queue), "b");
  EXPECT_EQ(queue.size(), 0u);
  queue.done(a);
  expect_next(co_await take(queue), "a");
  queue.done(a);
  queue.done(b);
  EXPECT_EQ(queue.size(), 0u);
  EXPECT_TRUE(queue.idle());
  queue.add(b);
  queue.shut_down();
  expect_next(co_await take(queue), "shut down");
  co_return 0;
}

TEST(WorkQueue, HoldsAnObjectOnceAndNeverGivesItToTwo) {
  Loop loop;
  WorkQueue queue(loop);
  loop.run(deduplicates(queue));
}

Task<int> delays(WorkQueue& queue) {
  const ObjectKey a{"", "a"}, b{"", "b"};
  const Time begin = Loop::now();
  queue.add_after(a, std::chrono::hours(1));
  queue.add_after(a, milliseconds(20));
  queue.add_after(a, std::chrono::hours(2));
  queue.add_after(b, milliseconds(5));
  expect_next(co_await take(queue), "b");
  expect_next(co_await take(queue), "a");
  EXPECT_GE(Loop::now() - begin, milliseconds(20));
  EXPECT_LT(Loop::now() - begin, std::chrono::seconds(10));
  co_return 0;
}

TEST(WorkQueue, TheEarliestDelayCounts) {
  Loop loop;
  WorkQueue queue(loop);
  loop.run(delays(queue));
}

TEST(Backoff, DoublesUpToItsLimitAndStaysWithinItsJitter) {
  Backoff backoff(milliseconds(100), milliseconds(1000));
  for (const int expected : {100, 200, 400, 800, 1000, 1000}) {
    const Duration time = backoff.next();
    EXPECT_GE(time, milliseconds(expected / 2));
    EXPECT_LE(time, milliseconds(expected));
  }
  backoff.reset();
  EXPECT_LE(backoff.next(), milliseconds(100));
}

}  // namespace
}  // namespace kubepp
