// SPDX-License-Identifier: Apache-2.0
#include "wasi/process.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "wasi/calls.h"
#include "wasi/process_state.h"

namespace dormouse::wasi {
namespace {

constexpr wasm::Import kImports[] = {
    wasi_import<args_get>("args_get"),
    wasi_import<args_sizes_get>("args_sizes_get"),
    wasi_import<clock_res_get>("clock_res_get"),
    wasi_import<clock_time_get>("clock_time_get"),
    wasi_import<environ_get>("environ_get"),
    wasi_import<environ_sizes_get>("environ_sizes_get"),
    wasi_import<fd_advise>("fd_advise"),
    wasi_import<fd_allocate>("fd_allocate"),
    wasi_import<fd_close>("fd_close"),
    wasi_import<fd_datasync>("fd_datasync"),
    wasi_import<fd_fdstat_get>("fd_fdstat_get"),
    wasi_import<fd_fdstat_set_flags>("fd_fdstat_set_flags"),
    wasi_import<fd_fdstat_set_rights>("fd_fdstat_set_rights"),
    wasi_import<fd_filestat_get>("fd_filestat_get"),
    wasi_import<fd_filestat_set_size>("fd_filestat_set_size"),
    wasi_import<fd_filestat_set_times>("fd_filestat_set_times"),
    wasi_import<fd_pread>("fd_pread"),
    wasi_import<fd_prestat_dir_name>("fd_prestat_dir_name"),
    wasi_import<fd_prestat_get>("fd_prestat_get"),
    wasi_import<fd_pwrite>("fd_pwrite"),
    wasi_import<fd_read>("fd_read"),
    wasi_import<fd_readdir>("fd_readdir"),
    wasi_import<fd_renumber>("fd_renumber"),
    wasi_import<fd_seek>("fd_seek"),
    wasi_import<fd_sync>("fd_sync"),
    wasi_import<fd_tell>("fd_tell"),
    wasi_import<fd_write>("fd_write"),
    wasi_import<path_create_directory>("path_create_directory"),
    wasi_import<path_filestat_get>("path_filestat_get"),
    wasi_import<path_filestat_set_times>("path_filestat_set_times"),
    wasi_import<path_link>("path_link"),
    wasi_import<path_open>("path_open"),
    wasi_import<path_readlink>("path_readlink"),
    wasi_import<path_remove_directory>("path_remove_directory"),
    wasi_import<path_rename>("path_rename"),
    wasi_import<path_symlink>("path_symlink"),
    wasi_import<path_unlink_file>("path_unlink_file"),
    {.name = "poll_oneoff", .parameters = "iiii", .results = "i", .call = &poll_oneoff, .parks = true},
    {.name = "proc_exit", .parameters = "i", .results = "", .call = &proc_exit},
    {.name = "proc_raise", .parameters = "i", .results = "i", .call = &proc_raise},
    wasi_import<random_get>("random_get"),
    wasi_import<sched_yield>("sched_yield"),
    wasi_import<sock_accept>("sock_accept"),
    wasi_import<sock_recv>("sock_recv"),
    wasi_import<sock_send>("sock_send"),
    wasi_import<sock_shutdown>("sock_shutdown"),
};
static_assert(std::size(kImports) == 46);

constexpr wasm::ImportModule kModules[] = {{.name = "wasi_snapshot_preview1", .imports = kImports}};

// Makes /net and /run/signals of a pod's root, unless an earlier run of the guest has.
void add_special(Directory& root, bool with_network) {
  if (with_network) {
    auto found = root.lookup("net");
    if (found.inode == nullptr) {
      if (auto made = root.create_directory("net")) found.inode = std::move(*made);
    }
    if (Directory* net = as_directory(found.inode.get()); net != nullptr && !found.mounted) net->become_network();
  }
  auto found = root.lookup("run");
  if (found.inode == nullptr) {
    if (auto made = root.create_directory("run")) found.inode = std::move(*made);
  }
  if (Directory* run = as_directory(found.inode.get())) (void)run->add_signals("signals");
}

}  // namespace

// --- ProcessState ---

Texts::Texts(std::vector<std::string> texts) {
  std::size_t size = 0;
  for (const std::string& text : texts) size += text.size() + 1;
  bytes.reserve(size);
  begins.reserve(texts.size());
  for (const std::string& text : texts) {
    begins.push_back(static_cast<std::uint32_t>(bytes.size()));
    bytes.append(text.c_str(), text.size() + 1);
  }
}

ProcessState::ProcessState(Process::Options given)
    : options(std::move(given)), arguments(std::exchange(options.arguments, {})), environment(std::exchange(options.environment, {})), descriptors(options.account, options.descriptors_max), wakeup(std::make_shared<Wakeup>(options.wake)) {
  // A character device is taken for a terminal by wasi-libc exactly if it can neither seek nor tell.
  const Rights device = rights::kFdFdstatSetFlags | rights::kFdFilestatGet | rights::kPollFdReadwrite | (options.terminal ? 0 : rights::kFdSeek | rights::kFdTell);
  const auto insert = [this](Descriptor descriptor) {
    // An account too small even for these: the guest starts with fewer and fails by itself.
    if (descriptors.reserve() == Errno::Success) descriptors.insert(std::move(descriptor));
  };
  insert({.kind = Descriptor::Kind::Input, .base = device | rights::kFdRead});
  insert({.kind = Descriptor::Kind::Output, .base = device | rights::kFdWrite, .output = &options.standard_output});
  insert({.kind = Descriptor::Kind::Output, .base = device | rights::kFdWrite, .output = &options.standard_error});
  for (const Process::Preopen& preopen : std::exchange(options.preopens, {})) {
    if (preopen.special) add_special(*preopen.directory, options.network != nullptr);
    insert({.kind = Descriptor::Kind::Directory,
            .read_only = preopen.directory->volume().read_only(),
            .base = rights::kDirectory,
            .inheriting = rights::kAll,
            .inode = preopen.directory,
            .preopened = std::make_unique<std::string>(preopen.guest_path)});
  }
}

ProcessState::~ProcessState() {
  wakeup->retire();
  options.account.release(park.waits.capacity() * sizeof(Park::Wait));
  descriptors.for_each([this](Descriptor& descriptor) { release(std::move(descriptor)); });
}

void ProcessState::release(Descriptor descriptor) {
  if (descriptor.is_socket()) --counters.open_streams;
  if (descriptor.channel == nullptr) return;
  count_kube_activity(*descriptor.channel);
  descriptor.channel->guest_close();
}

std::shared_ptr<SignalQueue> ProcessState::open_signals() {
  auto queue = std::make_shared<SignalQueue>();
  const std::lock_guard lock(signals_mutex_);
  std::erase_if(signal_queues_, [](const auto& other) { return other.expired(); });
  signal_queues_.push_back(queue);
  return queue;
}

bool ProcessState::deliver_signal(int number) {
  CHECK(number > 0 && number < 128);
  bool delivered = false;
  {
    const std::lock_guard lock(signals_mutex_);
    for (const auto& weak : signal_queues_) {
      const auto queue = weak.lock();
      if (queue == nullptr) continue;
      queue->push(static_cast<std::uint8_t>(number));
      delivered = true;
    }
  }
  if (delivered) (*wakeup)();
  return delivered;
}

// --- Process ---

Process::Process(Options options) : state_(std::make_unique<ProcessState>(std::move(options))) {}
Process::~Process() = default;

std::span<const wasm::ImportModule> Process::imports() { return kModules; }

std::optional<Nanoseconds> Process::deadline() const { return state_->park.active ? state_->park.deadline : std::nullopt; }

bool Process::ready() const {
  const auto look = [this] { return state_->ready(state_->options.clock.monotonic()); };
  if (look()) return true;
  // A waker calls once until it is armed; what came before it was armed again is seen by the second look.
  if (state_->park.active) state_->wakeup->arm(true);
  return look();
}

std::optional<WakeCause> Process::wake_cause() const { return state_->wake_cause(state_->options.clock.monotonic()); }

bool Process::deliver_signal(int number) { return state_->deliver_signal(number); }

Process::Counters Process::counters() const {
  Counters counters = state_->counters;
  counters.open_descriptors = state_->descriptors.open();
  return counters;
}

}  // namespace dormouse::wasi
