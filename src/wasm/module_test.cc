// SPDX-License-Identifier: Apache-2.0
#include "wasm/module.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "wasm/file_digest.h"
#include "wasm/test_support.h"

namespace dormouse::wasm::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Changes the file while keeping its owner and mode.
void overwrite(const std::string& path, std::streamoff at, std::string_view bytes) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(at, at < 0 ? std::ios::end : std::ios::beg);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  ASSERT_TRUE(file.good());
}

class Modules : public ::testing::Test {
 protected:
  Result<std::shared_ptr<const Module>> load_path(const std::string& path) { return Module::load(shared_engine(), path, test_imports(), options); }
  std::string cached_code() const {
    for (const auto& entry : fs::directory_iterator(scratch.path / "cache")) {
      if (entry.path().extension() == ".cwasm") return entry.path();
    }
    return {};
  }
  void expect_rebuilt(const std::string& path, const std::string& why) {
    const auto module = load_path(path);
    ASSERT_TRUE(module) << module.error().message;
    EXPECT_TRUE((*module)->compiled_now());
    EXPECT_THAT((*module)->note(), HasSubstr(why));
    const auto again = load_path(path);
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_FALSE((*again)->compiled_now());
  }

  Scratch scratch;
  Module::CompileOptions options = scratch.options();
  const std::string wasm = program(op::i32(1) + op::drop);
  const std::string path = scratch.file("guest.wasm", wasm);
};

TEST_F(Modules, AreCompiledOnceAndThenComeFromTheCache) {
  const auto first = load_path(path);
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_TRUE((*first)->compiled_now());
  EXPECT_THAT((*first)->note(), IsEmpty());
  EXPECT_EQ((*first)->info().functions, 1u);
  const auto second = load_path(path);
  ASSERT_TRUE(second);
  EXPECT_FALSE((*second)->compiled_now());
  EXPECT_THAT((*second)->note(), IsEmpty());
  // The same bytes by another name are the same module.
  const auto copy = load_path(scratch.file("copy.wasm", wasm));
  ASSERT_TRUE(copy);
  EXPECT_FALSE((*copy)->compiled_now());
  EXPECT_EQ(fs::status(scratch.path / "cache").permissions(), fs::perms::owner_all);
}

TEST_F(Modules, TellWhereTheirCodeLies) {
  const auto module = load_path(path);
  ASSERT_TRUE(module);
  const auto [start, length] = (*module)->code_range();
  ASSERT_GT(length, 0u);
  std::ifstream maps("/proc/self/maps");
  bool found = false;
  for (std::string line; std::getline(maps, line);) {
    std::uintptr_t low = 0, high = 0;
    ASSERT_EQ(std::sscanf(line.c_str(), "%lx-%lx", &low, &high), 2);
    found = found || (low <= reinterpret_cast<std::uintptr_t>(start) && reinterpret_cast<std::uintptr_t>(start) < high && line.find(".cwasm") != std::string::npos);
  }
  EXPECT_TRUE(found) << "the code is not a mapping of the file";
}

TEST_F(Modules, CanHaveWhatIsKeptForThemInAFile) {
  int files = 0;
  options.metadata_file = [&]() -> Result<UniqueFd> {
    ++files;
    return UniqueFd(::open(scratch.path.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  };
  const auto descriptors = dormouse::testing::open_files();
  for (int round = 0; round < 3; ++round) {
    const auto module = load_path(path);
    ASSERT_TRUE(module) << module.error().message;
    Host host;
    MemoryAccount account(1 << 20);
    auto guest = Instance::create(shared_engine(), {.module = *module, .host = &host, .account = account});
    ASSERT_TRUE(guest);
    (*module)->drop_code_pages();  // Whatever is needed of it comes back by itself.
    EXPECT_EQ((*guest)->resume(), Instance::State::Ended);
    (*module)->drop_code_pages();
    auto another = Instance::create(shared_engine(), {.module = *module, .host = &host, .account = account});
    ASSERT_TRUE(another);
    EXPECT_EQ((*another)->resume(), Instance::State::Ended);
  }
  EXPECT_EQ(files, 3);
  EXPECT_EQ(dormouse::testing::open_files(), descriptors);
  // No room for it is no reason to fail.
  options.metadata_file = []() -> Result<UniqueFd> { return UniqueFd(::open("/dev/full", O_RDWR | O_CLOEXEC)); };
  EXPECT_TRUE(load_path(path));
}

TEST_F(Modules, UseTheCodeBesideThem) {
  const std::string code = scratch.path / "guest.cwasm";
  ASSERT_TRUE(compile_to_file(shared_engine(), path, code));
  options.cache_directory = "/proc/nowhere";  // Not needed then.
  const auto module = load_path(path);
  ASSERT_TRUE(module) << module.error().message;
  EXPECT_FALSE((*module)->compiled_now());
}

TEST_F(Modules, RefuseCodeThatOthersMayWrite) {
  const std::string code = scratch.path / "guest.cwasm";
  ASSERT_TRUE(compile_to_file(shared_engine(), path, code));
  ASSERT_EQ(::chmod(code.c_str(), 0664), 0);
  expect_rebuilt(path, "guest.cwasm: others may write it (mode 664): chmod go-w it");
}

TEST_F(Modules, RefuseCodeOfAnotherOwner) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to give a file away";
  const std::string code = scratch.path / "guest.cwasm";
  ASSERT_TRUE(compile_to_file(shared_engine(), path, code));
  ASSERT_EQ(::chown(code.c_str(), 12345, 12345), 0);
  expect_rebuilt(path, "guest.cwasm: it belongs to user 12345");
}

TEST_F(Modules, RefuseCodeOfAnotherModule) {
  const std::string other = scratch.file("other.wasm", program(op::i32(2) + op::drop));
  ASSERT_TRUE(compile_to_file(shared_engine(), other, scratch.path / "guest.cwasm"));
  expect_rebuilt(path, "guest.cwasm: it was made from another module");
}

TEST_F(Modules, RefuseCodeOfAnotherEngine) {
  const auto other = Engine::create({.stack_bytes_max = 1 << 20});
  ASSERT_TRUE(other);
  EXPECT_EQ((*other)->fingerprint(), shared_engine().fingerprint()) << "settings that do not change code must not change it";
  const std::string code = scratch.path / "guest.cwasm";
  ASSERT_TRUE(compile_to_file(shared_engine(), path, code));
  overwrite(code, -72, "wasmtime-1.2.3");
  expect_rebuilt(path, "made by another engine or for another CPU (wasmtime-1.2.3");
}

TEST_F(Modules, RefuseTruncatedCodeAtAnyLength) {
  ASSERT_TRUE(load_path(path));
  const std::string code = cached_code();
  const auto size = static_cast<off_t>(fs::file_size(code));
  for (const off_t length : {off_t{0}, off_t{1}, off_t{160}, off_t{161}, size / 2, size - 160, size - 1}) {
    ASSERT_EQ(::truncate(code.c_str(), length), 0);
    expect_rebuilt(path, "truncated");
  }
  std::ofstream(code, std::ios::app) << 'x';
  expect_rebuilt(path, "truncated");
}

TEST_F(Modules, RefuseAlteredCodeAnywhere) {
  ASSERT_TRUE(load_path(path));
  const std::string code = cached_code();
  const auto size = static_cast<std::streamoff>(fs::file_size(code));
  for (std::streamoff at = 0; at < size - 160; at += size / 7) {
    char before = 0;
    std::ifstream(code, std::ios::binary).seekg(at).get(before);
    overwrite(code, at, std::string(1, static_cast<char>(before ^ 1)));
    expect_rebuilt(path, "its bytes have been altered");
  }
}

TEST_F(Modules, RefuseAFileThatIsNoCode) {
  scratch.file("guest.cwasm", std::string(4096, 'x'));
  expect_rebuilt(path, "was not made by dormouse");
}

TEST_F(Modules, AreRecompiledWhenTheirBytesChange) {
  ASSERT_TRUE(load_path(path));
  scratch.file("guest.wasm", program(op::i32(3) + op::drop));
  const auto changed = load_path(path);
  ASSERT_TRUE(changed);
  EXPECT_TRUE((*changed)->compiled_now());
}

TEST_F(Modules, AreCompiledOnceByManyAtOnce) {
  constexpr int kThreads = 4;
  std::atomic<int> compiled = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      const auto module = load_path(path);
      ASSERT_TRUE(module) << module.error().message;
      compiled += (*module)->compiled_now() ? 1 : 0;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(compiled, 1);
}

TEST_F(Modules, SayWhyTheyCannotRun) {
  ModuleBuilder m;
  m.import("gojs", "x", "", "");
  m.memory(1);
  m.export_memory();
  m.export_function("_start", m.function("", "", ""));
  const auto module = load_path(scratch.file("js.wasm", m.bytes()));
  ASSERT_FALSE(module);
  EXPECT_EQ(module.error().code, ErrorCode::Unsupported);
  EXPECT_THAT(module.error().message, HasSubstr("js.wasm cannot run here: it imports gojs.x: it was built for GOOS=js"));
}

TEST_F(Modules, TellWhatTheCompilerFound) {
  // The outline is right, the code is not: it adds an i32 to nothing.
  const auto module = load_path(scratch.file("bad.wasm", program(op::add)));
  ASSERT_FALSE(module);
  EXPECT_EQ(module.error().code, ErrorCode::Unsupported);
  EXPECT_THAT(module.error().message, HasSubstr("bad.wasm: it cannot be compiled: "));
  EXPECT_THAT(module.error().message, HasSubstr("offset"));
  EXPECT_THAT(cached_code(), IsEmpty());
}

TEST_F(Modules, SayThatTheCompilerCannotBeStarted) {
  options.compiler_program = "/nonexistent/compiler";
  const auto module = load_path(path);
  ASSERT_FALSE(module);
  EXPECT_EQ(module.error().message, "the compiler cannot be started: /nonexistent/compiler: No such file or directory");
}

TEST_F(Modules, SurviveACompilerThatDies) {
  ::setenv("DORMOUSE_TEST_COMPILER_ABORTS", "1", 1);
  const auto module = load_path(path);
  ::unsetenv("DORMOUSE_TEST_COMPILER_ABORTS");
  ASSERT_FALSE(module);
  EXPECT_THAT(module.error().message, HasSubstr("died of signal 6"));
  EXPECT_TRUE(load_path(path));
}

TEST_F(Modules, SayThatTheCompilerRanOutOfMemory) {
  if (kSanitized) GTEST_SKIP() << "sanitizers need more address space than any limit";
  ModuleBuilder m;
  m.memory(1);
  m.export_memory();
  std::string code;
  for (int i = 0; i < 200'000; ++i) code += op::i32(i) + op::i32(i) + op::add + op::drop;
  m.export_function("_start", m.function("", "", code));
  options.compile_memory_bytes_max = 64 << 20;
  const auto module = load_path(scratch.file("big.wasm", m.bytes()));
  ASSERT_FALSE(module);
  EXPECT_EQ(module.error().code, ErrorCode::ResourceExhausted) << module.error().message;
  EXPECT_THAT(module.error().message, HasSubstr("out of memory (its limit is 67108864 bytes)"));
}

TEST_F(Modules, LeaveNothingWhenTheDiskIsFull) {
  const auto written = compile_to_file(shared_engine(), path, "/dev/full/x.cwasm");
  ASSERT_FALSE(written);
  EXPECT_THAT(written.error().message, HasSubstr("/dev/full/x.cwasm"));
  const auto before = std::distance(fs::directory_iterator(scratch.path), fs::directory_iterator());
  rlimit old{};
  ::getrlimit(RLIMIT_FSIZE, &old);
  ::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{1000, old.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &small);
  const auto full = compile_to_file(shared_engine(), path, scratch.path / "x.cwasm");
  ::setrlimit(RLIMIT_FSIZE, &old);
  ::signal(SIGXFSZ, SIG_DFL);
  ASSERT_FALSE(full);
  EXPECT_THAT(full.error().message, HasSubstr("x.cwasm: write: File too large"));
  EXPECT_EQ(std::distance(fs::directory_iterator(scratch.path), fs::directory_iterator()), before);
}

TEST_F(Modules, NeedACacheThatOnlyTheirOwnerWrites) {
  fs::create_directory(scratch.path / "cache");
  ASSERT_EQ(::chmod((scratch.path / "cache").c_str(), 0777), 0);
  const auto module = load_path(path);
  ASSERT_FALSE(module);
  EXPECT_EQ(module.error().code, ErrorCode::PermissionDenied);
  EXPECT_THAT(module.error().message, HasSubstr("others may write into it"));
}

TEST_F(Modules, ClearAwayWhatADeadCompilerLeft) {
  ASSERT_TRUE(load_path(path));
  const std::string code = cached_code();
  const std::string leftover = code + ".1.1.new";
  fs::rename(code, leftover);
  ASSERT_TRUE(load_path(path));
  EXPECT_FALSE(fs::exists(leftover));
}

TEST_F(Modules, MakeTheOldestGoWhenTheCacheIsFull) {
  const auto first = load_path(path);
  ASSERT_TRUE(first);
  const std::string oldest = cached_code();
  options.cache_bytes_max = 3 * fs::file_size(oldest) - 1;
  ASSERT_TRUE(load_path(scratch.file("b.wasm", program(op::i32(11) + op::drop))));
  EXPECT_TRUE(fs::exists(oldest));
  ASSERT_TRUE(load_path(scratch.file("c.wasm", program(op::i32(12) + op::drop))));
  EXPECT_FALSE(fs::exists(oldest));
  // Who has it open keeps it.
  MemoryAccount account(1 << 20);
  const auto guest = Instance::create(shared_engine(), {.module = *first, .host = nullptr, .account = account});
  ASSERT_TRUE(guest);
  EXPECT_EQ((*guest)->resume(), Instance::State::Ended);
  options.cache_bytes_max = 1;
  const auto large = load_path(scratch.file("d.wasm", program(op::i32(13) + op::drop)));
  ASSERT_TRUE(large);
  EXPECT_FALSE((*load_path(scratch.path / "d.wasm"))->compiled_now()) << "the newest stays, however large";
}

TEST_F(Modules, KillTheCompilerWhenTheirProcessDies) {
  ::setenv("DORMOUSE_TEST_COMPILER_HANGS", "1", 1);
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  // The child compiles; the grandchild hangs and holds the pipe open as long as it lives.
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(ends[0]);
    if (::write(ends[1], "x", 1) != 1) ::_exit(1);
    static_cast<void>(compile_in_child("", path, scratch.path / "never.cwasm", 0));
    ::_exit(0);
  }
  ::unsetenv("DORMOUSE_TEST_COMPILER_HANGS");
  ::close(ends[1]);
  char c = 0;
  ASSERT_EQ(::read(ends[0], &c, 1), 1);
  // Wait until it has a child of its own.
  const std::string children = fmt::format("/proc/{}/task/{}/children", child, child);
  for (std::string line; line.empty(); std::this_thread::yield()) std::getline(std::ifstream(children), line);
  ::kill(child, SIGKILL);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_EQ(::read(ends[0], &c, 1), 0) << "this hangs if the compiler lives on";
  ::close(ends[0]);
}

TEST(FileDigest, IsRememberedUntilTheFileChanges) {
  const Scratch scratch;
  const auto digest = [&](const std::string& path) {
    const auto file = open_regular(path);
    return to_hex(*remembered_sha256_of(file->fd.get(), file->size_bytes, scratch.path));
  };
  // A large file that nobody has touched for long.
  const std::string old = "/bin/bash";
  ASSERT_GT(fs::file_size(old), std::uint64_t{1} << 20);
  const std::string right = digest(old);
  std::string memo;
  for (const auto& entry : fs::directory_iterator(scratch.path)) memo = entry.path();
  ASSERT_THAT(memo, HasSubstr("/digest-"));
  const std::string wrong(64, 'a');
  overwrite(memo, -64, wrong);
  EXPECT_EQ(digest(old), wrong) << "it was computed again";
  overwrite(memo, 18, "9");  // Another device.
  EXPECT_EQ(digest(old), right);
  ASSERT_EQ(::chmod(memo.c_str(), 0666), 0);
  overwrite(memo, -64, wrong);
  EXPECT_EQ(digest(old), right) << "a memo that others may write was believed";

  std::string bytes(2 << 20, 'a');
  EXPECT_EQ(digest(scratch.file("fresh", bytes)), to_hex(sha256_of(bytes)));
  bytes[5] = 'b';
  EXPECT_EQ(digest(scratch.file("fresh", bytes)), to_hex(sha256_of(bytes)));
}

TEST(FileDigest, IsKnown) {
  EXPECT_EQ(to_text(sha256_of("abc")), "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

}  // namespace
}  // namespace dormouse::wasm::testing
