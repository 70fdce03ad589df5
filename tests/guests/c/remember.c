// SPDX-License-Identifier: Apache-2.0
// remember ROUNDS [SEED [KIB]]: keeps what it has written, in memory that grows and on a deep stack, from park to park, and
// looks whether it is all still there. "remembered N rounds" and exit 0; else "forgot …" and exit 1.
#include "fixture.h"

enum { kPageWords = 4096 / sizeof(uint64_t), kPagesMax = 16384 };

static uint64_t state;
static uint64_t* pages[kPagesMax];
static uint64_t tags[kPagesMax];  // What each page is filled from; 0: zeros.
static size_t count;
static uint64_t rounds_left, rounds_done;

static uint64_t next(void) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

static uint64_t word(uint64_t tag, size_t i) { return tag == 0 ? 0 : tag * 0x9e3779b97f4a7c15ull + i; }

static void fill(size_t page, uint64_t tag) {
  tags[page] = tag;
  for (size_t i = 0; i < kPageWords; ++i) pages[page][i] = word(tag, i);
}

static void verify(size_t page) {
  for (size_t i = 0; i < kPageWords; ++i) {
    if (pages[page][i] == word(tags[page], i)) continue;
    printf("forgot page %zu word %zu after %llu rounds\n", page, i, (unsigned long long)rounds_done);
    fflush(stdout);
    exit(1);
  }
}

static void grow(size_t by) {
  for (size_t i = 0; i < by && count < kPagesMax; ++i) {
    void* at = aligned_alloc(4096, 4096);
    if (at == NULL) return;
    pages[count] = at;
    fill(count++, next() | 1);
  }
}

static void sleep_a_little(void) {
  __wasi_subscription_t clock = {.u.tag = __WASI_EVENTTYPE_CLOCK,
                                 .u.u.clock = {.id = __WASI_CLOCKID_MONOTONIC, .timeout = 1 + next() % 50000}};
  __wasi_event_t event;
  __wasi_size_t n = 0;
  EXPECT(SUCCESS, __wasi_poll_oneoff(&clock, &event, 1, &n));
}

// Sleeps at some depth of the machine's stack, whose values must be the same afterwards.
__attribute__((noinline)) static uint64_t deep(unsigned depth) {
  uint64_t kept[4] = {next(), next(), next(), next()};
  volatile uint64_t* before = kept;
  uint64_t sum = before[0] ^ before[1] ^ before[2] ^ before[3];
  if (depth == 0) {
    sleep_a_little();
  } else {
    deep(depth - 1);
  }
  if ((before[0] ^ before[1] ^ before[2] ^ before[3]) != sum) {
    say("forgot the stack");
    exit(1);
  }
  return sum;
}

int main(int argc, char** argv) {
  rounds_left = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000;
  state = (argc > 2 ? strtoull(argv[2], NULL, 10) : 1) * 2 + 1;
  size_t kib = argc > 3 ? strtoull(argv[3], NULL, 10) : 512;
  grow(kib / 4);
  say("remembering");
  for (; rounds_left > 0; --rounds_left, ++rounds_done) {
    deep((unsigned)(next() % 300));
    for (int i = 0; i < 8; ++i) verify(next() % count);
    for (uint64_t i = next() % 6; i > 0; --i) fill(next() % count, next() % 4 == 0 ? 0 : next() | 1);
    if (next() % 256 == 0) grow(next() % 40);
    if (rounds_done % 512 == 0 || rounds_left == 1) {
      for (size_t i = 0; i < count; ++i) verify(i);
    }
  }
  printf("remembered %llu rounds\n", (unsigned long long)rounds_done);
  fflush(stdout);
  return 0;
}
