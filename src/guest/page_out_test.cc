// SPDX-License-Identifier: Apache-2.0
// Real guests that leave RAM: they notice nothing, whatever the disk does and wherever in their life it happens.
#include <thread>
#include <utility>

#include "base/log.h"
#include "base/sanitizers.h"
#include "guest/run_test_support.h"
#include "guest/sleep_policy.h"
#include "paging/page_store.h"
#include "paging/test_support.h"

namespace dormouse::guest {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using dormouse::testing::mappings;
using dormouse::testing::open_files;
using Operation = paging::testing::FaultyDisk::Operation;
using testing::RunTest;
using testing::Started;

// Pages out at each park.
class AtOnce final : public SleepPolicy {
 public:
  std::optional<Nanoseconds> on_park(const ParkInfo& park) override { return park.now; }
  void on_wake(const WakeInfo&) override {}
};

class PageOutTest : public RunTest {
 protected:
  PageOutTest() { make_store({}); }
  ~PageOutTest() override { pool_.reset(); }

  void make_store(paging::PageStore::Options options) {
    options.directory = folder_.path;
    options.allow_ram_file_system = true;
    if (options.budget_bytes == 0) options.budget_bytes = std::uint64_t{1} << 30;
    store_ = paging::PageStore::create(std::move(options), disk_, log_).value();
  }
  void adjust(Run::Options& options) override {
    options.pages = store_.get();
    options.sleep = sleep_;
  }
  void expect_nothing_left() {
    EXPECT_EQ(store_->counters().files, 0U);
    EXPECT_EQ(store_->counters().stored_bytes, 0U);
  }
  // What a long soak takes from the environment.
  static std::string rounds(std::uint64_t usual) {
    const char* wanted = std::getenv("DORMOUSE_PAGE_OUT_ROUNDS");
    return wanted != nullptr ? wanted : std::to_string(usual);
  }

  paging::testing::Scratch folder_;
  paging::testing::FaultyDisk disk_;
  Log log_{{.level = Log::Level::Error}, clock_};
  std::unique_ptr<paging::PageStore> store_;
  std::shared_ptr<SleepPolicy> sleep_ = std::make_shared<AtOnce>();
};

TEST_F(PageOutTest, AGuestRemembersEverythingThoughItLeavesRamAtEachPark) {
  Started run = start("remember", {rounds(2000), "1"});
  EXPECT_EQ(run.exit().code, 0U) << run.output->text();
  EXPECT_THAT(run.output->text(), HasSubstr("remembered"));
  const Run::Usage usage = run.run->usage();
  EXPECT_GT(usage.page_outs, 1000U);
  EXPECT_EQ(usage.page_outs_failed, 0U);
  expect_nothing_left();
}

TEST_F(PageOutTest, SoItDoesWhateverTheDiskDoes) {
  disk_.reads_fail = false;
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  // Too many failures in a row, and the run would wait five seconds before it tries again.
  disk_.fail_sometimes(0.0005, seed);
  std::vector<Started> runs;
  for (int i = 0; i < 4; ++i) runs.push_back(start("remember", {rounds(500), std::to_string(seed + static_cast<std::uint64_t>(i)), "256"}));
  for (Started& run : runs) EXPECT_EQ(run.exit().code, 0U) << run.output->text();
  expect_nothing_left();
}

TEST_F(PageOutTest, SoItDoesWithEncryptedPages) {
  make_store({.encrypted = true});
  Started run = start("remember", {rounds(300), "7", "128"});
  EXPECT_EQ(run.exit().code, 0U) << run.output->text();
  EXPECT_GT(run.run->usage().page_outs, 100U);
  expect_nothing_left();
}

// Stays, and remembers what it was told of each park.
class Told final : public SleepPolicy {
 public:
  std::optional<Nanoseconds> on_park(const ParkInfo& park) override {
    const std::lock_guard lock(mutex_);
    if (idled_.size() < kParks) idled_ += park.idled ? 'i' : '-';
    if (idled_.size() == kParks && !std::exchange(full_, true)) enough_.set_value(idled_);
    return std::nullopt;
  }
  void on_wake(const WakeInfo&) override {}
  std::string first_parks() { return enough_.get_future().get(); }

 private:
  static constexpr std::size_t kParks = 9;
  std::mutex mutex_;
  std::string idled_;
  bool full_ = false;
  std::promise<std::string> enough_;
};

TEST_F(PageOutTest, ThePolicyIsToldWhoHasIdled) {
  const auto told = std::make_shared<Told>();
  sleep_ = told;
  Started run = start("tick", {"1", "3"});  // A line at each third tick.
  EXPECT_EQ(told->first_parks(), "-ii-ii-ii");
  run.run->kill();
  run.exit();
}

TEST_F(PageOutTest, LeavesRamWhenAskedToAndNotBefore) {
  sleep_ = nullptr;
  Started run = start("signals");
  run.output->saw("ready").wait();
  await(run, Run::Rest::State::Parked);
  EXPECT_GT(run.run->rest().resident_bytes, 0U);
  EXPECT_EQ(run.run->usage().page_outs, 0U);
  run.run->request_page_out();
  await(run, Run::Rest::State::PagedOut);
  EXPECT_EQ(run.run->rest().resident_bytes, 0U);
  EXPECT_GT(run.run->usage().paged_bytes, 0U);
  EXPECT_TRUE(run.run->deliver_signal(15));
  EXPECT_EQ(run.exit().code, 0U);
  expect_nothing_left();
}

TEST_F(PageOutTest, AGuestCanBeEndedWhileItIsOut) {
  for (const bool encrypted : {false, true}) {
    make_store({.encrypted = encrypted});
    Started run = start("idle");
    await(run, Run::Rest::State::PagedOut);
    run.run->kill();
    EXPECT_EQ(run.exit().kind, wasm::Exit::Kind::Stopped);
    EXPECT_LT(run.account->used_bytes(), 8192U);  // Of its memory nothing; its process goes with the run.
    expect_nothing_left();
  }
}

TEST_F(PageOutTest, ASignalReachesAGuestThatIsOut) {
  Started run = start("signals");
  await(run, Run::Rest::State::PagedOut);
  EXPECT_TRUE(run.run->deliver_signal(2));
  EXPECT_EQ(run.exit().code, 3U);
  EXPECT_THAT(run.output->text(), HasSubstr("signal 2"));
}

TEST_F(PageOutTest, AGuestForWhichThereIsNoRoomStaysAndWorks) {
  make_store({.budget_bytes = 4096});
  Started run = start("remember", {"50"});
  EXPECT_EQ(run.exit().code, 0U) << run.output->text();
  EXPECT_EQ(run.run->usage().page_outs, 0U);
  EXPECT_GT(run.run->usage().page_outs_failed, 0U);
  // After a failure it is left alone for a while.
  EXPECT_LT(run.run->usage().page_outs_failed, 5U);
  expect_nothing_left();
}

TEST_F(PageOutTest, AGuestWhosePageFileCannotBeReadEndsAloneAndSaysWhy) {
  make_store({.encrypted = true});
  Started other = start("remember", {"200", "3", "64"});
  Started run = start("signals");
  await(run, Run::Rest::State::PagedOut);
  EXPECT_EQ(other.exit().code, 0U);
  disk_.fail_next(Operation::Read, EIO);
  run.run->deliver_signal(15);
  const Run::Ended ended = run.ended.get();
  ASSERT_TRUE(std::holds_alternative<Error>(ended.outcome));
  EXPECT_THAT(std::get<Error>(ended.outcome).message, HasSubstr("page file"));
  EXPECT_LT(run.account->used_bytes(), 8192U);
  expect_nothing_left();
}

TEST_F(PageOutTest, NothingIsLeftOfGuestsThatWereOut) {
  const auto round = [&] {
    std::vector<Started> runs;
    for (int i = 0; i < 10; ++i) runs.push_back(i % 2 == 0 ? start("idle") : start("remember", {"5", "1", "64"}));
    for (int i = 0; i < 10; ++i) {
      if (i % 2 == 0) {
        await(runs[static_cast<std::size_t>(i)], Run::Rest::State::PagedOut);
        runs[static_cast<std::size_t>(i)].run->kill();
      }
      runs[static_cast<std::size_t>(i)].exit();
    }
    // The pool drops its share of a run a moment after its end, on another thread; the account is the last that a run lets go of.
    for (Started& run : runs) {
      run.run.reset();
      while (run.account.use_count() > 1) std::this_thread::yield();
    }
    runs.clear();
  };
  round();
  const auto fds = open_files();
  const auto maps = mappings();
  for (int i = 0; i < 5; ++i) round();
  if (!kSanitized) {
    EXPECT_LE(mappings(), maps + 8);
  }  // A sanitizer maps memory of its own.
  pool_.reset();  // A worker may hold the last share of a module for a moment longer.
  EXPECT_LE(open_files(), fds);
  expect_nothing_left();
}

TEST_F(PageOutTest, FiftyGuestsThatAreOutHaveFourMappingsEachAtMost) {
  Started first = start("idle");
  await(first, Run::Rest::State::PagedOut);
  const auto before = mappings();
  std::vector<Started> runs;
  for (int i = 0; i < 50; ++i) {
    runs.push_back(start("idle"));
    await(runs.back(), Run::Rest::State::PagedOut);
  }
  // Each of these has loaded its module anew, which a host does not do: three of code.
  if (!kSanitized) {
    EXPECT_LE(mappings() - before, 50 * (4 + 3));
  }
  for (Started& run : runs) run.run->kill();
  for (Started& run : runs) run.exit();
  first.run->kill();
  first.exit();
}

}  // namespace
}  // namespace dormouse::guest
