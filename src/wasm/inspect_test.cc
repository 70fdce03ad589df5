// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "wasm/test_support.h"

namespace dormouse::wasm::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Result<ModuleInfo> look(std::string_view bytes) { return inspect_module(bytes, test_imports()); }

ModuleBuilder whole() {
  ModuleBuilder m;
  m.import("t", "note", "i", "");
  m.import("t", "add", "iI", "I");
  m.import("t", "note", "i", "");
  m.memory(17, 300);
  m.table(3);
  m.export_memory();
  m.data(1024, "hello");
  m.export_function("_start", m.function("", "", op::i32(1) + op::call(0), 0, "main"));
  m.function("i", "i", op::get(0), 0);
  return m;
}

TEST(Inspect, TellsTheOutlineOfAModule) {
  const auto info = look(whole().bytes());
  ASSERT_TRUE(info) << info.error().message;
  EXPECT_THAT(info->problems, IsEmpty());
  EXPECT_EQ(info->memory_initial_bytes, 17u * 65536);
  EXPECT_EQ(info->memory_max_bytes, 300u * 65536);
  EXPECT_EQ(info->functions, 2u);
  EXPECT_FALSE(info->start_function);
  EXPECT_THAT(info->exports, ElementsAre("memory", "_start"));
  ASSERT_EQ(info->imports.size(), 3u);
  EXPECT_EQ(info->imports[2].name, "note");
  EXPECT_EQ(info->imports[2].kind, "func");
  EXPECT_GT(info->code_bytes, 8u);
  EXPECT_GT(info->data_bytes, 5u);
}

TEST(Inspect, RejectsAModuleTruncatedAnywhere) {
  const std::string bytes = whole().bytes();
  const std::size_t name_section = bytes.find("\x04name") - 2;
  const std::size_t data_section = bytes.find(ModuleBuilder::section(11, "\1" + std::string(1, '\0') + op::i32(1024) + op::end + text("hello")));
  ASSERT_NE(data_section, std::string::npos);
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    const auto info = look(std::string_view(bytes).substr(0, length));
    if (!info) {
      EXPECT_EQ(info.error().code, ErrorCode::Corrupt) << length << ": " << info.error().message;
    } else if (length != data_section && length != name_section) {
      // Cut between two sections it may be a module, but not one that can run.
      EXPECT_FALSE(info->problems.empty()) << length;
      EXPECT_NE(std::string_view("\2\3\4\5\1", 5).find(bytes[length]), std::string_view::npos) << length;
    }
  }
}

TEST(Inspect, MissesDataThatWasAnnounced) {
  ModuleBuilder m = whole();
  m.raw_section(12, "\x05");
  const auto late = look(m.bytes());
  ASSERT_FALSE(late);
  EXPECT_THAT(late.error().message, HasSubstr("out of order"));
  const auto info = look(std::string("\0asm\1\0\0\0", 8) + ModuleBuilder::section(12, "\x05"));
  ASSERT_FALSE(info);
  EXPECT_THAT(info.error().message, HasSubstr("announces 5 data segments and has 0"));
}

TEST(Inspect, NeverCrashesOnAFlippedByte) {
  std::string bytes = whole().bytes();
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    for (int value = 0; value < 256; ++value) {
      const char kept = bytes[i];
      bytes[i] = static_cast<char>(value);
      const auto info = look(bytes);
      if (!info) {
        EXPECT_FALSE(info.error().message.empty());
      }
      bytes[i] = kept;
    }
  }
}

TEST(Inspect, SaysWhatElseAFileIs) {
  const auto message = [](std::string_view bytes) {
    const auto info = look(bytes);
    return info ? std::string("accepted") : info.error().message;
  };
  EXPECT_EQ(message(""), "it is empty");
  EXPECT_THAT(message(std::string_view("\0asm\x0d\0\1\0", 8)), HasSubstr("component"));
  EXPECT_THAT(message(std::string_view("\0asm\2\0\0\0", 8)), HasSubstr("version 2"));
  EXPECT_THAT(message(std::string_view("\0as", 3)), HasSubstr("not wasm"));
  EXPECT_THAT(message(std::string_view("\0asm\1", 5)), HasSubstr("truncated"));
  EXPECT_THAT(message("  (module (memory 1))"), HasSubstr("text form"));
  EXPECT_THAT(message("\x1f\x8b\x08zzzzzzzz"), HasSubstr("gzip"));
  EXPECT_THAT(message("\x7f" "ELF\2\1\1"), HasSubstr("ELF"));
  EXPECT_THAT(message("#!/bin/sh\n"), HasSubstr("23 21 2f 62"));
}

TEST(Inspect, NamesTheOffsetOfWhatIsBroken) {
  const std::string head("\0asm\1\0\0\0", 8);
  const auto message = [&](const std::string& rest) {
    const auto info = look(head + rest);
    return info ? std::string("accepted") : info.error().message;
  };
  EXPECT_THAT(message("\x01\x05\x01\x60"), HasSubstr("truncated: the type section at offset 0x8 has 5 bytes, but the file has only 2 more"));
  EXPECT_THAT(message("\x0f" + std::string(1, '\0')), HasSubstr("at offset 0x8: 15 is the number of no section"));
  EXPECT_THAT(message(ModuleBuilder::section(1, "\xff\xff\xff\xff\xff\x01")), HasSubstr("in the type section: a number is too l"));
  EXPECT_THAT(message(ModuleBuilder::section(1, "\x7f")), HasSubstr("127 types do not fit"));
  EXPECT_THAT(message(ModuleBuilder::section(3, "\x01" + std::string(1, '\0'))), HasSubstr("type 0 does not exist"));
  EXPECT_THAT(message(ModuleBuilder::section(10, std::string(1, '\0')) + ModuleBuilder::section(5, std::string(1, '\0'))), HasSubstr("out of order"));
  EXPECT_THAT(message(ModuleBuilder::section(5, std::string("\1\0\0\0", 4))), HasSubstr("left over"));
  EXPECT_THAT(message(ModuleBuilder::section(7, "\x01\x02\xc3\x28\x02" + std::string(1, '\0'))), HasSubstr("not UTF-8"));
  EXPECT_THAT(message(ModuleBuilder::section(2, "\x81\x20" + std::string(5000, 'x'))), HasSubstr("4097 imports"));
}

struct ProblemCase {
  const char* name;
  std::function<void(ModuleBuilder&)> build;
  const char* problem;
};
class Problems : public ::testing::TestWithParam<ProblemCase> {};
TEST_P(Problems, AreSaidInASentenceWithWhatToDo) {
  ModuleBuilder m;
  GetParam().build(m);
  const auto info = look(m.bytes());
  ASSERT_TRUE(info) << info.error().message;
  EXPECT_THAT(info->problems, ElementsAre(HasSubstr(GetParam().problem)));
}
void importing(ModuleBuilder& m, std::string_view module, std::string_view name) {
  m.import(module, name, "i", "i");
  m.memory(1);
  m.export_memory();
  m.export_function("_start", m.function("", "", ""));
}
void with_memory(ModuleBuilder& m, std::uint64_t pages, std::uint8_t flags) {
  m.memory(pages, 70'000, flags);
  m.export_memory();
  m.export_function("_start", m.function("", "", ""));
}
INSTANTIATE_TEST_SUITE_P(
    All, Problems,
    ::testing::Values(
        ProblemCase{"Go", [](auto& m) { importing(m, "gojs", "runtime.wasmExit"); }, "imports gojs.runtime.wasmExit: it was built for GOOS=js; rebuild with GOOS=wasip1"},
        ProblemCase{"Bindgen", [](auto& m) { importing(m, "__wbindgen_placeholder__", "x"); }, "wasm-bindgen"},
        ProblemCase{"Threads", [](auto& m) { importing(m, "wasi", "thread-spawn"); }, "wasi threads"},
        ProblemCase{"Emscripten", [](auto& m) { importing(m, "env", "emscripten_resize_heap"); }, "emscripten"},
        ProblemCase{"Symbol", [](auto& m) { importing(m, "env", "my_missing"); }, "imports env.my_missing: the linker did not find"},
        ProblemCase{"Preview2", [](auto& m) { importing(m, "wasi:io/poll@0.2.0", "poll"); }, "preview 2"},
        ProblemCase{"Preview0", [](auto& m) { importing(m, "wasi_unstable", "fd_write"); }, "preview 0"},
        ProblemCase{"Extension", [](auto& m) { importing(m, "wasi_snapshot_preview1", "sock_open"); }, "no such function"},
        ProblemCase{"Signature", [](auto& m) { importing(m, "t", "note"); }, "imports t.note as a function of (i32) to (i32), which is one of (i32) to ()"},
        ProblemCase{"Memory64", [](auto& m) { with_memory(m, 1, 4); }, "memory64"},
        ProblemCase{"Shared", [](auto& m) { with_memory(m, 1, 2); }, "shared memory"},
        ProblemCase{"Huge", [](auto& m) { with_memory(m, 65'537, 0); }, "65537 pages"},
        ProblemCase{"TwoMemories", [](auto& m) { m.memory(1); with_memory(m, 1, 0); }, "2 memories"},
        ProblemCase{"ImportedMemory",
                    [](auto& m) {
                      m.import_memory("env", "memory");
                      m.memory(1);
                      m.export_memory();
                      m.export_function("_start", m.function("", "", ""));
                    },
                    "imports the memory env.memory: it was linked with --import-memory"},
        ProblemCase{"NoMemory", [](auto& m) { m.export_function("_start", m.function("", "", "")); }, "exports no memory"},
        ProblemCase{"NoStart", [](auto& m) { m.memory(1); m.export_memory(); m.function("", "", ""); }, "no function _start"},
        ProblemCase{"Reactor", [](auto& m) { m.memory(1); m.export_memory(); m.export_function("_initialize", m.function("", "", "")); }, "reactor"},
        ProblemCase{"OddStart", [](auto& m) { m.memory(1); m.export_memory(); m.export_function("_start", m.function("i", "", "")); }, "without parameters"},
        ProblemCase{"ImportedStart", [](auto& m) { m.import("t", "refuse", "", ""); m.memory(1); m.export_memory(); m.export_function("_start", 0); }, "imported function as _start"},
        ProblemCase{"Tables",
                    [](auto& m) {
                      for (int i = 0; i < 17; ++i) m.table(1);
                      with_memory(m, 1, 0);
                    },
                    "17 tables"}),
    [](const auto& info) { return info.param.name; });

TEST(Inspect, NamesEachUnknownImportOnceAndStopsAtForty) {
  ModuleBuilder m;
  for (int i = 0; i < 100; ++i) m.import("env", "f" + std::to_string(i / 2), "", "");
  m.memory(1);
  m.export_memory();
  m.export_function("_start", m.function("", "", ""));
  const auto info = look(m.bytes());
  ASSERT_TRUE(info);
  EXPECT_EQ(info->problems.size(), 41u);
  EXPECT_THAT(info->problems[1], HasSubstr("env.f1:"));
}

TEST(Inspect, ReadsAFileAsItReadsBytes) {
  const Scratch scratch;
  const auto info = inspect_module_file(scratch.file("a.wasm", whole().bytes()), test_imports());
  ASSERT_TRUE(info) << info.error().message;
  EXPECT_EQ(info->functions, 2u);
  EXPECT_EQ(info->file_bytes, whole().bytes().size());
  EXPECT_EQ(info->digest.substr(0, 7), "sha256:");
  EXPECT_EQ(info->digest.size(), 7u + 64);
}

TEST(Inspect, NamesTheFileItCannotRead) {
  const Scratch scratch;
  const std::string missing = scratch.path / "missing.wasm";
  const auto absent = inspect_module_file(missing, {});
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code, ErrorCode::NotFound);
  EXPECT_THAT(absent.error().message, HasSubstr(missing));
  const auto folder = inspect_module_file(scratch.path, {});
  ASSERT_FALSE(folder);
  EXPECT_THAT(folder.error().message, HasSubstr("a folder, not a file"));
  const std::string pipe = scratch.path / "pipe.wasm";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_FALSE(inspect_module_file(pipe, {}));
}

}  // namespace
}  // namespace dormouse::wasm::testing
