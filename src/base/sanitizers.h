// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which sanitizer this was built with. DORMOUSE_ASAN and DORMOUSE_TSAN are for what must not be compiled otherwise; all else asks the constants.
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
