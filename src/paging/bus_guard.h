// SPDX-License-Identifier: Apache-2.0
#pragma once
// What happens when a page of a sleeping guest's file cannot be read back just as the guest touches it: SIGBUS.
//
// Without this the host dies of it. With it the page is replaced by zeros, the PagedMemory is lost(), and whoever runs the
// guest is told so that it runs no further. Only the memory is guarded: the stack is read by wake(), which can fail.
//
// Threads: install() once; a Scope belongs to its thread.

#include <csignal>

#include "base/result.h"
#include "base/types.h"

namespace dormouse::paging {

class PagedMemory;

class BusGuard final : Immovable {
 public:
  // The process's answer to SIGBUS; a signal that is not ours goes where it would have gone. Again: nothing more happens.
  static void install();

  // While it lives, this thread runs the guest of `memory` (null: of none). `on_lost` is called in a signal handler.
  class Scope final : Immovable {
   public:
    Scope(PagedMemory* memory, void (*on_lost)(void*), void* context) noexcept;
    ~Scope();
  };

 private:
  static void on_signal(int number, siginfo_t* info, void* context) noexcept;
};

}  // namespace dormouse::paging
