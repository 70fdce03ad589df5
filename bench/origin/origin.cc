// SPDX-License-Identifier: Apache-2.0
// The origin's way to unload an operator, built on our engine so that only the way differs: the whole linear memory is
// copied out to a file and the instance dropped; to wake it, the module is instantiated again and the memory copied in.
//
// The guest's stack is lost by it (the known fault of this way: an operator must be written for it), so no guest code
// runs here: a memory of the operator's size is filled and goes out and in. Memory that the module would have grown to
// beyond its initial size is a mapping of its own, whose pages cost the same faults.
//
//   bench_origin FOLDER BYTES MODULE.wasm...   one instance a module, each with BYTES of memory
//
// Commands on standard input: `out I`, `in I`; the reply is a line with the microseconds it took. It ends with the input.

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/memory_account.h"
#include "base/result.h"
#include "wasi/process.h"
#include "wasm/engine.h"
#include "wasm/instance.h"
#include "wasm/module.h"

namespace dormouse {
namespace {

[[noreturn]] void give_up(const std::string& what) {
  std::fprintf(stderr, "error: %s\n", what.c_str());
  std::exit(1);
}

class Operator {
 public:
  Operator(wasm::Engine& engine, std::shared_ptr<const wasm::Module> module, std::string path, std::size_t bytes)
      : engine_(engine), module_(std::move(module)), path_(std::move(path)), bytes_(bytes), account_(std::uint64_t{8} << 30) {
    make();
    for (const std::span<std::byte> part : parts()) {
      for (std::size_t i = 0; i < part.size(); i += 64) part[i] = static_cast<std::byte>(i >> 6 | 1);
    }
  }
  ~Operator() { drop(); }
  Operator(const Operator&) = delete;

  void out() {
    const int file = ::open(path_.c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0) give_up(path_ + " cannot be made");
    for (std::span<std::byte> part : parts()) {
      while (!part.empty()) {
        const ssize_t n = ::write(file, part.data(), part.size());
        if (n <= 0) give_up(path_ + " cannot be written");
        part = part.subspan(static_cast<std::size_t>(n));
      }
    }
    ::close(file);
    drop();
  }

  void in() {
    make();
    const int file = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
    for (std::span<std::byte> part : parts()) {
      while (!part.empty()) {
        const ssize_t n = ::read(file, part.data(), part.size());
        if (n <= 0) give_up(path_ + " cannot be read");
        part = part.subspan(static_cast<std::size_t>(n));
      }
    }
    ::close(file);
  }

 private:
  void make() {
    auto made = wasm::Instance::create(engine_, {.module = module_, .host = nullptr, .account = account_});
    if (!made) give_up(made.error().message);
    instance_ = std::move(*made);
    const std::size_t initial = instance_->memory_bytes();
    if (initial < bytes_) {
      grown_bytes_ = bytes_ - initial;
      void* mapping = ::mmap(nullptr, grown_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (mapping == MAP_FAILED) give_up("no memory");
      grown_ = static_cast<std::byte*>(mapping);
    }
  }
  void drop() {
    instance_.reset();
    if (grown_ != nullptr) ::munmap(grown_, grown_bytes_);
    grown_ = nullptr;
  }
  std::vector<std::span<std::byte>> parts() {
    std::vector<std::span<std::byte>> all;
    const wasm::Memory memory = instance_->memory();
    all.push_back(*memory.slice(0, memory.size_bytes()));
    if (grown_ != nullptr) all.emplace_back(grown_, grown_bytes_);
    return all;
  }

  wasm::Engine& engine_;
  std::shared_ptr<const wasm::Module> module_;
  const std::string path_;
  const std::size_t bytes_;
  MemoryAccount account_;
  std::unique_ptr<wasm::Instance> instance_;
  std::byte* grown_ = nullptr;
  std::size_t grown_bytes_ = 0;
};

int run(int argc, char** argv) {
  if (argc < 4) give_up("usage: bench_origin FOLDER BYTES MODULE.wasm...");
  const std::string folder = argv[1];
  const auto engine = wasm::Engine::create({});
  if (!engine) give_up(engine.error().message);
  std::vector<std::unique_ptr<Operator>> operators;
  for (int i = 3; i < argc; ++i) {
    // Identical copies are one module, as in the host.
    std::shared_ptr<const wasm::Module> module;
    static std::vector<std::pair<std::string, std::shared_ptr<const wasm::Module>>> loaded;
    for (const auto& [path, found] : loaded) {
      if (path == argv[i]) module = found;
    }
    if (!module) {
      auto fresh = wasm::Module::load(**engine, argv[i], wasi::Process::imports(), {.cache_directory = folder + "/modules", .compiler_program = "/bin/false"});
      if (!fresh) give_up(fresh.error().message);
      module = std::move(*fresh);
      loaded.emplace_back(argv[i], module);
    }
    operators.push_back(std::make_unique<Operator>(**engine, module, folder + "/memory-" + std::to_string(i), std::strtoull(argv[2], nullptr, 10)));
    operators.back()->out();  // As a host would that has no room for all at once.
  }
  std::printf("ready\n");
  std::fflush(stdout);
  std::string command;
  std::size_t index = 0;
  while (std::cin >> command >> index) {
    if (index >= operators.size()) give_up("there is no such operator");
    const auto began = std::chrono::steady_clock::now();
    if (command == "in") operators[index]->in();
    else operators[index]->out();
    std::printf("%.1f\n", std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - began).count());
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace dormouse

int main(int argc, char** argv) { return dormouse::run(argc, argv); }
