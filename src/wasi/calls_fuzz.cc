// SPDX-License-Identifier: Apache-2.0
// A random sequence of calls with random arguments over a memory of 64 KiB.
// Oracle: nothing outside the memory is touched (ASan), the account never passes its limit, each answer is an errno, only
// poll_oneoff parks, and when all is over everything was given back to the account (TestGuest's end).

#include <algorithm>

#include "wasi/test_guest.h"

using namespace dormouse;
using namespace dormouse::wasi;
using dormouse::wasi::test::TestGuest;

namespace {

class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}
  bool empty() const { return size_ == 0; }
  std::uint8_t byte() {
    if (size_ == 0) return 0;
    --size_;
    return *data_++;
  }
  std::uint64_t wide() {
    std::uint64_t value = 0;
    for (int i = 0; i < 8; ++i) value = value << 8 | byte();
    return value;
  }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
};

constexpr std::string_view kPaths[] = {"a",        "b",       "a/b",       "a/b/c",        "./a//",    "..",        "a/../b", "link",          "link/x", "shared",
                                       "shared/a", "tmp/..",  "net/kube",  "net/listen/1", "run/signals", "net/tcp/h:1", "ro/key", "ro", "shared/b", "\xff"};

// Where the texts of kPaths lie: (address, length), from 1024 on.
void lay_out(TestGuest& guest, std::uint32_t (&addresses)[std::size(kPaths)]) {
  std::uint32_t at = 1024;
  for (std::size_t i = 0; i < std::size(kPaths); ++i) {
    std::memcpy(guest.memory_bytes.data() + at, kPaths[i].data(), kPaths[i].size());
    addresses[i] = at;
    at += static_cast<std::uint32_t>(kPaths[i].size());
  }
}

std::uint64_t argument(Input& input, std::uint8_t kind, char type) {
  switch (kind % 6) {
    case 0: return input.byte() % 16;                         // A descriptor, a count, a flag.
    case 1: return 64 + input.byte() * 8u;                    // An address near the start.
    case 2: return std::uint64_t{1} << (input.byte() % 64);
    case 3: return 65'536u - input.byte();                    // At the end of the memory.
    case 4: return ~std::uint64_t{0} - input.byte() % 4;
    default: return type == 'I' ? rights::kAll : input.wide();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  TestGuest guest({.limit_bytes = 300'000, .memory_bytes = 64 * 1024, .descriptors_max = 24, .stdin_bytes = "standard input",
                   .random = [](std::span<std::byte> bytes) { std::fill(bytes.begin(), bytes.end(), std::byte{0x5a}); }});
  guest.out.text_bytes_max = guest.err.text_bytes_max = 0;
  guest.network.capacity_bytes = 100;
  (void)make_directories(guest.root, "tmp");
  auto shared = guest.volume->make_root();
  (void)put_mount(guest.root, "shared", std::make_shared<Mount>(shared));
  (void)put_mount(guest.root, "ro", std::make_shared<Mount>(shared, true));
  shared.reset();
  std::uint32_t addresses[std::size(kPaths)];
  const auto imports = Process::imports()[0].imports;
  wasm::Value parked[16];
  bool is_parked = false;
  for (int steps = 0; !input.empty() && steps < 400; ++steps) {
    lay_out(guest, addresses);
    const std::uint8_t action = input.byte();
    if (is_parked) {
      // A parked guest does nothing but be resumed.
      guest.clock.advance(std::chrono::seconds(1 + action));
      if (!guest.network.channels.empty()) (void)guest.network.channels[action % guest.network.channels.size()]->host_write(test::bytes_of("xyz"));
      wasm::Value values[16];
      std::copy(std::begin(parked), std::end(parked), values);
      is_parked = test::find_import("poll_oneoff").call(guest.process.get(), guest.memory(), values) == wasm::Verdict::Park;
      if (is_parked && action % 4 == 0) break;
      continue;
    }
    if (action >= 240) {
      if (guest.network.channels.empty()) continue;
      Channel& channel = *guest.network.channels[input.byte() % guest.network.channels.size()];
      std::byte buffer[50];
      switch (action % 4) {
        case 0: (void)channel.host_write(test::bytes_of("bytes from the host")); break;
        case 1: (void)channel.host_read(buffer); break;
        case 2: channel.host_end(); break;
        default: channel.host_fail(Errno::ConnReset); break;
      }
      continue;
    }
    const wasm::Import& import = imports[action % imports.size()];
    wasm::Value values[16] = {};
    for (std::size_t i = 0; i < import.parameters.size(); ++i) {
      const std::uint8_t kind = input.byte();
      // A pair of path and length where the function may want one.
      if (kind >= 128 && i + 1 < import.parameters.size() && import.name.starts_with("path_") && import.parameters[i] == 'i' && import.parameters[i + 1] == 'i') {
        values[i].u64 = addresses[kind % std::size(kPaths)];
        values[++i].u64 = kPaths[kind % std::size(kPaths)].size();
        continue;
      }
      values[i].u64 = argument(input, kind, import.parameters[i]);
      if (import.parameters[i] == 'i') values[i].u64 &= 0xffff'ffff;
    }
    if (import.name == "random_get" && values[1].u32 > 1000) values[1].u32 %= 1000;
    wasm::Value before[16];
    std::copy(std::begin(values), std::end(values), before);
    const wasm::Verdict verdict = import.call(guest.process.get(), guest.memory(), values);
    CHECK(verdict != wasm::Verdict::Trap);
    CHECK(guest.account.used_bytes() <= guest.account.limit_bytes());
    if (verdict == wasm::Verdict::Park) {
      CHECK(import.parks);
      std::copy(std::begin(before), std::end(before), parked);
      is_parked = true;
    }
    if (verdict == wasm::Verdict::Exit) CHECK(import.name == "proc_exit" || import.name == "proc_raise");
    if (verdict == wasm::Verdict::Return && import.results == "i") CHECK(values[0].u64 <= static_cast<std::uint64_t>(Errno::NotCapable));
  }
  return 0;
}
