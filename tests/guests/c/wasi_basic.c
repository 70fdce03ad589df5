// SPDX-License-Identifier: Apache-2.0
// wasi_basic: arguments, environment, clocks, randomness, yield, raise: each with good and with bad pointers.
#include "fixture.h"
#include "raw.h"

static void arguments(int argc, char** argv) {
  __wasi_size_t count = 0, size = 0;
  EXPECT(SUCCESS, __wasi_args_sizes_get(&count, &size));
  CHECK(count == (__wasi_size_t)argc);
  size_t sum = 0;
  for (int i = 0; i < argc; ++i) sum += strlen(argv[i]) + 1;
  CHECK(size == sum);
  uint8_t** pointers = calloc(count, sizeof(*pointers));
  uint8_t* bytes = malloc(size + 1);
  bytes[size] = 0xee;
  EXPECT(SUCCESS, __wasi_args_get(pointers, bytes));
  CHECK(bytes[size] == 0xee);
  CHECK(pointers[0] == bytes);
  for (int i = 0; i < argc; ++i) CHECK(strcmp((char*)pointers[i], argv[i]) == 0);
  EXPECT_FAULT(raw_args_sizes_get(MEMORY_END, ADDRESS(&size)));
  EXPECT_FAULT(raw_args_sizes_get(ADDRESS(&count), MEMORY_END - 3));
  EXPECT_FAULT(raw_args_sizes_get(FAR_END, FAR_END));
  EXPECT_FAULT(raw_args_get(FAR_END, ADDRESS(bytes)));
  EXPECT_FAULT(raw_args_get(ADDRESS(pointers), MEMORY_END));
}

static void environment(void) {
  __wasi_size_t count = 0, size = 0;
  EXPECT(SUCCESS, __wasi_environ_sizes_get(&count, &size));
  uint8_t** pointers = calloc(count + 1, sizeof(*pointers));
  uint8_t* bytes = malloc(size + 1);
  bytes[size] = 0xee;
  EXPECT(SUCCESS, __wasi_environ_get(pointers, bytes));
  CHECK(bytes[size] == 0xee);
  size_t sum = 0;
  for (__wasi_size_t i = 0; i < count; ++i) {
    CHECK(strchr((char*)pointers[i], '=') != NULL);
    sum += strlen((char*)pointers[i]) + 1;
  }
  CHECK(sum == size);
  EXPECT_FAULT(raw_environ_sizes_get(MEMORY_END, ADDRESS(&size)));
  EXPECT_FAULT(raw_environ_sizes_get(ADDRESS(&count), FAR_END));
  if (count > 0) {
    EXPECT_FAULT(raw_environ_get(FAR_END, ADDRESS(bytes)));
    EXPECT_FAULT(raw_environ_get(ADDRESS(pointers), FAR_END));
  }
}

static void clocks(void) {
  __wasi_timestamp_t first = 0, second = 0, resolution = 0;
  for (__wasi_clockid_t id = __WASI_CLOCKID_REALTIME; id <= __WASI_CLOCKID_MONOTONIC; ++id) {
    EXPECT(SUCCESS, __wasi_clock_res_get(id, &resolution));
    CHECK(resolution > 0 && resolution <= 1000000000);
    EXPECT(SUCCESS, __wasi_clock_time_get(id, 1, &first));
    EXPECT(SUCCESS, __wasi_clock_time_get(id, UINT64_MAX, &second));
    if (id == __WASI_CLOCKID_MONOTONIC) CHECK(second >= first);
  }
  EXPECT(SUCCESS, __wasi_clock_time_get(__WASI_CLOCKID_REALTIME, 0, &first));
  CHECK(first > 1700000000ull * 1000000000ull);
  // The CPU clocks may be there or not; nothing else may.
  for (uint32_t id = 2; id <= 3; ++id) {
    int got = raw_clock_time_get(id, 0, ADDRESS(&first));
    CHECK(got == __WASI_ERRNO_SUCCESS || got == __WASI_ERRNO_INVAL || got == __WASI_ERRNO_NOTSUP || got == __WASI_ERRNO_BADF);
  }
  EXPECT_BAD_VALUE(raw_clock_time_get(4, 0, ADDRESS(&first)));
  EXPECT_BAD_VALUE(raw_clock_time_get(UINT32_MAX, 0, ADDRESS(&first)));
  EXPECT_BAD_VALUE(raw_clock_res_get(4, ADDRESS(&first)));
  EXPECT_FAULT(raw_clock_time_get(__WASI_CLOCKID_MONOTONIC, 0, MEMORY_END - 7));
  EXPECT(SUCCESS, raw_clock_time_get(__WASI_CLOCKID_MONOTONIC, 0, MEMORY_END - 8));
  EXPECT_FAULT(raw_clock_res_get(__WASI_CLOCKID_MONOTONIC, FAR_END));
}

static void randomness(void) {
  static uint8_t large[1 << 20];
  uint8_t one[32], two[32];
  EXPECT(SUCCESS, __wasi_random_get(one, sizeof(one)));
  EXPECT(SUCCESS, __wasi_random_get(two, sizeof(two)));
  CHECK(memcmp(one, two, sizeof(one)) != 0);
  EXPECT(SUCCESS, __wasi_random_get(large, sizeof(large)));
  uint32_t histogram[256] = {0};
  for (size_t i = 0; i < sizeof(large); ++i) ++histogram[large[i]];
  // 4096 expected of each; 20 standard deviations of room.
  for (int i = 0; i < 256; ++i) CHECK(histogram[i] > 2800 && histogram[i] < 5400);
  memset(one, 0, sizeof(one));
  EXPECT(SUCCESS, __wasi_random_get(one, 0));
  CHECK(one[0] == 0);
  EXPECT_FAULT(raw_random_get(MEMORY_END, 1));
  EXPECT_FAULT(raw_random_get(MEMORY_END - 16, 17));
  EXPECT_FAULT(raw_random_get(16, UINT32_MAX));
  EXPECT_FAULT(raw_random_get(FAR_END, 64));
}

int main(int argc, char** argv) {
  arguments(argc, argv);
  environment();
  clocks();
  randomness();
  EXPECT(SUCCESS, __wasi_sched_yield());
  EXPECT_BAD_VALUE(raw_proc_raise(99));
  say("ok");
  return 0;
}
