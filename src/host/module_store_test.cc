// SPDX-License-Identifier: Apache-2.0
#include "host/module_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "host/test_support.h"
#include "wasm/module_builder.h"

namespace dormouse::host {
namespace {

using ::testing::HasSubstr;
using wasm::testing::program;
namespace op = wasm::testing::op;

std::size_t count(const std::string& text, std::string_view what) {
  std::size_t found = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++found;
  return found;
}

class ModuleStoreTest : public ::testing::Test {
 protected:
  ModuleStore::Module load(ModuleStore& store, const std::string& path) {
    std::optional<Result<ModuleStore::Module>> loaded;
    store.load(path, [&](Result<ModuleStore::Module> module) { loaded = std::move(module); });
    loop_.restart();
    while (!loaded && loop_.run_one() > 0) {
    }
    EXPECT_TRUE(loaded && *loaded) << (loaded ? loaded->error().message : "the loop ran dry");
    return loaded && *loaded ? **loaded : nullptr;
  }
  std::unique_ptr<ModuleStore> make_store() {
    return std::make_unique<ModuleStore>(loop_, *engine_, *log_, ModuleStore::Options{.compile = {.cache_directory = scratch_.path / "cache", .compiler_program = ""}, .imports = {}});
  }

  testing::Scratch scratch_;
  testing::ReadableLog log_;
  boost::asio::io_context loop_;
  std::unique_ptr<wasm::Engine> engine_ = wasm::Engine::create({}).value();
};

TEST_F(ModuleStoreTest, SaysOnceWhichCompiledCodeWasRefusedAndWhatWasDone) {
  const std::string path = scratch_.file("guest.wasm", program(op::i32(1) + op::drop));
  const std::string code = scratch_.path / "guest.cwasm";
  ASSERT_TRUE(wasm::compile_to_file(*engine_, scratch_.file("other.wasm", program(op::i32(2) + op::drop)), code));

  const auto store = make_store();
  load(*store, path).reset();  // Unloaded again: the next load reads the files anew, as a restart does.
  load(*store, path).reset();
  EXPECT_THAT(log_.text(), HasSubstr("guest.cwasm: it was made from another module"));
  EXPECT_THAT(log_.text(), HasSubstr("compiled anew"));
  EXPECT_EQ(count(log_.text(), "compiled code is not used"), 1U) << log_.text();

  // Another reason is news; and the cache has it by now.
  ASSERT_EQ(::chmod(code.c_str(), 0666), 0);
  load(*store, path).reset();
  EXPECT_THAT(log_.text(), HasSubstr("others may write it"));
  EXPECT_THAT(log_.text(), HasSubstr("taken from the cache"));
  EXPECT_EQ(count(log_.text(), "compiled code is not used"), 2U) << log_.text();
}

TEST_F(ModuleStoreTest, SaysNothingOfCodeThatFits) {
  const std::string path = scratch_.file("guest.wasm", program(op::i32(1) + op::drop));
  ASSERT_TRUE(wasm::compile_to_file(*engine_, path, scratch_.path / "guest.cwasm"));
  load(*make_store(), path);
  EXPECT_EQ(log_.text(), "");
}

TEST_F(ModuleStoreTest, LoadsAModuleOnceForAllItsGuests) {
  const std::string path = scratch_.file("guest.wasm", program(op::i32(1) + op::drop));
  const auto store = make_store();
  const auto first = load(*store, path);
  EXPECT_EQ(load(*store, path), first);
}

}  // namespace
}  // namespace dormouse::host
