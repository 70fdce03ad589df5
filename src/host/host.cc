// SPDX-License-Identifier: Apache-2.0
#include "host/host.h"

#include <signal.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <map>
#include <set>
#include <thread>

#include "guest/output.h"
#include "host/bare_module.h"
#include "host/config_objects.h"
#include "host/file_watcher.h"
#include "host/cache_view.h"
#include "host/http_server.h"
#include "host/kernel_limits.h"
#include "host/loop_cache.h"
#include "host/manifest_source.h"
#include "host/memory_watch.h"
#include "host/page_files.h"
#include "host/pod_runner.h"
#include "host/start_queue.h"
#include "host/status_view.h"
#include "host/trace_recorder.h"
#include "kube/service_account_tokens.h"
#include "kube/upstream.h"
#include "wasi/process.h"
#include "wasm/slice_timer.h"

namespace dormouse::host {
namespace {

namespace asio = boost::asio;

constexpr std::string_view kWhyPath = "/why/";
constexpr std::uint64_t kWasmMemoryBytesMax = std::uint64_t{4} << 30;
constexpr std::uint64_t kUnlimitedBytes = kWasmMemoryBytesMax + (std::uint64_t{1} << 30);  // A whole linear memory, and a little.

class Host final : Immovable {
 public:
  Host(HostOptions options, Log::Options log_options) : options_(std::move(options)), log_(log_options, clock_), signals_(loop_) {}

  Result<int> run();

 private:
  // One pod's place: who has it now, and who comes when that one has gone.
  struct Slot {
    std::unique_ptr<PodRunner> runner;
    std::unique_ptr<pods::Pod> next;
    std::string module_stamps;  // What the module files looked like when the pod was started.
    unsigned colour_index = 0;
  };

  Result<void> set_up();
  Result<void> open_pages();
  Result<void> watch_sleep();
  Result<void> connect();
  Result<void> listen();
  Result<void> load_first();
  std::shared_ptr<void> pre_emption();
  void await_signal();
  void reload();
  void apply(std::vector<pods::Pod> wanted);
  void start_pod(const std::string& name, pods::Pod pod);
  void start_next();
  void tidy_later();
  void on_pod_changed();
  void settle();
  void stop_all();
  HttpServer::Reply answer(std::string_view target);
  HttpServer::Reply answer_why(std::string_view pod) const;
  HostStatus status() const;
  bool bare() const { return options_.sources.empty() && !options_.module_as_pod; }

  HostOptions options_;
  SystemClock clock_;
  Log log_;
  asio::io_context loop_{1};
  asio::signal_set signals_;
  std::unique_ptr<wasm::Engine> engine_;
  paging::SystemDisk disk_;
  std::unique_ptr<paging::PageStore> pages_;
  std::unique_ptr<TraceRecorder> trace_;
  std::unique_ptr<MemoryWatch> memory_watch_;
  std::unique_ptr<guest::WorkerPool> workers_;
  gateway::EgressTls egress_tls_;
  std::unique_ptr<kube::Upstream> upstream_;
  std::unique_ptr<kube::ServiceAccountTokens> tokens_;
  std::unique_ptr<ConfigObjects> objects_;
  std::optional<LoopCache> cache_;
  std::optional<Cluster> cluster_;
  std::unique_ptr<ModuleStore> modules_;
  std::optional<Services> services_;
  std::map<std::string, Slot> pods_;
  StartQueue starts_;
  asio::steady_timer start_timer_{loop_};
  bool start_timer_armed_ = false;
  asio::steady_timer tidy_timer_{loop_};
  std::unique_ptr<FileWatcher> watcher_;
  std::vector<std::string> manifest_paths_;
  std::unique_ptr<HttpServer> public_server_, admin_server_;
  std::uint64_t loop_wakeups_ = 0;
  unsigned next_colour_ = 0;
  int signals_seen_ = 0;
  bool stopping_ = false, done_ = false, settle_posted_ = false;
  int exit_code_ = 0;
};

std::string stamp(const std::string& path) {
  std::error_code problem;
  const auto time = std::filesystem::last_write_time(path, problem);
  const auto size = std::filesystem::file_size(path, problem);
  return problem ? "-" : fmt::format("{}:{}", time.time_since_epoch().count(), size);
}

std::string module_stamps(const pods::Pod& pod) {
  std::string stamps;
  for (const pods::Container& container : pod.containers) stamps += stamp(container.image) + ";";
  return stamps;
}

Result<int> Host::run() {
  // A peer that has gone is an error of its stream, not a reason to end.
  ::signal(SIGPIPE, SIG_IGN);
  if (auto ready = set_up(); !ready) return fail(ready.error());
  if (auto loaded = load_first(); !loaded) return fail(loaded.error());
  await_signal();
  while (!done_ && loop_.run_one() > 0) {
    ++loop_wakeups_;
    while (!done_ && loop_.poll_one() > 0) {
    }
  }
  pods_.clear();
  public_server_.reset();
  admin_server_.reset();
  // A compile under way would hold us up for a minute. Its child dies with the thread that waits for it.
  if (modules_->busy()) ::_exit(exit_code_);
  workers_.reset();
  loop_.poll();  // What ended runs have left to do here.
  return exit_code_;
}

Result<void> Host::set_up() {
  auto engine = wasm::Engine::create({});
  if (!engine) return fail(engine.error());
  engine_ = std::move(*engine);
  unsigned workers = options_.workers;
  if (workers == 0) workers = bare() ? 1 : std::clamp(std::thread::hardware_concurrency(), 1U, 4U);
  workers_ = std::make_unique<guest::WorkerPool>(
      guest::WorkerPool::Options{.workers = workers, .look_out = std::thread::hardware_concurrency() > 1, .on_thread_start = [this] { return pre_emption(); }}, clock_);
  options_.compile.metadata_file = [this]() -> Result<UniqueFd> {
    if (pages_ == nullptr) return fail(ErrorCode::Unavailable, "no page files");
    return disk_.create_file(pages_->options().directory);
  };
  modules_ = std::make_unique<ModuleStore>(loop_, *engine_, log_, ModuleStore::Options{.compile = options_.compile, .imports = wasi::Process::imports()});
  services_.emplace(Services{.loop = loop_, .clock = clock_, .log = log_, .engine = *engine_, .workers = *workers_, .modules = *modules_, .egress_tls = &egress_tls_, .memory_limit_default_bytes = kUnlimitedBytes});
  if (!bare()) {
    if (auto opened = open_pages(); !opened) return opened;
    if (auto watched = watch_sleep(); !watched) return watched;
    if (auto connected = connect(); !connected) return connected;
  }
  return listen();
}

Result<void> Host::open_pages() {
  if (!options_.sleep.empty()) {
    const auto mode = pods::parse_sleep(options_.sleep);
    if (!mode) return fail(Error(mode.error()).within("--sleep"));
    services_->sleep_default = *mode;
  }
  auto pages = open_page_files(options_, disk_, log_);
  if (!pages) return fail(pages.error());
  pages_ = std::move(*pages);
  services_->pages = pages_.get();
  return {};
}

// The memory budget, and the trace of how guests wait.
Result<void> Host::watch_sleep() {
  auto observer = std::make_shared<guest::SleepObserver>();
  if (!options_.record_trace.empty()) {
    auto trace = TraceRecorder::create(options_.record_trace, clock_, log_);
    if (!trace) return fail(Error(trace.error()).within("--record-trace"));
    trace_ = std::move(*trace);
    observer->waited = [recorder = trace_.get()](std::string_view guest, const guest::TraceWait& wait) { recorder->record(guest, wait); };
  }
  const HostMemory memory = HostMemory::look();
  auto budget = memory_budget(options_.memory_budget, memory);
  if (!budget) return fail(Error(budget.error()).within("--memory-budget"));
  if (pages_ != nullptr && *budget != 0) {
    memory_watch_ = std::make_unique<MemoryWatch>(loop_, clock_, log_, MemoryWatch::Options{
        .budget_bytes = *budget,
        .used_bytes = [memory] { return memory.used_bytes(); },
        .pressure_path = memory.pressure_path(),
        .sleepers = [this] {
          std::vector<MemoryWatch::Sleeper> sleepers;
          for (const auto& [name, slot] : pods_) {
            if (slot.runner) slot.runner->list_sleepers(sleepers);
          }
          return sleepers;
        },
        .compress_cache = [this](std::uint64_t bytes) { return cache_ ? cache_->cache().compress_cold(bytes) : 0; }});
    observer->parked = [watch = memory_watch_.get()] { watch->note_park(); };
    log_.info("memory", {{"budget_bytes", *budget}, {"counted", memory.source()}, {"sleep", to_string(services_->sleep_default)}});
  }
  services_->sleep_observer = std::move(observer);
  return {};
}

// Called on each worker's thread.
std::shared_ptr<void> Host::pre_emption() {
  auto timer = wasm::SliceTimer::create(*engine_);
  if (!timer) {
    log_.error("busy guests cannot be pre-empted", {{"error", timer.error().message}});
    return nullptr;
  }
  return std::move(*timer);
}

Result<void> Host::connect() {
  auto config = kube::load_config(options_.kube);
  if (!config) return fail(config.error());
  if (options_.name_space.empty()) options_.name_space = config->namespace_name;
  log_.info("cluster", {{"server", config->cluster.server}, {"config", config->source}, {"context", config->context}, {"namespace", options_.name_space}});
  auto upstream = kube::Upstream::create(loop_, clock_, log_, {.cluster = std::move(config->cluster), .credentials = std::move(config->credentials)});
  if (!upstream) return fail(upstream.error());
  upstream_ = std::move(*upstream);
  tokens_ = kube::ServiceAccountTokens::create(clock_, log_, *upstream_, {});
  objects_ = ConfigObjects::create(loop_, clock_, log_, *upstream_);
  // What comes on a watch wakes guests: a worker gets up while it is taken apart.
  const auto around_data = [this](bool begins) { workers_ == nullptr ? void() : begins ? workers_->expect() : workers_->expect_no_more(); };
  if (options_.watch_cache) cache_.emplace(loop_, clock_, log_, *upstream_, around_data);
  cluster_.emplace(Cluster{*upstream_, *tokens_, *objects_, cache_ ? &cache_->cache() : nullptr});
  return {};
}

Result<void> Host::listen() {
  const auto handler = [this](std::string_view target) { return answer(target); };
  // What guests asked for names objects: that is for whoever may use the socket.
  const auto admin = [this](std::string_view target) { return target.starts_with(kWhyPath) ? answer_why(target.substr(kWhyPath.size())) : answer(target); };
  if (!options_.listen.empty()) {
    auto server = HttpServer::create(loop_, options_.listen, handler);
    if (!server) return fail(server.error());
    public_server_ = std::move(*server);
    log_.info("listening", {{"address", public_server_->address()}, {"paths", "/healthz /readyz /metrics"}});
  }
  if (!bare() && !options_.socket.empty()) {
    auto server = HttpServer::create(loop_, "unix:" + options_.socket, admin);
    if (!server) return fail(server.error());
    admin_server_ = std::move(*server);
  }
  return {};
}

Result<void> Host::load_first() {
  std::vector<pods::Pod> wanted;
  if (!options_.sources.empty()) {
    auto loaded = load_pods(options_.sources, options_.name_space);
    if (!loaded) return fail(loaded.error());
    for (const std::string& note : loaded->notes) log_.warning(note);
    manifest_paths_ = std::move(loaded->watched_paths);
    wanted = std::move(loaded->pods);
  }
  if (!options_.module.empty()) {
    auto pod = bare_module_pod(options_);
    if (!pod) return fail(pod.error());
    wanted.push_back(std::move(*pod));
  }
  if (wanted.empty()) return fail(ErrorCode::NotFound, "the manifests hold no pod");
  std::size_t guests = 0;
  for (const pods::Pod& pod : wanted) guests += pod.containers.size();
  for (const std::string& sentence : too_low(raise_and_read_kernel_limits(), guests)) log_.warning(sentence);
  if (!bare()) watcher_ = std::make_unique<FileWatcher>(loop_, [this] { reload(); });
  apply(std::move(wanted));
  return {};
}

void Host::await_signal() {
  if (signals_seen_ == 0) {
    signals_.add(SIGTERM);
    signals_.add(SIGINT);
    signals_.add(SIGHUP);
  }
  signals_.async_wait([this](boost::system::error_code problem, int number) {
    if (problem) return;
    ++signals_seen_;
    if (number == SIGHUP && !bare()) {
      reload();
    } else if (!stopping_) {
      log_.info("stopping", {{"signal", number == SIGINT ? "SIGINT" : number == SIGHUP ? "SIGHUP" : "SIGTERM"}});
      stop_all();
    } else {
      log_.warning("second signal, stopping at once");
      for (auto& [name, slot] : pods_) {
        if (slot.runner) slot.runner->stop_at_once();
      }
    }
    await_signal();
  });
}

void Host::reload() {
  if (stopping_) return;
  std::vector<pods::Pod> wanted;
  if (!options_.sources.empty()) {
    auto loaded = load_pods(options_.sources, options_.name_space);
    if (!loaded) {
      log_.error("reload refused, everything goes on as it was", {{"error", loaded.error().message}});
      return;
    }
    for (const std::string& note : loaded->notes) log_.warning(note);
    manifest_paths_ = std::move(loaded->watched_paths);
    wanted = std::move(loaded->pods);
  }
  if (!options_.module.empty()) {
    if (auto pod = bare_module_pod(options_)) wanted.push_back(std::move(*pod));
  }
  apply(std::move(wanted));
}

void Host::apply(std::vector<pods::Pod> wanted) {
  std::set<std::string> names;
  std::vector<std::string> paths = manifest_paths_;
  std::size_t added = 0, replaced = 0, removed = 0;
  for (pods::Pod& pod : wanted) {
    const std::string name = pod.name_space + "/" + pod.name;
    names.insert(name);
    for (const pods::Container& container : pod.containers) paths.push_back(container.image);
    const auto found = pods_.find(name);
    if (found == pods_.end()) {
      ++added;
      start_pod(name, std::move(pod));
      continue;
    }
    Slot& slot = found->second;
    const bool same = slot.runner && slot.runner->pod().same_spec(pod) && slot.module_stamps == module_stamps(pod);
    if (same && !slot.next) continue;
    ++replaced;
    slot.next = std::make_unique<pods::Pod>(std::move(pod));
    if (slot.runner) slot.runner->stop();
  }
  start_next();
  for (auto& [name, slot] : pods_) {
    if (names.contains(name)) continue;
    ++removed;
    slot.next.reset();
    if (slot.runner) slot.runner->stop();
  }
  if (replaced + removed > 0 || (added > 0 && pods_.size() > added)) log_.info("reloaded", {{"added", added}, {"replaced", replaced}, {"removed", removed}, {"unchanged", wanted.size() - added - replaced}});
  if (watcher_) {
    if (auto watched = watcher_->watch(paths); !watched) log_.warning("changes of files are not seen", {{"error", watched.error().message}});
  }
  on_pod_changed();
}

void Host::start_pod(const std::string& name, pods::Pod pod) {
  Slot& slot = pods_[name];
  slot.module_stamps = module_stamps(pod);
  slot.colour_index = next_colour_++;
  PodRunner::Options options{.pod = std::move(pod), .colour_index = slot.colour_index, .on_change = [this] { on_pod_changed(); }};
  if (bare()) options.bare_launch = [this](std::shared_ptr<MemoryAccount> account) { return bare_launch(options_, clock_, std::move(account)); };
  slot.runner = std::make_unique<PodRunner>(std::move(options), *services_, cluster_ ? &*cluster_ : nullptr);
  starts_.remove(name);
  starts_.add(name);
}

// Thousands of pods start a few at a time.
void Host::start_next() {
  if (!starts_.busy()) return;
  const auto at_rest = [this](const std::string& name) {
    const auto found = pods_.find(name);
    return found == pods_.end() || !found->second.runner || found->second.runner->at_rest();
  };
  const bool short_of_memory = memory_watch_ && memory_watch_->short_of_memory();
  const auto turn = [&] { return starts_.next(clock_.monotonic(), at_rest, short_of_memory); };
  // Who waits for a ConfigMap makes room at once.
  for (std::vector<std::string> names = turn(); !names.empty(); names = turn()) {
    for (const std::string& name : names) {
      const auto found = pods_.find(name);
      if (found != pods_.end() && found->second.runner && !found->second.runner->stopping()) found->second.runner->start();
    }
    tidy_later();
  }
  if (!starts_.busy() || std::exchange(start_timer_armed_, true)) return;
  start_timer_.expires_after(StartQueue::kLookEvery);
  start_timer_.async_wait([this](boost::system::error_code problem) {
    start_timer_armed_ = false;
    if (!problem && !stopping_) start_next();
  });
}

// What starts, the host's own and those of pods, have used leaves RAM a while after the last. Guests that leave RAM see to it, too; but there may
// be none, or none but Go's, which are woken by their ticks.
void Host::tidy_later() {
  if (pages_ == nullptr) return;
  tidy_timer_.expires_after(paging::PageStore::kTidyPause);
  tidy_timer_.async_wait([this](boost::system::error_code problem) {
    if (!problem && !stopping_ && pages_->tidy_host(clock_.monotonic())) tidy_later();
  });
}

// Called from within pods; what it leads to may destroy them, so it happens later.
void Host::on_pod_changed() {
  if (std::exchange(settle_posted_, true)) return;
  asio::post(loop_, [this] {
    settle_posted_ = false;
    settle();
  });
}

void Host::settle() {
  for (auto it = pods_.begin(); it != pods_.end();) {
    Slot& slot = it->second;
    const bool leaving = stopping_ || slot.next || !slot.runner || slot.runner->stopping();
    if (slot.runner && !(slot.runner->ended() && leaving)) {
      ++it;
      continue;
    }
    if (slot.next && !stopping_) {
      const std::unique_ptr<pods::Pod> next = std::move(slot.next);
      slot.runner.reset();
      start_pod(it->first, std::move(*next));
      ++it;
    } else if (bare()) {
      break;  // Its exit code is read below.
    } else {
      it = pods_.erase(it);
    }
  }
  start_next();
  tidy_later();
  const auto all = [&](auto&& holds) { return std::ranges::all_of(pods_, [&](const auto& entry) { return entry.second.runner && holds(*entry.second.runner); }); };
  if (!all([](const PodRunner& pod) { return pod.ended() || pod.hopeless(); })) return;
  if (pods_.empty() && !stopping_) return;  // All were removed by a reload; others may come.
  done_ = true;
  if (bare()) {
    const auto containers = pods_.begin()->second.runner->status().containers;
    const auto& last = containers.at(0).last_termination;
    exit_code_ = last ? static_cast<int>(last->exit_code & 0xff) : 1;
    return;
  }
  if (stopping_) return;
  if (all([](const PodRunner& pod) { return pod.hopeless(); })) {
    log_.error("nothing can run");
    exit_code_ = 1;
  } else {
    for (const auto& [name, slot] : pods_) {
      for (const ContainerStatus& container : slot.runner->status().containers) {
        if (container.last_termination && container.last_termination->exit_code != 0) exit_code_ = 1;
      }
    }
    log_.info("all pods have ended", {{"exit_code", exit_code_}});
  }
}

void Host::stop_all() {
  stopping_ = true;
  for (auto& [name, slot] : pods_) {
    slot.next.reset();
    if (slot.runner) slot.runner->stop();
  }
  on_pod_changed();
}

HostStatus Host::status() const {
  HostStatus status;
  for (const auto& [name, slot] : pods_) {
    if (slot.runner) status.pods.push_back(slot.runner->status());
  }
  status.workers = workers_->counters();
  if (upstream_) status.upstream = upstream_->counters();
  if (pages_) status.pages = pages_->counters();
  status.loop_wakeups = loop_wakeups_;
  if (memory_watch_) status.memory = memory_watch_->counters();
  status.now = clock_.realtime();
  return status;
}

HttpServer::Reply Host::answer(std::string_view target) {
  const std::string_view path = target.substr(0, target.find('?'));
  if (path == "/healthz" || path == "/livez") return {.body = "ok\n"};
  if (path == "/metrics") return {.content_type = "text/plain; version=0.0.4; charset=utf-8", .body = metrics_text(status()) + (cache_ ? cache_metrics(cache_->cache()) : std::string())};
  if (path == "/cache") return {.content_type = "application/json", .body = cache_json(cache_ ? &cache_->cache() : nullptr)};
  if (path == "/guests") return {.content_type = "application/json", .body = status_json(status())};
  if (path == "/readyz") {
    std::string missing;
    for (const PodStatus& pod : status().pods) {
      for (const ContainerStatus& container : pod.containers) {
        const bool completed = container.state == "Terminated" && container.last_termination && container.last_termination->exit_code == 0;
        if (!container.running && !completed) missing += fmt::format("{}/{}/{} {}\n", pod.name_space, pod.name, container.name, container.reason);
      }
    }
    if (stopping_) missing += "stopping\n";
    return missing.empty() ? HttpServer::Reply{.body = "ok\n"} : HttpServer::Reply{.status = 503, .body = "not running:\n" + missing};
  }
  return {.status = 404, .body = "there are /healthz, /readyz, /metrics, /guests and /cache here\n"};
}

// `pod` is NAME or NAMESPACE/NAME.
HttpServer::Reply Host::answer_why(std::string_view pod) const {
  const PodRunner* found = nullptr;
  std::vector<std::string> candidates;
  if (const auto exact = pods_.find(std::string(pod)); exact != pods_.end()) {
    found = exact->second.runner.get();
  } else {
    for (const auto& [name, slot] : pods_) {
      if (!slot.runner || slot.runner->pod().name != pod) continue;
      candidates.push_back(name);
      found = slot.runner.get();
    }
  }
  if (found == nullptr) return {.status = 404, .body = fmt::format("no pod \"{}\" runs here; `dormouse ps` lists those that do", pod)};
  if (candidates.size() > 1) return {.status = 404, .body = fmt::format("which pod \"{}\" is meant? There are {}", pod, fmt::join(candidates, ", "))};
  return {.content_type = "application/json", .body = wakes_json(found->wakes(), clock_.realtime())};
}

}  // namespace

Result<int> run_host(HostOptions options, Log::Options log) { return Host(std::move(options), log).run(); }

}  // namespace dormouse::host
