// SPDX-License-Identifier: Apache-2.0
// wasi_fd [DIR]: the fd_* functions on files, a directory, standard streams and what is no descriptor. Works in DIR (/tmp).
#include "fixture.h"
#include "raw.h"

#define FILE_RIGHTS                                                                                            \
  (__WASI_RIGHTS_FD_DATASYNC | __WASI_RIGHTS_FD_READ | __WASI_RIGHTS_FD_SEEK | __WASI_RIGHTS_FD_FDSTAT_SET_FLAGS | \
   __WASI_RIGHTS_FD_SYNC | __WASI_RIGHTS_FD_TELL | __WASI_RIGHTS_FD_WRITE | __WASI_RIGHTS_FD_ADVISE |            \
   __WASI_RIGHTS_FD_ALLOCATE | __WASI_RIGHTS_FD_FILESTAT_GET | __WASI_RIGHTS_FD_FILESTAT_SET_SIZE |               \
   __WASI_RIGHTS_FD_FILESTAT_SET_TIMES | __WASI_RIGHTS_POLL_FD_READWRITE)

static int dir;

static __wasi_fd_t open_file(const char* name, __wasi_oflags_t oflags, __wasi_rights_t rights) {
  __wasi_fd_t fd = 0;
  EXPECT(SUCCESS, __wasi_path_open(dir, 0, name, oflags, rights, 0, 0, &fd));
  return fd;
}

static __wasi_size_t put(__wasi_fd_t fd, const char* text) {
  __wasi_ciovec_t iov = {(const uint8_t*)text, strlen(text)};
  __wasi_size_t n = 0;
  EXPECT(SUCCESS, __wasi_fd_write(fd, &iov, 1, &n));
  return n;
}

// What a read of up to `size` bytes gives, as text.
static const char* get(__wasi_fd_t fd, size_t size) {
  static char bytes[256];
  __wasi_iovec_t iov = {(uint8_t*)bytes, size};
  __wasi_size_t n = 0;
  EXPECT(SUCCESS, __wasi_fd_read(fd, &iov, 1, &n));
  bytes[n] = 0;
  return bytes;
}

static __wasi_filesize_t size_of(__wasi_fd_t fd) {
  __wasi_filestat_t stat;
  EXPECT(SUCCESS, __wasi_fd_filestat_get(fd, &stat));
  CHECK(stat.filetype == __WASI_FILETYPE_REGULAR_FILE);
  return stat.size;
}

static void no_descriptor(int fd) {
  __wasi_fdstat_t fdstat;
  __wasi_filestat_t filestat;
  __wasi_prestat_t prestat;
  __wasi_size_t n;
  __wasi_filesize_t at;
  uint8_t bytes[8];
  __wasi_iovec_t iov = {bytes, sizeof(bytes)};
  __wasi_ciovec_t ciov = {bytes, sizeof(bytes)};
  EXPECT(BADF, __wasi_fd_advise(fd, 0, 1, __WASI_ADVICE_NORMAL));
  EXPECT(BADF, __wasi_fd_allocate(fd, 0, 1));
  EXPECT(BADF, __wasi_fd_close(fd));
  EXPECT(BADF, __wasi_fd_datasync(fd));
  EXPECT(BADF, __wasi_fd_fdstat_get(fd, &fdstat));
  EXPECT(BADF, __wasi_fd_fdstat_set_flags(fd, 0));
  EXPECT(BADF, __wasi_fd_fdstat_set_rights(fd, 0, 0));
  EXPECT(BADF, __wasi_fd_filestat_get(fd, &filestat));
  EXPECT(BADF, __wasi_fd_filestat_set_size(fd, 0));
  EXPECT(BADF, __wasi_fd_filestat_set_times(fd, 0, 0, 0));
  EXPECT(BADF, __wasi_fd_pread(fd, &iov, 1, 0, &n));
  EXPECT(BADF, __wasi_fd_prestat_get(fd, &prestat));
  EXPECT(BADF, __wasi_fd_prestat_dir_name(fd, bytes, sizeof(bytes)));
  EXPECT(BADF, __wasi_fd_pwrite(fd, &ciov, 1, 0, &n));
  EXPECT(BADF, __wasi_fd_read(fd, &iov, 1, &n));
  EXPECT(BADF, __wasi_fd_readdir(fd, bytes, sizeof(bytes), 0, &n));
  EXPECT(BADF, __wasi_fd_renumber(fd, 1));
  EXPECT(BADF, __wasi_fd_seek(fd, 0, __WASI_WHENCE_SET, &at));
  EXPECT(BADF, __wasi_fd_sync(fd));
  EXPECT(BADF, __wasi_fd_tell(fd, &at));
  EXPECT(BADF, __wasi_fd_write(fd, &ciov, 1, &n));
}

static void position(void) {
  __wasi_fd_t fd = open_file("position", __WASI_OFLAGS_CREAT | __WASI_OFLAGS_TRUNC, FILE_RIGHTS);
  __wasi_filesize_t at = 99;
  CHECK(put(fd, "hello world") == 11);
  EXPECT(SUCCESS, __wasi_fd_tell(fd, &at));
  CHECK(at == 11);
  EXPECT(SUCCESS, __wasi_fd_seek(fd, 0, __WASI_WHENCE_SET, &at));
  CHECK(at == 0);
  CHECK(strcmp(get(fd, 5), "hello") == 0);
  EXPECT(SUCCESS, __wasi_fd_seek(fd, 1, __WASI_WHENCE_CUR, &at));
  CHECK(at == 6);
  CHECK(strcmp(get(fd, 200), "world") == 0);
  CHECK(strcmp(get(fd, 200), "") == 0);
  EXPECT(SUCCESS, __wasi_fd_seek(fd, -5, __WASI_WHENCE_END, &at));
  CHECK(at == 6);
  EXPECT(INVAL, __wasi_fd_seek(fd, -1, __WASI_WHENCE_SET, &at));
  EXPECT(INVAL, __wasi_fd_seek(fd, -100, __WASI_WHENCE_CUR, &at));
  EXPECT(INVAL, __wasi_fd_seek(fd, INT64_MIN, __WASI_WHENCE_END, &at));
  EXPECT_BAD_VALUE(__wasi_fd_seek(fd, 0, 7, &at));
  EXPECT(SUCCESS, __wasi_fd_tell(fd, &at));
  CHECK(at == 6);
  EXPECT_ANY(INVAL, OVERFLOW, __wasi_fd_seek(fd, INT64_MAX, __WASI_WHENCE_CUR, &at));
  // Behind the end: nothing to read; a write leaves a hole of zeros.
  EXPECT(SUCCESS, __wasi_fd_seek(fd, 20, __WASI_WHENCE_SET, &at));
  CHECK(strcmp(get(fd, 200), "") == 0);
  CHECK(size_of(fd) == 11);
  CHECK(put(fd, "!") == 1);
  CHECK(size_of(fd) == 21);
  uint8_t hole[10];
  __wasi_iovec_t iov = {hole, 9};
  __wasi_size_t n = 0;
  EXPECT(SUCCESS, __wasi_fd_pread(fd, &iov, 1, 11, &n));
  CHECK(n == 9);
  for (int i = 0; i < 9; ++i) CHECK(hole[i] == 0);
  EXPECT(SUCCESS, __wasi_fd_close(fd));
  no_descriptor((int)fd);
}

static void vectors(void) {
  __wasi_fd_t fd = open_file("vectors", __WASI_OFLAGS_CREAT | __WASI_OFLAGS_TRUNC, FILE_RIGHTS);
  __wasi_ciovec_t parts[3] = {{(const uint8_t*)"ab", 2}, {NULL, 0}, {(const uint8_t*)"cde", 3}};
  __wasi_size_t n = 0;
  EXPECT(SUCCESS, __wasi_fd_write(fd, parts, 3, &n));
  CHECK(n == 5);
  EXPECT(SUCCESS, __wasi_fd_write(fd, parts, 0, &n));
  CHECK(n == 0);
  __wasi_filesize_t at;
  EXPECT(SUCCESS, __wasi_fd_pwrite(fd, &parts[0], 1, 3, &n));
  CHECK(n == 2);
  EXPECT(SUCCESS, __wasi_fd_tell(fd, &at));
  CHECK(at == 5);
  uint8_t one[2] = {0}, two[9] = {0};
  __wasi_iovec_t into[2] = {{one, 2}, {two, 9}};
  EXPECT(SUCCESS, __wasi_fd_pread(fd, into, 2, 0, &n));
  CHECK(n == 5 && memcmp(one, "ab", 2) == 0 && memcmp(two, "cab", 3) == 0);
  EXPECT(SUCCESS, __wasi_fd_pread(fd, into, 2, 1000, &n));
  CHECK(n == 0);
  EXPECT_ANY(INVAL, FBIG, __wasi_fd_pwrite(fd, parts, 3, (__wasi_filesize_t)INT64_MAX + 1, &n));
  // Nothing may be allocated at the guest's word: the file would be 4 EiB.
  EXPECT_ANY(FBIG, NOSPC, __wasi_fd_pwrite(fd, parts, 3, (__wasi_filesize_t)1 << 62, &n));
  CHECK(size_of(fd) == 5);
  EXPECT_FAULT(raw_fd_write((int)fd, MEMORY_END, 1, ADDRESS(&n)));
  EXPECT_FAULT(raw_fd_write((int)fd, ADDRESS(parts), 1, MEMORY_END));
  EXPECT_FAULT(raw_fd_write((int)fd, ADDRESS(parts), UINT32_MAX, ADDRESS(&n)));
  EXPECT_FAULT(raw_fd_read((int)fd, FAR_END, 4, ADDRESS(&n)));
  __wasi_ciovec_t outside = {(const uint8_t*)(uintptr_t)(MEMORY_END - 4), 5};
  EXPECT_FAULT(__wasi_fd_write(fd, &outside, 1, &n));
  EXPECT_FAULT(__wasi_fd_pwrite(fd, &outside, 1, 0, &n));
  __wasi_iovec_t outside_too = {(uint8_t*)(uintptr_t)16, UINT32_MAX};
  EXPECT(SUCCESS, __wasi_fd_seek(fd, 0, __WASI_WHENCE_SET, &at));
  EXPECT_FAULT(__wasi_fd_read(fd, &outside_too, 1, &n));
  EXPECT_FAULT(__wasi_fd_pread(fd, &outside_too, 1, 0, &n));
  // A sum of lengths past 2^32, each within the memory.
  static __wasi_ciovec_t many[1024];
  for (int i = 0; i < 1024; ++i) many[i] = (__wasi_ciovec_t){(const uint8_t*)16, MEMORY_END - 16};
  int got = __wasi_fd_write(fd, many, 1024, &n);
  CHECK(got == 0 || got == __WASI_ERRNO_INVAL || got == __WASI_ERRNO_NOSPC || got == __WASI_ERRNO_FBIG);
  EXPECT(SUCCESS, __wasi_fd_filestat_set_size(fd, 0));
  EXPECT(SUCCESS, __wasi_fd_close(fd));
}

static void attributes(void) {
  __wasi_fd_t fd = open_file("attributes", __WASI_OFLAGS_CREAT | __WASI_OFLAGS_TRUNC, FILE_RIGHTS);
  put(fd, "0123456789");
  EXPECT(SUCCESS, __wasi_fd_sync(fd));
  EXPECT(SUCCESS, __wasi_fd_datasync(fd));
  EXPECT(SUCCESS, __wasi_fd_advise(fd, 0, 10, __WASI_ADVICE_WILLNEED));
  EXPECT(SUCCESS, __wasi_fd_advise(fd, 5, 0, __WASI_ADVICE_DONTNEED));
  EXPECT_BAD_VALUE(__wasi_fd_advise(fd, 0, 10, 9));
  EXPECT(SUCCESS, __wasi_fd_filestat_set_size(fd, 4));
  CHECK(size_of(fd) == 4);
  EXPECT(SUCCESS, __wasi_fd_filestat_set_size(fd, 30));
  CHECK(size_of(fd) == 30);
  EXPECT_ANY(FBIG, NOSPC, __wasi_fd_filestat_set_size(fd, (__wasi_filesize_t)1 << 62));
  CHECK(size_of(fd) == 30);
  int got = __wasi_fd_allocate(fd, 0, 100);
  if (got == __WASI_ERRNO_SUCCESS) {
    CHECK(size_of(fd) == 100);
    EXPECT(SUCCESS, __wasi_fd_allocate(fd, 0, 10));
    CHECK(size_of(fd) == 100);
    EXPECT(INVAL, __wasi_fd_allocate(fd, 0, 0));
    EXPECT_ANY(FBIG, NOSPC, __wasi_fd_allocate(fd, 0, (__wasi_filesize_t)1 << 62));
    CHECK(size_of(fd) == 100);
  } else {
    CHECK(got == __WASI_ERRNO_NOTSUP);
  }
  __wasi_filestat_t stat;
  EXPECT(SUCCESS, __wasi_fd_filestat_set_times(fd, 1000, 2000, __WASI_FSTFLAGS_ATIM | __WASI_FSTFLAGS_MTIM));
  EXPECT(SUCCESS, __wasi_fd_filestat_get(fd, &stat));
  CHECK(stat.atim == 1000 && stat.mtim == 2000 && stat.nlink == 1);
  EXPECT(SUCCESS, __wasi_fd_filestat_set_times(fd, 0, 0, __WASI_FSTFLAGS_MTIM_NOW));
  EXPECT(SUCCESS, __wasi_fd_filestat_get(fd, &stat));
  CHECK(stat.atim == 1000 && stat.mtim > 1700000000ull * 1000000000ull);
  EXPECT(INVAL, __wasi_fd_filestat_set_times(fd, 0, 0, __WASI_FSTFLAGS_MTIM | __WASI_FSTFLAGS_MTIM_NOW));
  EXPECT(INVAL, __wasi_fd_filestat_set_times(fd, 0, 0, __WASI_FSTFLAGS_ATIM | __WASI_FSTFLAGS_ATIM_NOW));
  EXPECT_FAULT(raw_fd_filestat_get((int)fd, MEMORY_END - 63));
  EXPECT_FAULT(raw_fd_fdstat_get((int)fd, MEMORY_END - 23));
  // Appending ignores the position.
  __wasi_filesize_t at;
  EXPECT(SUCCESS, __wasi_fd_filestat_set_size(fd, 4));
  EXPECT(SUCCESS, __wasi_fd_fdstat_set_flags(fd, __WASI_FDFLAGS_APPEND));
  __wasi_fdstat_t fdstat;
  EXPECT(SUCCESS, __wasi_fd_fdstat_get(fd, &fdstat));
  CHECK(fdstat.fs_flags == __WASI_FDFLAGS_APPEND && fdstat.fs_filetype == __WASI_FILETYPE_REGULAR_FILE);
  EXPECT(SUCCESS, __wasi_fd_seek(fd, 0, __WASI_WHENCE_SET, &at));
  put(fd, "end");
  CHECK(size_of(fd) == 7);
  EXPECT_BAD_VALUE(__wasi_fd_fdstat_set_flags(fd, 0xff00));
  EXPECT(SUCCESS, __wasi_fd_close(fd));
}

static void rights(void) {
  __wasi_fd_t fd = open_file("attributes", 0, __WASI_RIGHTS_FD_READ | __WASI_RIGHTS_FD_SEEK);
  __wasi_ciovec_t iov = {(const uint8_t*)"x", 1};
  __wasi_size_t n;
  EXPECT_ANY(NOTCAPABLE, BADF, __wasi_fd_write(fd, &iov, 1, &n));
  EXPECT_ANY(NOTCAPABLE, BADF, __wasi_fd_pwrite(fd, &iov, 1, 0, &n));
  CHECK(__wasi_fd_filestat_set_size(fd, 0) != __WASI_ERRNO_SUCCESS);
  int got = __wasi_fd_fdstat_set_rights(fd, __WASI_RIGHTS_FD_READ | __WASI_RIGHTS_FD_WRITE, 0);
  CHECK(got == __WASI_ERRNO_NOTCAPABLE || got == __WASI_ERRNO_NOTSUP);
  if (got == __WASI_ERRNO_NOTCAPABLE) {
    EXPECT(SUCCESS, __wasi_fd_fdstat_set_rights(fd, __WASI_RIGHTS_FD_READ, 0));
    EXPECT(NOTCAPABLE, __wasi_fd_fdstat_set_rights(fd, __WASI_RIGHTS_FD_READ | __WASI_RIGHTS_FD_SEEK, 0));
    __wasi_fdstat_t stat;
    EXPECT(SUCCESS, __wasi_fd_fdstat_get(fd, &stat));
    CHECK(stat.fs_rights_base == __WASI_RIGHTS_FD_READ && stat.fs_rights_inheriting == 0);
    CHECK(strcmp(get(fd, 4), "0123") == 0);
  }
  EXPECT(SUCCESS, __wasi_fd_close(fd));
}

static void standard_streams(void) {
  __wasi_fdstat_t fdstat;
  __wasi_filestat_t filestat;
  __wasi_filesize_t at;
  for (__wasi_fd_t fd = 1; fd <= 2; ++fd) {
    EXPECT(SUCCESS, __wasi_fd_fdstat_get(fd, &fdstat));
    EXPECT(SUCCESS, __wasi_fd_filestat_get(fd, &filestat));
    CHECK(fdstat.fs_filetype == filestat.filetype);
    CHECK(fdstat.fs_rights_base & __WASI_RIGHTS_FD_WRITE);
    EXPECT_ANY(SPIPE, NOTCAPABLE, __wasi_fd_seek(fd, 0, __WASI_WHENCE_CUR, &at));
    EXPECT_ANY(SPIPE, NOTCAPABLE, __wasi_fd_tell(fd, &at));
  }
  uint8_t byte;
  __wasi_iovec_t iov = {&byte, 1};
  __wasi_size_t n = 9;
  EXPECT(SUCCESS, __wasi_fd_read(0, &iov, 1, &n));
  CHECK(n == 0);
}

static void preopens(void) {
  __wasi_prestat_t prestat;
  EXPECT(SUCCESS, __wasi_fd_prestat_get(3, &prestat));
  CHECK(prestat.tag == __WASI_PREOPENTYPE_DIR);
  __wasi_size_t size = prestat.u.dir.pr_name_len;
  uint8_t* name = malloc(size + 1);
  name[size] = 0xee;
  EXPECT(SUCCESS, __wasi_fd_prestat_dir_name(3, name, size));
  CHECK(name[size] == 0xee);
  CHECK(name[0] == '/');
  EXPECT_ANY(NAMETOOLONG, INVAL, __wasi_fd_prestat_dir_name(3, name, size - 1));
  EXPECT_FAULT(raw_fd_prestat_dir_name(3, MEMORY_END, size));
  EXPECT_FAULT(raw_fd_prestat_get(3, MEMORY_END - 7));
  EXPECT(BADF, __wasi_fd_prestat_get(dir, &prestat));
  EXPECT(BADF, __wasi_fd_prestat_get(1, &prestat));
}

int main(int argc, char** argv) {
  dir = open(argc > 1 ? argv[1] : "/tmp", O_RDONLY | O_DIRECTORY);
  CHECK(dir >= 0);
  no_descriptor(99);
  no_descriptor(INT32_MAX);
  no_descriptor(-1);
  no_descriptor(INT32_MIN);
  position();
  vectors();
  attributes();
  rights();
  standard_streams();
  preopens();
  const char* made[] = {"position", "vectors", "attributes"};
  for (size_t i = 0; i < 3; ++i) EXPECT(SUCCESS, __wasi_path_unlink_file(dir, made[i]));
  say("ok");
  return 0;
}
