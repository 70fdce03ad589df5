// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which sanitizer this was built with. DORMOUSE_ASAN and DORMOUSE_TSAN are for what must not be compiled otherwise; all else asks the constants.
//
// DORMOUSE_UNSEEN_BY_TSAN is for functions that a signal handler runs at any moment: TSan's runtime may have been interrupted with a lock held,
// so nothing in them may call it. no_sanitize("thread") would still report entry and exit. They call only others of their kind, and of
// atomic operations the compiler's own: std::atomic's functions are not inlined into them, and are seen.
//
// Threads: any.

namespace dormouse {

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define DORMOUSE_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define DORMOUSE_TSAN 1
#endif
#endif

#ifdef DORMOUSE_TSAN
#define DORMOUSE_UNSEEN_BY_TSAN __attribute__((disable_sanitizer_instrumentation))
#else
#define DORMOUSE_UNSEEN_BY_TSAN
#endif

#ifdef DORMOUSE_ASAN
inline constexpr bool kAddressSanitizer = true;
#else
inline constexpr bool kAddressSanitizer = false;
#endif
#ifdef DORMOUSE_TSAN
inline constexpr bool kThreadSanitizer = true;
#else
inline constexpr bool kThreadSanitizer = false;
#endif
inline constexpr bool kSanitized = kAddressSanitizer || kThreadSanitizer;

}  // namespace dormouse
