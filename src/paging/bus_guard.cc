// SPDX-License-Identifier: Apache-2.0
#include "paging/bus_guard.h"

#include <sys/mman.h>

#include <mutex>

#include "base/check.h"
#include "paging/paged_memory.h"

namespace dormouse::paging {
namespace {

struct Guarded {
  PagedMemory* memory = nullptr;
  void (*on_lost)(void*) = nullptr;
  void* context = nullptr;
};
thread_local Guarded guarded;
struct sigaction earlier;

}  // namespace

BusGuard::Scope::Scope(PagedMemory* memory, void (*on_lost)(void*), void* context) noexcept { guarded = {memory, on_lost, context}; }
BusGuard::Scope::~Scope() { guarded = {}; }

void BusGuard::install() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action{};
    action.sa_sigaction = &BusGuard::on_signal;
    // On the stack that the engine gives each thread for signals: the guest's own may be what is short.
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    CHECK(::sigaction(SIGBUS, &action, &earlier) == 0);
  });
}

void BusGuard::on_signal(int number, siginfo_t* info, void* context) noexcept {
  if (PagedMemory* memory = guarded.memory; memory != nullptr && info->si_code > 0) {
    const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr) / page_bytes() * page_bytes();
    const std::span<std::byte> bytes = memory->regions_.memory;
    const auto begin = reinterpret_cast<std::uintptr_t>(bytes.data());
    if (address >= begin && address < begin + bytes.size() &&
        ::mmap(reinterpret_cast<void*>(address), page_bytes(), PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED) {
      memory->lost_.store(true, std::memory_order_relaxed);
      guarded.on_lost(guarded.context);
      return;
    }
  }
  if ((earlier.sa_flags & SA_SIGINFO) != 0) {
    earlier.sa_sigaction(number, info, context);
  } else if (earlier.sa_handler != SIG_DFL && earlier.sa_handler != SIG_IGN) {
    earlier.sa_handler(number);
  } else {
    // The faulting instruction is run again, and this time ends the process.
    ::signal(SIGBUS, SIG_DFL);
  }
}

}  // namespace dormouse::paging
