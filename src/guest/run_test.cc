// SPDX-License-Identifier: Apache-2.0
// Whole runs of real guests (tests/guests/c) on a pool: how they end, what they may use, and that they do not harm each other.
#include "guest/run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <mutex>

#include "wasi/tree_builder.h"
#include "wasm/slice_timer.h"

namespace dormouse::guest {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using GuestRun = Run;  // Test has a member of that name.

class Collected final : public wasi::OutputSink {
 public:
  void write(std::span<const std::byte> bytes) override {
    const std::lock_guard lock(mutex_);
    text_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (!wanted_.empty() && text_.find(wanted_) != std::string::npos) {
      wanted_.clear();
      seen_.set_value();
    }
  }
  // Ready when the guest has printed `text`. Once.
  std::future<void> saw(std::string text) {
    const std::lock_guard lock(mutex_);
    wanted_ = std::move(text);
    if (text_.find(wanted_) != std::string::npos) {
      wanted_.clear();
      seen_.set_value();
    }
    return seen_.get_future();
  }
  std::string text() {
    const std::lock_guard lock(mutex_);
    return text_;
  }

 private:
  std::mutex mutex_;
  std::string text_, wanted_;
  std::promise<void> seen_;
};

// What one run needs, and its end.
struct Started {
  std::shared_ptr<MemoryAccount> account;
  std::shared_ptr<Collected> output = std::make_shared<Collected>();
  std::shared_ptr<GuestRun> run;
  std::future<GuestRun::Ended> ended;

  wasm::Exit exit() {
    GuestRun::Ended end = ended.get();
    memory_refused = end.memory_refused;
    if (const Error* error = std::get_if<Error>(&end.outcome)) {
      ADD_FAILURE() << error->message;
      return {};
    }
    return std::get<wasm::Exit>(end.outcome);
  }
  bool memory_refused = false;
};

class RunTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { engine_ = wasm::Engine::create({}).value().release(); }
  static void TearDownTestSuite() { delete engine_; }

  RunTest() : cache_(::testing::TempDir() + fmt::format("dormouse-run-{}", ::getpid())) {}
  ~RunTest() override { pool_.reset(); }

  Started start(const std::string& fixture, std::vector<std::string> arguments = {}, std::uint64_t memory_bytes = 64 << 20, std::optional<std::uint64_t> cpu_millis = {}) {
    auto module = wasm::Module::load(*engine_, std::string(GUEST_FIXTURES) + "/" + fixture + ".wasm", wasi::Process::imports(),
                                     {.cache_directory = cache_, .compiler_program = GUEST_COMPILER});
    if (!module) {
      ADD_FAILURE() << module.error().message;
      std::abort();
    }
    Started started;
    started.account = std::make_shared<MemoryAccount>(memory_bytes);
    arguments.insert(arguments.begin(), fixture);
    auto root = wasi::Volume::create({.clock = clock_, .account = started.account.get()})->make_root();
    EXPECT_TRUE(wasi::make_directories(root, "/tmp"));
    auto done = std::make_shared<std::promise<GuestRun::Ended>>();
    started.ended = done->get_future();
    started.run = std::make_shared<GuestRun>(GuestRun::Options{
        .module = *module,
        .engine = *engine_,
        .pool = *pool_,
        .clock = clock_,
        .account = started.account,
        .cpu_limit_millis = cpu_millis,
        .arguments = std::move(arguments),
        .preopens = {{.guest_path = "/", .directory = root, .special = true}},
        .standard_output = started.output,
        .standard_error = started.output,
        .on_end = [done](GuestRun::Ended ended) { done->set_value(std::move(ended)); },
    });
    started.run->start();
    return started;
  }

  static inline wasm::Engine* engine_ = nullptr;
  const std::string cache_;
  const SystemClock clock_;
  std::unique_ptr<WorkerPool> pool_ = std::make_unique<WorkerPool>(
      WorkerPool::Options{.workers = 1, .on_thread_start = [] { return std::shared_ptr<void>(wasm::SliceTimer::create(*engine_).value()); }}, clock_);
};

TEST_F(RunTest, PassesTheExitCodeOn) {
  Started run = start("exit_code", {"42"});
  const wasm::Exit exit = run.exit();
  EXPECT_EQ(exit.kind, wasm::Exit::Kind::Exited);
  EXPECT_EQ(exit.code, 42U);
}

TEST_F(RunTest, ATrapEndsOnlyThatGuestAndSaysWhere) {
  Started other = start("idle");
  Started run = start("trap", {"divide-by-zero"});
  const wasm::Exit exit = run.exit();
  EXPECT_EQ(exit.kind, wasm::Exit::Kind::Trapped);
  EXPECT_THAT(exit.message, HasSubstr("divide by zero"));
  EXPECT_THAT(exit.backtrace, ::testing::Contains(HasSubstr("divide")));
  other.output->saw("idle").wait();
  other.run->kill();
  EXPECT_EQ(other.exit().kind, wasm::Exit::Kind::Stopped);
}

TEST_F(RunTest, AnEndlessLoopStarvesNobodyAndCanBeEnded) {
  // One worker for both: the second runs only because the first is pre-empted.
  Started spinning = start("spin");
  spinning.output->saw("spinning").wait();
  Started run = start("exit_code", {"0"});
  EXPECT_EQ(run.exit().code, 0U);
  EXPECT_GT(spinning.run->usage().preemptions, 0U);
  spinning.run->kill();
  EXPECT_EQ(spinning.exit().kind, wasm::Exit::Kind::Stopped);
}

TEST_F(RunTest, ACpuLimitHoldsABusyGuestBack) {
  // So little that even a starved machine lets it reach its quota.
  Started spinning = start("spin", {}, 64 << 20, 10);
  spinning.output->saw("spinning").wait();
  const Nanoseconds begin = clock_.monotonic();
  // Waits by doing: as many other guests as it takes for two seconds to pass.
  while (clock_.monotonic() - begin < 2s) EXPECT_EQ(start("exit_code", {"0"}).exit().code, 0U);
  const Nanoseconds elapsed = clock_.monotonic() - begin;
  const Nanoseconds used = spinning.run->usage().cpu;
  EXPECT_GT(spinning.run->usage().throttles, 0U);
  // 1 % of a core, and a slice or two of overdraft.
  EXPECT_LT(used, elapsed / 100 + 100ms);
  spinning.run->kill();
  spinning.exit();
}

TEST_F(RunTest, MemoryPastTheLimitIsRefusedAndNoted) {
  Started run = start("grow", {}, 8 << 20);
  const wasm::Exit exit = run.exit();
  EXPECT_EQ(exit.code, 7U);
  EXPECT_TRUE(run.memory_refused);
  EXPECT_LE(run.run->usage().memory_peak_bytes, 8U << 20);
}

TEST_F(RunTest, FilesInTmpCountAgainstTheLimit) {
  Started run = start("fill_tmp", {}, 4 << 20);
  const wasm::Exit exit = run.exit();
  EXPECT_EQ(exit.code, 0U) << run.output->text();
  EXPECT_TRUE(run.memory_refused);
}

TEST_F(RunTest, ASignalReachesWhoListensAndNobodyElse) {
  Started listening = start("signals");
  listening.output->saw("ready").wait();
  EXPECT_TRUE(listening.run->deliver_signal(15));
  EXPECT_EQ(listening.exit().code, 0U);
  EXPECT_THAT(listening.output->text(), HasSubstr("signal 15"));
  Started deaf = start("idle");
  deaf.output->saw("idle").wait();
  EXPECT_FALSE(deaf.run->deliver_signal(15));
  deaf.run->kill();
  deaf.exit();
}

TEST_F(RunTest, TwentyIdleGuestsWakeNobody) {
  std::vector<Started> idle;
  for (int i = 0; i < 20; ++i) idle.push_back(start("idle"));
  for (Started& run : idle) run.output->saw("idle").wait();
  // One that comes and goes proves that the pool has nothing left to do before and after.
  start("exit_code", {"0"}).exit();
  const auto before = pool_->counters();
  const std::uint64_t ticks_before = engine_->ticks();
  start("exit_code", {"0"}).exit();
  const auto after = pool_->counters();
  EXPECT_EQ(after.timer_wakeups, before.timer_wakeups);
  EXPECT_LE(engine_->ticks() - ticks_before, 3U);
  for (Started& run : idle) EXPECT_EQ(run.run->usage().wakeups, 0U);
  for (Started& run : idle) run.run->kill();
  for (Started& run : idle) run.exit();
}

TEST_F(RunTest, AWakeForNothingLosesNoLaterOne) {
  Started run = start("signals");
  run.output->saw("ready").wait();
  for (int i = 0; i < 1000; ++i) pool_->wake(*run.run);
  EXPECT_TRUE(run.run->deliver_signal(15));
  EXPECT_EQ(run.exit().code, 0U);
}

TEST_F(RunTest, NothingIsLeftOfGuestsThatHaveEnded) {
  const auto count = [](const char* path) { return std::distance(std::filesystem::directory_iterator(path), std::filesystem::directory_iterator{}); };
  const auto mappings = [] {
    std::ifstream maps("/proc/self/maps");
    return std::count(std::istreambuf_iterator<char>(maps), {}, '\n');
  };
  const auto round = [&] {
    std::vector<std::shared_ptr<MemoryAccount>> accounts;
    for (int i = 0; i < 20; ++i) {
      Started run = start(i % 3 == 0 ? "trap" : i % 3 == 1 ? "grow" : "exit_code", {i % 3 == 0 ? "unreachable" : "0"}, 4 << 20);
      run.ended.wait();
      accounts.push_back(run.account);
    }
    // The pool drops its share of the last run a moment after its end: another run's start is behind it in the queue.
    start("exit_code", {"0"}).exit();
    for (const auto& account : accounts) EXPECT_EQ(account->used_bytes(), 0U);
  };
  round();
  const auto fds = count("/proc/self/fd");
  const auto maps = mappings();
  for (int i = 0; i < 5; ++i) round();
  EXPECT_LE(count("/proc/self/fd"), fds);
  EXPECT_LE(mappings(), maps + 8);
}

}  // namespace
}  // namespace dormouse::guest
