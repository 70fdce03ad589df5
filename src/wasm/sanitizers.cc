// SPDX-License-Identifier: Apache-2.0
// What the sanitizers must know of wasmtime, for every program that links it (strong symbols: the runtime has weak ones).
// Empty in other builds.
#include "base/sanitizers.h"
#include "wasm/engine_parts.h"

#ifdef DORMOUSE_ASAN
#include <sanitizer/lsan_interface.h>

// Guests run on stacks of their own and wasmtime handles their SIGSEGV, so ASan must not move frames elsewhere.
extern "C" const char* __asan_default_options() {
  return "detect_stack_use_after_return=0:allow_user_segv_handler=1";
}
// Instance::abandon() gives up a fiber whose stack is gone, and with it what only that stack pointed to.
extern "C" const char* __lsan_default_suppressions() { return "leak:make_fiber_unchecked\n"; }
#endif

#ifdef DORMOUSE_TSAN
// A guest's trap is a signal of its own making, in which wasmtime may allocate: no libc call was interrupted.
extern "C" const char* __tsan_default_options() { return "report_signal_unsafe=0"; }

// Rust code is not instrumented: TSan sees its memory cross threads, through libc, but not the locks it does so
// under. C++ code comes by other names (operator new, __tsan_memcpy), so its races stay visible.
extern "C" const char* __tsan_default_suppressions() {
  return "race_top:interceptor_free$\n"
         "race_top:interceptor_malloc$\n"
         "race_top:interceptor_calloc$\n"
         "race_top:interceptor_realloc$\n"
         "race_top:interceptor_posix_memalign$\n"
         "race_top:interceptor_memcpy$\n"
         "race_top:interceptor_memmove$\n"
         "race_top:interceptor_memset$\n"
         "race_top:interceptor_memcmp$\n"
         "race_top:interceptor_bcmp$\n";
}
#endif

namespace dormouse::wasm {
// Engine refers to it, or the linker would leave this file out of the program.
void keep_sanitizer_options() {}

void expect_leak([[maybe_unused]] const void* object) {
#ifdef DORMOUSE_ASAN
  __lsan_ignore_object(object);
#endif
}
}  // namespace dormouse::wasm
