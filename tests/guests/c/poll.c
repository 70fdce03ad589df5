// SPDX-License-Identifier: Apache-2.0
// poll [zero]: poll_oneoff on clocks, files, standard streams and bad input. Nothing here waits for anything outside.
// With "zero" it polls without a subscription and prints the errno (or parks for ever).
#include "fixture.h"
#include "raw.h"

#define MANY 10000
static __wasi_subscription_t in[MANY];
static __wasi_event_t out[MANY];

static uint64_t now(__wasi_clockid_t id) {
  __wasi_timestamp_t time = 0;
  EXPECT(SUCCESS, __wasi_clock_time_get(id, 1, &time));
  return time;
}

static void clock_in(size_t i, __wasi_clockid_t id, uint64_t timeout, __wasi_subclockflags_t flags) {
  memset(&in[i], 0, sizeof(in[i]));
  in[i].userdata = 0xfeed00000000ull + i;
  in[i].u.tag = __WASI_EVENTTYPE_CLOCK;
  in[i].u.u.clock.id = id;
  in[i].u.u.clock.timeout = timeout;
  in[i].u.u.clock.flags = flags;
}

static void fd_in(size_t i, __wasi_eventtype_t type, int fd) {
  memset(&in[i], 0, sizeof(in[i]));
  in[i].userdata = 0xfeed00000000ull + i;
  in[i].u.tag = type;
  in[i].u.u.fd_read.file_descriptor = fd;
}

static size_t poll_in(size_t count) {
  __wasi_size_t n = 0xdead;
  memset(out, 0xee, count * sizeof(out[0]));
  EXPECT(SUCCESS, __wasi_poll_oneoff(in, out, count, &n));
  CHECK(n >= 1 && n <= count);
  return n;
}

static void clocks(void) {
  const uint64_t ms = 1000000;
  uint64_t start = now(__WASI_CLOCKID_MONOTONIC);
  clock_in(0, __WASI_CLOCKID_MONOTONIC, 20 * ms, 0);
  CHECK(poll_in(1) == 1);
  CHECK(out[0].userdata == in[0].userdata && out[0].type == __WASI_EVENTTYPE_CLOCK && out[0].error == 0);
  CHECK(now(__WASI_CLOCKID_MONOTONIC) - start >= 20 * ms);

  start = now(__WASI_CLOCKID_MONOTONIC);
  clock_in(0, __WASI_CLOCKID_MONOTONIC, start + 10 * ms, __WASI_SUBCLOCKFLAGS_SUBSCRIPTION_CLOCK_ABSTIME);
  CHECK(poll_in(1) == 1);
  CHECK(now(__WASI_CLOCKID_MONOTONIC) >= start + 10 * ms);

  start = now(__WASI_CLOCKID_REALTIME);
  clock_in(0, __WASI_CLOCKID_REALTIME, start + 10 * ms, __WASI_SUBCLOCKFLAGS_SUBSCRIPTION_CLOCK_ABSTIME);
  CHECK(poll_in(1) == 1);
  CHECK(now(__WASI_CLOCKID_REALTIME) >= start + 9 * ms);
  clock_in(0, __WASI_CLOCKID_REALTIME, 5 * ms, 0);
  CHECK(poll_in(1) == 1);

  // What is past is due: absolute 0, relative 0.
  clock_in(0, __WASI_CLOCKID_REALTIME, 0, __WASI_SUBCLOCKFLAGS_SUBSCRIPTION_CLOCK_ABSTIME);
  CHECK(poll_in(1) == 1);
  clock_in(0, __WASI_CLOCKID_MONOTONIC, 0, 0);
  CHECK(poll_in(1) == 1);

  // The far future does not overflow into the past.
  clock_in(0, __WASI_CLOCKID_MONOTONIC, UINT64_MAX, 0);
  clock_in(1, __WASI_CLOCKID_MONOTONIC, UINT64_MAX, __WASI_SUBCLOCKFLAGS_SUBSCRIPTION_CLOCK_ABSTIME);
  clock_in(2, __WASI_CLOCKID_REALTIME, UINT64_MAX, 0);
  clock_in(3, __WASI_CLOCKID_MONOTONIC, 5 * ms, 0);
  CHECK(poll_in(4) == 1);
  CHECK(out[0].userdata == in[3].userdata);

  // A clock that is none is the subscription's error or the call's.
  clock_in(0, 9, 0, 0);
  clock_in(1, __WASI_CLOCKID_MONOTONIC, 0, 0);
#ifndef FIXTURE_COMPARE
  __wasi_size_t n = 0;
  int got = __wasi_poll_oneoff(in, out, 2, &n);
  CHECK(got == __WASI_ERRNO_INVAL || (got == 0 && n >= 1 && (out[0].error == __WASI_ERRNO_INVAL || n == 2)));
#endif
}

static void descriptors(const char* dir) {
  // Files are always ready, at once and together; a bad descriptor is its own event's error.
  char path[512];
  snprintf(path, sizeof(path), "%s/polled", dir);
  int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
  CHECK(fd >= 0);
  CHECK(write(fd, "0123456789", 10) == 10);
  CHECK(lseek(fd, 4, SEEK_SET) == 4);
  fd_in(0, __WASI_EVENTTYPE_FD_READ, fd);
  fd_in(1, __WASI_EVENTTYPE_FD_WRITE, fd);
  fd_in(2, __WASI_EVENTTYPE_FD_WRITE, 1);
  clock_in(3, __WASI_CLOCKID_MONOTONIC, UINT64_MAX / 2, 0);
  size_t n = poll_in(4);
  bool readable = false, writable = false, stdout_writable = false;
  for (size_t i = 0; i < n; ++i) {
    CHECK(out[i].error == 0);
    if (out[i].userdata == in[0].userdata) {
      CHECK(out[i].type == __WASI_EVENTTYPE_FD_READ && out[i].fd_readwrite.nbytes == 6);
      readable = true;
    }
    if (out[i].userdata == in[1].userdata) writable = true;
    if (out[i].userdata == in[2].userdata) stdout_writable = true;
    CHECK(out[i].userdata != in[3].userdata);
  }
  CHECK(readable && writable && stdout_writable);
  CHECK(close(fd) == 0);
  CHECK(unlink(path) == 0);

  fd_in(0, __WASI_EVENTTYPE_FD_READ, 99);
  clock_in(1, __WASI_CLOCKID_MONOTONIC, UINT64_MAX / 2, 0);
  CHECK(poll_in(2) == 1);
  CHECK(out[0].userdata == in[0].userdata && out[0].error == __WASI_ERRNO_BADF);
  fd_in(0, __WASI_EVENTTYPE_FD_WRITE, -1);
  CHECK(poll_in(2) == 1 && out[0].error == __WASI_ERRNO_BADF);
}

static void many(void) {
  for (size_t i = 0; i < MANY; ++i) clock_in(i, __WASI_CLOCKID_MONOTONIC, 0, 0);
  CHECK(poll_in(MANY) == MANY);
  static bool seen[MANY];
  for (size_t i = 0; i < MANY; ++i) {
    size_t which = (size_t)(out[i].userdata - 0xfeed00000000ull);
    CHECK(which < MANY && !seen[which]);
    seen[which] = true;
  }
  // One of them is due.
  for (size_t i = 0; i < MANY; ++i) clock_in(i, __WASI_CLOCKID_MONOTONIC, 3600000000000ull + i, 0);
  clock_in(7777, __WASI_CLOCKID_MONOTONIC, 1000000, 0);
  CHECK(poll_in(MANY) == 1);
  CHECK(out[0].userdata == in[7777].userdata);
  for (size_t i = 0; i < MANY; ++i) fd_in(i, __WASI_EVENTTYPE_FD_READ, 50000 + (int)i);
  CHECK(poll_in(MANY) == MANY);
  for (size_t i = 0; i < MANY; ++i) CHECK(out[i].error == __WASI_ERRNO_BADF);
}

static void bad_input(void) {
  __wasi_size_t n = 0;
  clock_in(0, __WASI_CLOCKID_MONOTONIC, 0, 0);
  EXPECT_FAULT(raw_poll_oneoff(MEMORY_END, ADDRESS(out), 1, ADDRESS(&n)));
  EXPECT_FAULT(raw_poll_oneoff(MEMORY_END - 47, ADDRESS(out), 1, ADDRESS(&n)));
  EXPECT_FAULT(raw_poll_oneoff(ADDRESS(in), MEMORY_END - 31, 1, ADDRESS(&n)));
  EXPECT_FAULT(raw_poll_oneoff(ADDRESS(in), ADDRESS(out), 1, MEMORY_END));
#ifndef FIXTURE_COMPARE
  // Counts that no memory holds, some of which overflow 32 bits times 48.
  uint32_t counts[] = {UINT32_MAX, UINT32_MAX / 48 + 1, 0x05555556, 1u << 28};
  for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); ++i)
    EXPECT_ANY(FAULT, INVAL, raw_poll_oneoff(ADDRESS(in), ADDRESS(out), counts[i], ADDRESS(&n)));
  in[0].u.tag = 9;
  EXPECT(INVAL, __wasi_poll_oneoff(in, out, 1, &n));
#endif
  // Events over the subscriptions themselves.
  clock_in(0, __WASI_CLOCKID_MONOTONIC, 0, 0);
  EXPECT(SUCCESS, raw_poll_oneoff(ADDRESS(in), ADDRESS(in), 1, ADDRESS(&n)));
  CHECK(n == 1 && ((__wasi_event_t*)in)->userdata == 0xfeed00000000ull);
}

int main(int argc, char** argv) {
  const char* dir = "/tmp";
  if (argc > 1 && strcmp(argv[1], "zero") == 0) {
    __wasi_size_t n = 0;
    say("polling nothing");
    printf("errno %d\n", raw_poll_oneoff(ADDRESS(in), ADDRESS(out), 0, ADDRESS(&n)));
    return 0;
  }
  if (argc > 1) dir = argv[1];
  clocks();
  descriptors(dir);
  many();
  bad_input();
  say("ok");
  return 0;
}
