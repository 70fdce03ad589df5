// SPDX-License-Identifier: Apache-2.0
#include "host/module_store.h"

#include <sys/stat.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <chrono>

namespace dormouse::host {

ModuleStore::ModuleStore(boost::asio::io_context& loop, wasm::Engine& engine, Log& log, Options options)
    : loop_(loop), engine_(engine), log_(log), options_(std::move(options)), starts_timer_(loop), loaders_(options_.loaders) {}

ModuleStore::~ModuleStore() {
  loaders_.stop();
  loaders_.join();
}

void ModuleStore::load(const std::string& path, Done done) {
  struct stat file{};
  Key key = path;
  if (::stat(path.c_str(), &file) == 0) {
    key = fmt::format("{}:{}:{}:{}:{}.{}", path, file.st_dev, file.st_ino, file.st_size, file.st_ctim.tv_sec, file.st_ctim.tv_nsec);
  }
  if (const auto found = loaded_.find(key); found != loaded_.end()) {
    if (Module module = found->second.lock()) {
      boost::asio::post(loop_, [module = std::move(module), done = std::move(done)] { done(module); });
      return;
    }
    loaded_.erase(found);
  }
  auto& waiting = waiting_[key];
  waiting.push_back(std::move(done));
  if (waiting.size() > 1) return;
  boost::asio::post(loaders_, [this, path, key, guard = boost::asio::make_work_guard(loop_)] {
    const auto started = std::chrono::steady_clock::now();
    auto module = wasm::Module::load(engine_, path, options_.imports, options_.compile);
    const auto took_ms = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - started).count();
    boost::asio::post(loop_, [this, key, path, took_ms, module = std::move(module)]() mutable {
      if (module) warn_of_refused_code(path, **module);
      if (module) log_.debug("module loaded", {{"path", path}, {"ms", took_ms}, {"compiled_now", (*module)->compiled_now()}});
      finish(key, std::move(module));
    });
  });
}

void ModuleStore::note_start(const Module& module) {
  const auto looking_at = starts_.next();
  starts_.note(module, std::chrono::steady_clock::now().time_since_epoch());
  if (starts_.next() != looking_at) look_after_starts();
}

void ModuleStore::look_after_starts() {
  const auto next = starts_.next();
  if (!next) return;
  // A look that was to come later is not taken: this one comes before it.
  starts_timer_.expires_at(std::chrono::steady_clock::time_point(*next));
  starts_timer_.async_wait([this](boost::system::error_code cancelled) {
    if (cancelled) return;
    for (const Module& module : starts_.take_due(std::chrono::steady_clock::now().time_since_epoch())) module->drop_code_pages();
    look_after_starts();
  });
}

void ModuleStore::finish(const Key& key, Result<Module> loaded) {
  if (loaded) loaded_[key] = *loaded;
  std::erase_if(loaded_, [](const auto& entry) { return entry.second.expired(); });
  const auto waiting = waiting_.extract(key);
  for (const Done& done : waiting.mapped()) done(loaded);
}

void ModuleStore::warn_of_refused_code(const std::string& path, const wasm::Module& module) {
  if (module.note().empty()) return;
  std::string& last = warned_[path];
  if (last == module.note()) return;
  last = module.note();
  log_.warning("a module's compiled code is not used",
               {{"module", path}, {"reason", last}, {"instead", module.compiled_now() ? "compiled anew, into the cache" : "taken from the cache"}});
}

}  // namespace dormouse::host
