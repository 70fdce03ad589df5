// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the fixture guests share: checks that name their line, and small pieces of blocking I/O on
// streams. A failed check prints "FAILED file:line: what" on stderr and exits with the line number.

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wasi/api.h>

__attribute__((format(printf, 3, 4))) static inline void fixture_failed(
    const char* file, int line, const char* format, ...) {
  va_list args;
  va_start(args, format);
  fprintf(stderr, "FAILED %s:%d: ", file, line);
  vfprintf(stderr, format, args);
  fputc('\n', stderr);
  va_end(args);
  fflush(stdout);
#ifndef FIXTURE_COMPARE
  __wasi_proc_exit((__wasi_exitcode_t)line);
#endif
}

// The condition holds.
#define CHECK(condition)                                                       \
  do {                                                                         \
    if (!(condition)) fixture_failed(__FILE_NAME__, __LINE__, "%s (errno %d)", #condition, errno); \
  } while (0)

// A preview 1 call returns exactly this errno, named without its prefix: EXPECT(BADF, __wasi_fd_sync(99)).
#define EXPECT(name, call)                                                     \
  do {                                                                         \
    int got_ = (call);                                                         \
    if (got_ != __WASI_ERRNO_##name)                                           \
      fixture_failed(__FILE_NAME__, __LINE__, "%s = %d, not " #name " (%d)", #call, got_, __WASI_ERRNO_##name); \
  } while (0)

// The same where the specification leaves a choice.
#define EXPECT_ANY(first, second, call)                                        \
  do {                                                                         \
    int got_ = (call);                                                         \
    if (got_ != __WASI_ERRNO_##first && got_ != __WASI_ERRNO_##second)         \
      fixture_failed(__FILE_NAME__, __LINE__, "%s = %d, neither " #first " nor " #second, #call, got_); \
  } while (0)

// A pointer outside of the memory, and a value that an enumeration or a set of flags does not have, are errnos here.
// Other hosts trap: CFLAGS=-DFIXTURE_COMPARE leaves these out and goes on after a failure.
#ifdef FIXTURE_COMPARE
#define EXPECT_FAULT(call) (void)sizeof(call)
#define EXPECT_BAD_VALUE(call) (void)sizeof(call)
#else
#define EXPECT_FAULT(call) EXPECT(FAULT, call)
#define EXPECT_BAD_VALUE(call) EXPECT(INVAL, call)
#endif

#define UNUSED __attribute__((unused))

UNUSED static void say(const char* line) {
  puts(line);
  fflush(stdout);
}

// Parks until `fd` is ready for `events` (POLLRDNORM, POLLWRNORM).
UNUSED static void wait_for(int fd, short events) {
  struct pollfd one = {.fd = fd, .events = events};
  CHECK(poll(&one, 1, -1) == 1);
}

UNUSED static void write_all(int fd, const void* bytes, size_t size) {
  const char* at = bytes;
  while (size > 0) {
    ssize_t n = write(fd, at, size);
    if (n < 0 && errno == EAGAIN) {
      wait_for(fd, POLLWRNORM);
      continue;
    }
    CHECK(n > 0);
    at += n;
    size -= (size_t)n;
  }
}

// Reads some bytes; parks while there are none. 0 at the end, -1 when the stream failed.
UNUSED static ssize_t read_some(int fd, void* bytes, size_t size) {
  for (;;) {
    ssize_t n = read(fd, bytes, size);
    if (n < 0 && errno == EAGAIN) {
      wait_for(fd, POLLRDNORM);
      continue;
    }
    return n;
  }
}

// Parks for ever: until something kills this guest.
UNUSED static void park(void) {
  __wasi_subscription_t clock = {.u.tag = __WASI_EVENTTYPE_CLOCK,
                                 .u.u.clock = {.id = __WASI_CLOCKID_MONOTONIC, .timeout = 3600ull * 1000000000ull}};
  for (;;) {
    __wasi_event_t event;
    __wasi_size_t n = 0;
    EXPECT(SUCCESS, __wasi_poll_oneoff(&clock, &event, 1, &n));
  }
}
