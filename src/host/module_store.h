// SPDX-License-Identifier: Apache-2.0
#pragma once
// The compiled modules in use, each loaded once however many guests run it.
//
// Loading blocks (reading, hashing, perhaps a compile of a minute in a child process), so it happens on threads of
// its own. A file that has changed since is another module; what nobody uses any more is unloaded. Compiled code that
// is refused (a stale or foreign `.cwasm`) is one warning in the log, not one at each restart.
//
// Threads: load() and its callback on the loop.

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/result.h"
#include "host/start_code.h"
#include "wasm/module.h"

namespace dormouse::host {

class ModuleStore final : Immovable {
 public:
  using Module = std::shared_ptr<const wasm::Module>;
  using Done = std::function<void(Result<Module>)>;
  struct Options {
    wasm::Module::CompileOptions compile;
    std::span<const wasm::ImportModule> imports;
    unsigned loaders = 1;  // At once; a compile of a Go operator takes 1.2 GB, so one.
  };
  ModuleStore(boost::asio::io_context& loop, wasm::Engine& engine, Log& log, Options options);
  // Waits for a load under way.
  ~ModuleStore();

  // `done` is called from the loop, never from within load().
  void load(const std::string& path, Done done);
  // A guest of this module starts now. Once it has, the module's code leaves RAM (StartCode): what is still needed comes back.
  void note_start(const Module& module);
  // Whether a load is under way.
  bool busy() const { return !waiting_.empty(); }

 private:
  // What tells one version of a file from another: device, inode, size, change time.
  using Key = std::string;
  void look_after_starts();
  void finish(const Key& key, Result<Module> loaded);
  void warn_of_refused_code(const std::string& path, const wasm::Module& module);

  boost::asio::io_context& loop_;
  wasm::Engine& engine_;
  Log& log_;
  const Options options_;
  std::map<Key, std::weak_ptr<const wasm::Module>> loaded_;
  std::map<Key, std::vector<Done>> waiting_;
  std::map<std::string, std::string> warned_;  // By path: the last warning about it.
  StartCode<const wasm::Module> starts_;
  boost::asio::steady_timer starts_timer_;
  boost::asio::thread_pool loaders_;
};

}  // namespace dormouse::host
