// SPDX-License-Identifier: Apache-2.0
#pragma once
// For this folder's tests: runs of the fixture guests (tests/guests/c) on a pool of one worker.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/test_support.h"
#include "guest/run.h"
#include "wasi/tree_builder.h"
#include "wasm/slice_timer.h"

namespace dormouse::guest::testing {

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
  std::shared_ptr<WakeLog> wakes = std::make_shared<WakeLog>();
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

  // Until the guest is in that state: it gets there by itself.
  void await(const Started& run, Run::Rest::State state) {
    while (run.run->rest().state != state) std::this_thread::yield();
  }
  Started start(const std::string& fixture, std::vector<std::string> arguments = {}, std::uint64_t memory_bytes = 64 << 20, std::optional<std::uint64_t> cpu_millis = {},
                Nanoseconds slack_max = {}) {
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
    GuestRun::Options options{
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
        .wakes = started.wakes,
        .timer_slack_max = slack_max,
        .on_end = [done](GuestRun::Ended ended) { done->set_value(std::move(ended)); },
    };
    adjust(options);
    started.run = std::make_shared<GuestRun>(std::move(options));
    started.run->start();
    return started;
  }

  // What a test wants otherwise.
  virtual void adjust(GuestRun::Options&) {}

  static inline wasm::Engine* engine_ = nullptr;
  const std::string cache_;
  const SystemClock clock_;
  std::unique_ptr<WorkerPool> pool_ = std::make_unique<WorkerPool>(
      WorkerPool::Options{.workers = 1, .on_thread_start = [] { return std::shared_ptr<void>(wasm::SliceTimer::create(*engine_).value()); }}, clock_);
};

}  // namespace dormouse::guest::testing
