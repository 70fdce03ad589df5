// SPDX-License-Identifier: Apache-2.0
#pragma once
// For tests and fuzz targets: a guest that is a byte vector, which calls the functions by name through the table.

#include <cstring>
#include <deque>
#include <initializer_list>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "wasi/process.h"
#include "wasi/process_state.h"
#include "wasi/tree_builder.h"

namespace dormouse::wasi::test {

struct TextSink final : OutputSink {
  std::string text;
  std::uint64_t bytes_written = 0;
  std::size_t text_bytes_max = 1 << 20;
  void write(std::span<const std::byte> bytes) override {
    bytes_written += bytes.size();
    const std::size_t kept = std::min(bytes.size(), text_bytes_max - std::min(text_bytes_max, text.size()));
    text.append(reinterpret_cast<const char*>(bytes.data()), kept);
  }
};

class FakeNetwork final : public Network {
 public:
  explicit FakeNetwork(MemoryAccount& account) : account_(account) {}

  std::expected<std::shared_ptr<Channel>, Errno> dial(std::string_view target, std::function<void()> waker) override {
    dialled.emplace_back(target);
    if (const auto refused = refuse.find(target); refused != refuse.end()) return std::unexpected(refused->second);
    auto channel = std::make_shared<Channel>(account_, capacity_bytes);
    channel->set_guest_waker(std::move(waker));
    if (connect_at_once) channel->host_connected();
    channels.push_back(channel);
    return channel;
  }
  std::expected<std::unique_ptr<Listener>, Errno> listen(std::uint16_t port, std::function<void()> waker) override {
    if (ports.contains(port)) return std::unexpected(Errno::AddrInUse);
    ports[port] = {std::move(waker), {}};
    return std::make_unique<FakeListener>(*this, port);
  }
  // A client connects to the guest's port.
  std::shared_ptr<Channel> connect(std::uint16_t port) {
    auto channel = std::make_shared<Channel>(account_, capacity_bytes);
    channel->host_connected();
    ports.at(port).waiting.push_back(channel);
    ports.at(port).waker();
    return channel;
  }

  struct Port {
    std::function<void()> waker;
    std::deque<std::shared_ptr<Channel>> waiting;
  };
  std::map<std::uint16_t, Port> ports;
  std::vector<std::string> dialled;
  std::vector<std::shared_ptr<Channel>> channels;
  std::map<std::string, Errno, std::less<>> refuse;
  std::size_t capacity_bytes = Channel::kCapacityBytes;
  bool connect_at_once = true;

 private:
  struct FakeListener final : Listener {
    FakeListener(FakeNetwork& of, std::uint16_t at) : network(of), port(at) {}
    ~FakeListener() override { network.ports.erase(port); }
    std::shared_ptr<Channel> accept() override {
      auto& waiting = network.ports.at(port).waiting;
      if (waiting.empty()) return nullptr;
      auto channel = std::move(waiting.front());
      waiting.pop_front();
      return channel;
    }
    bool pending() const override { return !network.ports.at(port).waiting.empty(); }
    FakeNetwork& network;
    std::uint16_t port;
  };
  MemoryAccount& account_;
};

// The import called `name`.
inline const wasm::Import& find_import(std::string_view name) {
  for (const wasm::ImportModule& module : Process::imports()) {
    for (const wasm::Import& import : module.imports) {
      if (import.name == name) return import;
    }
  }
  CHECK(false && "no such import");
  __builtin_unreachable();
}

class TestGuest {
 public:
  struct Options {
    std::uint64_t limit_bytes = 64 << 20;
    std::size_t memory_bytes = 256 * 1024;
    std::uint32_t descriptors_max = 1000;
    std::vector<std::string> arguments = {"guest"};
    std::vector<std::string> environment;
    std::string stdin_bytes;
    bool terminal = false;
    bool network = true;
    std::function<void(std::span<std::byte>)> random;
  };
  static constexpr Fd kRoot = 3;
  static constexpr Rights kReadWrite = rights::kFdRead | rights::kFdWrite | rights::kFdSeek;

  TestGuest() : TestGuest(Options{}) {}
  explicit TestGuest(Options options)
      : account(options.limit_bytes), network(account), memory_bytes(options.memory_bytes) {
    volume = Volume::create({.clock = clock, .account = &account});
    root = volume->make_root();
    process = std::make_unique<Process>(Process::Options{
        .arguments = options.arguments,
        .environment = options.environment,
        .preopens = {{"/", root, true}},
        .stdin_bytes = options.stdin_bytes,
        .standard_output = out,
        .standard_error = err,
        .network = options.network ? &network : nullptr,
        .account = account,
        .clock = clock,
        .wake = [this] { ++wakes; },
        .descriptors_max = options.descriptors_max,
        .terminal = options.terminal,
        .random = options.random,
    });
  }
  ~TestGuest() { shut_down(); }
  // Ends process and tree; the account must then be empty.
  void shut_down() {
    if (process == nullptr) return;
    process.reset();
    network.channels.clear();
    for (auto& [port, waiting] : network.ports) waiting.waiting.clear();
    root.reset();
    volume.reset();
    CHECK(account.used_bytes() == 0);
  }

  wasm::Memory memory() { return {memory_bytes.data(), memory_bytes.size()}; }

  // --- Calling ---
  struct Result {
    wasm::Verdict verdict;
    std::uint64_t value;
  };
  Result call_raw(std::string_view name, std::initializer_list<std::uint64_t> arguments) {
    const wasm::Import& import = find_import(name);
    CHECK(import.parameters.size() == arguments.size());
    wasm::Value values[16] = {};
    std::size_t i = 0;
    for (const std::uint64_t argument : arguments) values[i++].u64 = argument;
    const wasm::Verdict verdict = import.call(process.get(), memory(), values);
    return {verdict, values[0].u64};
  }
  template <typename... Arguments>
  Errno call(std::string_view name, Arguments... arguments) {
    const Result result = call_raw(name, {static_cast<std::uint64_t>(arguments)...});
    CHECK(result.verdict == wasm::Verdict::Return);
    return static_cast<Errno>(result.value);
  }

  // --- The guest's memory: a heap that is used up, from 4096 on ---
  std::uint32_t take(std::size_t bytes) {
    at_ = (at_ + 7) & ~std::size_t{7};
    const std::size_t address = at_;
    at_ += bytes;
    CHECK(at_ <= memory_bytes.size());
    return static_cast<std::uint32_t>(address);
  }
  std::uint32_t put(std::string_view text) {
    const std::uint32_t address = take(text.size() + 1);
    std::memcpy(memory_bytes.data() + address, text.data(), text.size());
    return address;
  }
  template <typename T>
  T load(std::uint32_t address) {
    return *memory().load<T>(address);
  }
  template <typename T>
  std::uint32_t put_value(const T& value) {
    const std::uint32_t address = take(sizeof(T));
    CHECK(memory().store(address, value));
    return address;
  }
  std::string text_at(std::uint32_t address, std::size_t length) {
    const auto bytes = memory().slice(address, length);
    CHECK(bytes);
    return {reinterpret_cast<const char*>(bytes->data()), bytes->size()};
  }
  void forget() { at_ = 4096; }

  // --- Shorthands ---
  struct Opened {
    Errno error;
    Fd fd;
  };
  Opened open(std::string_view path, std::uint32_t oflags = 0, Rights base = kReadWrite, Rights inheriting = 0, std::uint32_t fdflags = 0,
              Fd directory = kRoot, std::uint32_t lookup = kLookupflagsSymlinkFollow) {
    const std::uint32_t fd_at = put_value<Fd>(0xdead);
    const Errno error = call("path_open", directory, lookup, put(path), path.size(), oflags, base, inheriting, fdflags, fd_at);
    return {error, load<Fd>(fd_at)};
  }
  Fd must_open(std::string_view path, std::uint32_t oflags = 0, Rights base = kReadWrite, Rights inheriting = 0, std::uint32_t fdflags = 0, Fd directory = kRoot) {
    const Opened opened = open(path, oflags, base, inheriting, fdflags, directory);
    CHECK(opened.error == Errno::Success);
    return opened.fd;
  }
  Fd open_folder(std::string_view path, Rights base = rights::kDirectory, Rights inheriting = rights::kAll) {
    return must_open(path, kOflagsDirectory, base, inheriting);
  }
  Errno make_folder(std::string_view path) { return call("path_create_directory", kRoot, put(path), path.size()); }
  Errno symlink(std::string_view target, std::string_view path) { return call("path_symlink", put(target), target.size(), kRoot, put(path), path.size()); }
  Errno unlink(std::string_view path, Fd directory = kRoot) { return call("path_unlink_file", directory, put(path), path.size()); }
  Errno remove_folder(std::string_view path, Fd directory = kRoot) { return call("path_remove_directory", directory, put(path), path.size()); }
  Errno rename(std::string_view from, std::string_view to, Fd from_fd = kRoot, Fd to_fd = kRoot) {
    return call("path_rename", from_fd, put(from), from.size(), to_fd, put(to), to.size());
  }
  Errno link(std::string_view from, std::string_view to, Fd from_fd = kRoot, Fd to_fd = kRoot, std::uint32_t lookup = 0) {
    return call("path_link", from_fd, lookup, put(from), from.size(), to_fd, put(to), to.size());
  }
  struct Stat {
    Errno error;
    Filestat stat;
  };
  Stat stat(std::string_view path, std::uint32_t lookup = 0, Fd directory = kRoot) {
    const std::uint32_t at = put_value(Filestat{});
    const Errno error = call("path_filestat_get", directory, lookup, put(path), path.size(), at);
    return {error, load<Filestat>(at)};
  }
  Filestat fd_stat(Fd fd) {
    const std::uint32_t at = put_value(Filestat{});
    CHECK(call("fd_filestat_get", fd, at) == Errno::Success);
    return load<Filestat>(at);
  }
  Fdstat fdstat(Fd fd) {
    const std::uint32_t at = put_value(Fdstat{});
    CHECK(call("fd_fdstat_get", fd, at) == Errno::Success);
    return load<Fdstat>(at);
  }
  struct Wrote {
    Errno error;
    std::uint32_t bytes;
  };
  Wrote write(Fd fd, std::string_view text) {
    const std::uint32_t vector = put_value(Iovec{put(text), static_cast<std::uint32_t>(text.size())});
    const std::uint32_t size = put_value<std::uint32_t>(0);
    const Errno error = call("fd_write", fd, vector, 1, size);
    return {error, load<std::uint32_t>(size)};
  }
  struct Read {
    Errno error;
    std::string text;
  };
  Read read(Fd fd, std::uint32_t length) {
    const std::uint32_t buffer = take(length);
    const std::uint32_t vector = put_value(Iovec{buffer, length});
    const std::uint32_t size = put_value<std::uint32_t>(0);
    const Errno error = call("fd_read", fd, vector, 1, size);
    return {error, error == Errno::Success ? text_at(buffer, load<std::uint32_t>(size)) : ""};
  }
  // A file with this content.
  void put_file(std::string_view path, std::string_view content) {
    const Fd fd = must_open(path, kOflagsCreat | kOflagsTrunc);
    CHECK(write(fd, content).bytes == content.size());
    CHECK(call("fd_close", fd) == Errno::Success);
  }

  // --- poll_oneoff ---
  static Subscription on_fd(Eventtype type, Fd fd, std::uint64_t userdata = 0) {
    Subscription subscription{};
    subscription.userdata = userdata;
    subscription.type = type;
    subscription.fd = fd;
    return subscription;
  }
  static Subscription on_clock(ClockId id, Timestamp timeout, bool absolute = false, std::uint64_t userdata = 0) {
    Subscription subscription{};
    subscription.userdata = userdata;
    subscription.type = Eventtype::Clock;
    subscription.clock = {.id = id, .timeout = timeout, .flags = static_cast<std::uint16_t>(absolute ? kSubclockflagsAbstime : 0)};
    return subscription;
  }
  struct Polled {
    bool parked = false;
    Errno error = Errno::Success;
    std::vector<Event> events;
  };
  // Begins a poll; resume() goes on with it if it parked.
  Polled poll(const std::vector<Subscription>& subscriptions) {
    poll_count_ = static_cast<std::uint32_t>(subscriptions.size());
    poll_in_ = take(subscriptions.size() * sizeof(Subscription));
    poll_out_ = take(subscriptions.size() * sizeof(Event));
    poll_events_ = put_value<std::uint32_t>(0);
    if (!subscriptions.empty()) std::memcpy(memory_bytes.data() + poll_in_, subscriptions.data(), subscriptions.size() * sizeof(Subscription));
    return resume();
  }
  Polled resume() {
    const Result result = call_raw("poll_oneoff", {poll_in_, poll_out_, poll_count_, poll_events_});
    Polled polled;
    polled.parked = result.verdict == wasm::Verdict::Park;
    if (polled.parked) return polled;
    polled.error = static_cast<Errno>(result.value);
    if (polled.error != Errno::Success) return polled;
    for (std::uint32_t i = 0; i < load<std::uint32_t>(poll_events_); ++i) polled.events.push_back(load<Event>(poll_out_ + i * static_cast<std::uint32_t>(sizeof(Event))));
    return polled;
  }

  ManualClock clock;
  MemoryAccount account;
  TextSink out, err;
  FakeNetwork network;
  std::vector<std::byte> memory_bytes;
  int wakes = 0;
  std::shared_ptr<Volume> volume;
  std::shared_ptr<Directory> root;
  std::unique_ptr<Process> process;

 private:
  std::size_t at_ = 4096;
  std::uint32_t poll_in_ = 0, poll_out_ = 0, poll_count_ = 0, poll_events_ = 0;
};

inline std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }

}  // namespace dormouse::wasi::test
