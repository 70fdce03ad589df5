// SPDX-License-Identifier: Apache-2.0
#include "wasm/instance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "wasm/engine_parts.h"
#include "wasm/slot.h"
#include "wasm/test_support.h"

namespace dormouse::wasm::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using State = Instance::State;

constexpr std::uint64_t kPage = 65'536;

std::string with_imports(std::initializer_list<std::array<std::string_view, 3>> imports, const std::string& code, std::uint32_t locals = 0) {
  ModuleBuilder m;
  for (const auto& [name, parameters, results] : imports) m.import("t", name, parameters, results);
  m.memory(1);
  m.export_memory();
  m.data(8, std::string("\x2a\0\0\0", 4));
  m.export_function("_start", m.function("", "", code, locals, "main"));
  return m.bytes();
}

TEST(Instance, RunsToItsEnd) {
  Guest run(program(op::i32(1) + op::drop));
  EXPECT_EQ(run.instance->state(), State::Ready);
  EXPECT_EQ(run.instance->resume(), State::Ended);
  EXPECT_EQ(run.instance->exit().kind, Exit::Kind::Returned);
}

TEST(Instance, CallsTheHostWithTheGuestsValuesAndMemory) {
  Guest run(with_imports({{"add", "iI", "I"}, {"peek", "i", "i"}, {"note", "i", ""}},
                       op::i32(-2) + op::i64(1LL << 40) + op::call(0) + op::drop + op::i32(8) + op::call(1) + op::call(2)));
  EXPECT_EQ(run.instance->resume(), State::Ended);
  EXPECT_THAT(run.host.notes, ElementsAre((1LL << 40) - 2, 42));
}

TEST(Instance, TakesAnImportThatIsNamedTwice) {
  Guest run(with_imports({{"note", "i", ""}, {"note", "i", ""}}, op::i32(1) + op::call(0) + op::i32(2) + op::call(1)));
  EXPECT_EQ(run.instance->resume(), State::Ended);
  EXPECT_THAT(run.host.notes, ElementsAre(1, 2));
}

TEST(Instance, EndsWithTheCodeTheGuestGave) {
  Guest run(with_imports({{"exit", "i", ""}}, op::i32(-3) + op::call(0) + op::unreachable));
  EXPECT_EQ(run.instance->resume(), State::Ended);
  EXPECT_EQ(run.instance->exit().kind, Exit::Kind::Exited);
  EXPECT_EQ(run.instance->exit().code, 0xfffffffdu);
  EXPECT_EQ(run.account.used_bytes(), 0u);
}

TEST(Instance, TellsWhichHostFunctionTheGuestBrokeTheRulesOf) {
  Guest run(with_imports({{"refuse", "", ""}}, op::call(0)));
  EXPECT_EQ(run.instance->resume(), State::Ended);
  EXPECT_EQ(run.instance->exit().kind, Exit::Kind::Trapped);
  EXPECT_THAT(run.instance->exit().message, StartsWith("t.refuse "));
  EXPECT_THAT(run.instance->exit().backtrace, ElementsAre(StartsWith("main (test.wasm+0x")));
}

TEST(Instance, ParksAndResumesAHundredThousandTimes) {
  constexpr int kTimes = 100'000;
  Guest run(with_imports({{"wait", "", "i"}}, op::loop + op::call(0) + op::drop + op::br(0) + op::end));
  ASSERT_EQ(run.instance->resume(), State::Parked);
  for (int i = 0; i < kTimes; ++i) {
    run.host.grants = 1;
    ASSERT_EQ(run.instance->resume(), State::Parked);
  }
  EXPECT_EQ(run.host.waits, 1 + 2 * kTimes);
}

TEST(Instance, GoesOnWhereItParked) {
  Guest run(with_imports({{"wait", "", "i"}, {"note", "i", ""}}, op::call(0) + op::call(1)));
  EXPECT_EQ(run.instance->resume(), State::Parked);
  EXPECT_EQ(run.instance->resume(), State::Parked);
  EXPECT_TRUE(run.host.notes.empty());
  run.host.ready = true;
  EXPECT_EQ(run.instance->resume(), State::Ended);
  EXPECT_THAT(run.host.notes, ElementsAre(7));
  EXPECT_EQ(run.host.waits, 3);
}

TEST(Instance, CanEndOutOfAPark) {
  for (const int argument : {5, -1}) {
    Guest run(with_imports({{"wait_or_exit", "i", ""}}, op::i32(argument) + op::call(0)));
    EXPECT_EQ(run.instance->resume(), State::Parked);
    run.host.ready = true;
    EXPECT_EQ(run.instance->resume(), State::Ended);
    EXPECT_EQ(run.instance->exit().kind, argument < 0 ? Exit::Kind::Trapped : Exit::Kind::Exited);
    EXPECT_EQ(run.instance->exit().code, argument < 0 ? 0u : 5u);
  }
}

TEST(Instance, MovesBetweenThreads) {
  Guest run(with_imports({{"wait", "", "i"}, {"note", "i", ""}}, op::loop + op::call(0) + op::call(1) + op::br(0) + op::end));
  for (int i = 0; i < 20; ++i) {
    run.host.grants = 1;
    std::thread([&] { EXPECT_EQ(run.instance->resume(), State::Parked); }).join();
  }
  EXPECT_EQ(run.host.notes.size(), 20u);
  std::thread([&] { run.instance.reset(); }).join();
  EXPECT_EQ(run.account.used_bytes(), 0u);
}

TEST(Instance, MayBeDeletedInAnyState) {
  const std::string parks = with_imports({{"wait", "", "i"}}, op::call(0) + op::drop);
  Guest ready(parks);
  Guest parked(parks);
  EXPECT_EQ(parked.instance->resume(), State::Parked);
  parked.instance.reset();
  EXPECT_EQ(parked.account.used_bytes(), 0u);
  EXPECT_EQ(parked.host.waits, 1) << "deleting ran the guest";
  ready.instance.reset();
  EXPECT_EQ(ready.account.used_bytes(), 0u);
}

TEST(Instance, IsPreemptedByATickAndGoesOn) {
  Guest run(program(op::loop + op::br(0) + op::end));
  std::atomic<bool> done = false;
  std::thread ticker([&] {
    while (!done) shared_engine().tick();
  });
  for (int i = 0; i < 100; ++i) EXPECT_EQ(run.instance->resume(), State::Preempted);
  done = true;
  ticker.join();
  run.instance.reset();
  EXPECT_EQ(run.account.used_bytes(), 0u);
}

TEST(Instance, IsNotPreemptedForTicksWhileItWasAway) {
  Guest run(with_imports({{"wait", "", "i"}}, op::loop + op::call(0) + op::drop + op::br(0) + op::end));
  for (int i = 0; i < 10; ++i) {
    run.host.grants = 1;  // So that it runs a round before it parks again.
    EXPECT_EQ(run.instance->resume(), State::Parked);
    for (int k = 0; k < 3; ++k) shared_engine().tick();
  }
  EXPECT_GE(run.host.waits, 19);
}

TEST(Instance, IsStoppedOutOfAnEndlessLoop) {
  Guest run(program(op::loop + op::br(0) + op::end));
  std::thread stopper([&] { run.instance->request_stop(); });
  while (run.instance->resume() != State::Ended) {}
  stopper.join();
  EXPECT_EQ(run.instance->exit().kind, Exit::Kind::Stopped);
  EXPECT_EQ(run.account.used_bytes(), 0u);
}

TEST(Instance, IsStoppedWhileParkedWithoutRunningAgain) {
  Guest run(with_imports({{"wait", "", "i"}}, op::call(0) + op::drop));
  EXPECT_EQ(run.instance->resume(), State::Parked);
  run.host.ready = true;
  run.instance->request_stop();
  EXPECT_EQ(run.instance->resume(), State::Ended);
  EXPECT_EQ(run.instance->exit().kind, Exit::Kind::Stopped);
  EXPECT_EQ(run.host.waits, 1);
}

TEST(Instance, RefusesGrowthPastTheLimitAndCountsIt) {
  Guest run(with_imports({{"note", "i", ""}}, op::i32(2) + op::memory_grow + op::call(0) + op::i32(2) + op::memory_grow + op::call(0) + op::memory_size + op::call(0) +
                                                op::i32(1) + op::memory_grow + op::call(0)),
          4 * kPage);
  EXPECT_EQ(run.account.used_bytes(), kPage);
  EXPECT_EQ(run.instance->resume(), State::Ended);
  EXPECT_THAT(run.host.notes, ElementsAre(1, -1, 3, 3));
  EXPECT_EQ(run.account.refusals(), 1u);
  EXPECT_EQ(run.account.used_bytes(), 0u);
}

TEST(Instance, CountsGrowthWhileItRuns) {
  Guest run(with_imports({{"wait", "", "i"}}, op::i32(2) + op::memory_grow + op::drop + op::call(0) + op::drop));
  EXPECT_EQ(run.instance->resume(), State::Parked);
  EXPECT_EQ(run.account.used_bytes(), 3 * kPage);
  EXPECT_EQ(run.instance->memory_bytes(), 3 * kPage);
  EXPECT_EQ(run.instance->memory().load<std::int32_t>(8), 42);
  EXPECT_GE(run.instance->stack().size(), std::size_t{1} << 20);
}

TEST(Instance, CountsTables) {
  ModuleBuilder m;
  m.import("t", "note", "i", "");
  m.memory(1);
  m.table(1000);
  m.export_memory();
  m.export_function("_start", m.function("", "", op::ref_null() + op::i32(1 << 20) + op::table_grow() + op::call(0)));
  Guest run(m.bytes(), kPage + 100'000);
  EXPECT_EQ(run.account.used_bytes(), kPage + 8000);
  EXPECT_EQ(run.instance->resume(), State::Ended);
  EXPECT_THAT(run.host.notes, ElementsAre(-1));
  EXPECT_EQ(run.account.used_bytes(), 0u);
}

TEST(Instance, IsNotMadeWhenItsInitialMemoryPassesTheLimit) {
  ModuleBuilder m;
  m.memory(65'536);
  m.export_memory();
  m.export_function("_start", m.function("", "", ""));
  MemoryAccount account(1 << 20);
  const auto created = Instance::create(shared_engine(), {.module = load(m.bytes()), .host = nullptr, .account = account});
  ASSERT_FALSE(created);
  EXPECT_EQ(created.error().code, ErrorCode::ResourceExhausted);
  EXPECT_THAT(created.error().message, HasSubstr("4294967296"));
  EXPECT_EQ(account.used_bytes(), 0u);

  MemoryAccount large(std::uint64_t{5} << 30);
  auto whole = Instance::create(shared_engine(), {.module = load(m.bytes()), .host = nullptr, .account = large});
  ASSERT_TRUE(whole) << whole.error().message;
  EXPECT_EQ((*whole)->resume(), State::Ended);
}

TEST(Instance, IsNotMadeWhenItsTablesPassTheLimit) {
  ModuleBuilder m;
  m.memory(1);
  m.table(1'000'000);
  m.export_memory();
  m.export_function("_start", m.function("", "", ""));
  MemoryAccount account(1 << 20);
  const auto created = Instance::create(shared_engine(), {.module = load(m.bytes()), .host = nullptr, .account = account});
  ASSERT_FALSE(created);
  EXPECT_EQ(created.error().code, ErrorCode::ResourceExhausted);
  EXPECT_EQ(account.used_bytes(), 0u);
}

struct TrapCase {
  const char* name;
  std::string code;
  const char* message;
};
class Traps : public ::testing::TestWithParam<TrapCase> {};
TEST_P(Traps, AreToldByTheirKindAndPlace) {
  ModuleBuilder m;
  m.memory(1);
  m.table(2);
  m.export_memory();
  const auto inner = m.function("", "", GetParam().code, 1, "_ZN5guest5inner17h0123456789abcdefE");
  const auto middle = m.function("", "", op::call(inner));
  m.export_function("_start", m.function("", "", op::call(middle), 0, "main\x1b[31m"));
  Guest run(m.bytes());
  EXPECT_EQ(run.instance->resume(), State::Ended);
  const Exit& exit = run.instance->exit();
  EXPECT_EQ(exit.kind, Exit::Kind::Trapped);
  EXPECT_EQ(exit.message, GetParam().message);
  EXPECT_THAT(exit.backtrace, ElementsAre(StartsWith("guest::inner (test.wasm+0x"), StartsWith("function[1] (test.wasm+0x"), StartsWith("main?[31m (test.wasm+0x")));
  EXPECT_EQ(run.account.used_bytes(), 0u);
}
INSTANTIATE_TEST_SUITE_P(All, Traps,
                         ::testing::Values(TrapCase{"Unreachable", op::unreachable, "wasm trap: unreachable instruction executed"},
                                           TrapCase{"Memory", op::i32(-8) + op::load + op::drop, "wasm trap: out of bounds memory access"},
                                           TrapCase{"Division", op::i32(1) + op::i32(0) + op::div_s + op::drop, "wasm trap: integer divide by zero"},
                                           TrapCase{"Overflow", op::i32(INT32_MIN) + op::i32(-1) + op::div_s + op::drop, "wasm trap: integer overflow"},
                                           TrapCase{"Null", op::i32(0) + op::call_indirect(0), "wasm trap: uninitialized element"},
                                           TrapCase{"Table", op::i32(9) + op::call_indirect(0), "wasm trap: undefined element: out of bounds table access"}),
                         [](const auto& info) { return info.param.name; });

TEST(Instance, TrapsWhenItsStackOverflowsAndOthersGoOn) {
  ModuleBuilder m;
  m.memory(1);
  m.export_memory();
  m.export_function("_start", m.function("", "", op::call(0), 0, "deeper"));
  Guest other(with_imports({{"wait", "", "i"}}, op::call(0) + op::drop));
  EXPECT_EQ(other.instance->resume(), State::Parked);
  Guest run(m.bytes());
  EXPECT_EQ(run.instance->resume(), State::Ended);
  EXPECT_EQ(run.instance->exit().message, "wasm trap: call stack exhausted");
  EXPECT_EQ(run.instance->exit().backtrace.size(), 64u);
  other.host.ready = true;
  EXPECT_EQ(other.instance->resume(), State::Ended);
  EXPECT_EQ(other.instance->exit().kind, Exit::Kind::Returned);
}

ModuleBuilder with_start_function(const std::string& code) {
  ModuleBuilder m;
  m.import("t", "wait", "", "i");
  m.import("t", "note", "i", "");
  m.import("t", "peek", "i", "i");
  m.memory(1);
  m.export_memory();
  m.data(8, std::string("\x2a\0\0\0", 4));
  m.start(m.function("", "", code, 0, "begin"));
  m.export_function("_start", m.function("", "", op::i32(100) + op::call(1)));
  return m;
}

TEST(Instance, RunsAStartFunctionInTheFirstResumeWithParksAndMemory) {
  Guest run(with_start_function(op::i32(8) + op::call(2) + op::call(1) + op::call(0) + op::call(1)).bytes());
  EXPECT_TRUE(run.host.notes.empty());
  EXPECT_EQ(run.instance->memory_bytes(), 0u);
  EXPECT_EQ(run.instance->resume(), State::Parked);
  EXPECT_THAT(run.host.notes, ElementsAre(42));
  run.host.ready = true;
  EXPECT_EQ(run.instance->resume(), State::Ended);
  EXPECT_THAT(run.host.notes, ElementsAre(42, 7, 100));
}

TEST(Instance, IsPreemptedAndStoppedInItsStartFunction) {
  Guest run(with_start_function(op::loop + op::br(0) + op::end).bytes());
  std::thread stopper([&] { run.instance->request_stop(); });
  while (run.instance->resume() != State::Ended) {}
  stopper.join();
  EXPECT_EQ(run.instance->exit().kind, Exit::Kind::Stopped);
}

TEST(Instance, TellsOfATrapInItsStartFunction) {
  Guest run(with_start_function(op::unreachable).bytes());
  EXPECT_EQ(run.instance->resume(), State::Ended);
  EXPECT_EQ(run.instance->exit().message, "wasm trap: unreachable instruction executed");
  EXPECT_THAT(run.instance->exit().backtrace, ElementsAre(StartsWith("begin ")));
}


TEST(Instance, LeavesNoMappingOrDescriptorBehind) {
  const std::string parks = with_imports({{"wait", "", "i"}}, op::call(0) + op::drop + op::unreachable);
  const auto round = [&](int count) {
    std::vector<std::unique_ptr<Guest>> runs;
    for (int i = 0; i < count; ++i) {
      runs.push_back(std::make_unique<Guest>(parks));
      if (i % 4 == 0) continue;  // Deleted before it ran,
      EXPECT_EQ(runs.back()->instance->resume(), State::Parked);
      if (i % 4 == 1) continue;  // while parked,
      runs.back()->host.ready = i % 4 == 2;  // or after a trap or a stop.
      if (i % 4 == 3) runs.back()->instance->request_stop();
      EXPECT_EQ(runs.back()->instance->resume(), State::Ended);
    }
  };
  round(8);
  const auto descriptors = dormouse::testing::open_files(), mappings = dormouse::testing::mappings();
  round(200);
  EXPECT_EQ(dormouse::testing::open_files(), descriptors);
  // The allocators may keep a few.
  EXPECT_LE(dormouse::testing::mappings(), mappings + (kSanitized ? 200 : 8));
  // Nothing that the engine keeps for all was among what it allocated for a guest: it would go out with him.
  EXPECT_EQ(Slot::given_up(), 0U);
}

TEST(Instance, HasWhatTheEngineKeepsForItBesideItsStack) {
  if (kAddressSanitizer) GTEST_SKIP() << "with AddressSanitizer it lies on the heap";
  ModuleBuilder m;
  m.import("t", "wait", "", "i");
  m.memory(1);
  m.table(1000);
  m.export_memory();
  m.export_function("_start", m.function("", "", op::call(0) + op::drop));
  Guest run(m.bytes());
  ASSERT_EQ(run.instance->resume(), State::Parked);
  const std::span<std::byte> stack = run.instance->stack(), beside = run.instance->beside_stack();
  ASSERT_EQ(stack.size(), (1 << 20) + kHostStackBytes);
  ASSERT_EQ(beside.data(), stack.data() + stack.size());
  ASSERT_EQ(beside.size(), std::size_t{2} << 20);
  EXPECT_LT(std::ranges::count(beside, std::byte{0}), std::ssize(beside) - 100);
  run.host.ready = true;
  EXPECT_EQ(run.instance->resume(), State::Ended);
}

TEST(Instance, WhatLiesBelowTheStackPointerMayChangeWhileItIsParked) {
  Guest run(with_imports({{"wait", "", "i"}, {"note", "i", ""}}, op::call(0) + op::call(1)));
  for (int i = 0; i < 10; ++i) {
    ASSERT_EQ(run.instance->resume(), State::Parked);
    const std::span<std::byte> stack = run.instance->stack();
    const std::size_t unused = run.instance->unused_stack_bytes();
    ASSERT_GT(unused, stack.size() - 64 * 1024);
    ASSERT_LT(unused, stack.size());
    std::ranges::fill(stack.first(unused), std::byte{0xa5});
  }
  run.host.ready = true;
  EXPECT_EQ(run.instance->resume(), State::Ended);
  EXPECT_THAT(run.host.notes, ElementsAre(7));
}

}  // namespace
}  // namespace dormouse::wasm::testing
