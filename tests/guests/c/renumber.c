// SPDX-License-Identifier: Apache-2.0
// renumber [DIR]: fd_renumber and fd_close used against the host: onto itself, onto open files, standard streams,
// preopens, far numbers; nothing may leak or be shared by mistake. Works in DIR (/tmp).
#include "fixture.h"

static int temporary(const char* dir, const char* name, const char* text) {
  char path[512];
  snprintf(path, sizeof(path), "%s/%s", dir, name);
  int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
  CHECK(fd >= 0);
  CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
  CHECK(unlink(path) == 0);
  return fd;
}

static char first_byte(int fd) {
  char byte = 0;
  CHECK(pread(fd, &byte, 1, 0) == 1);
  return byte;
}

int main(int argc, char** argv) {
  const char* dir = argc > 1 ? argv[1] : "/tmp";
  int a = temporary(dir, "a", "a"), b = temporary(dir, "b", "b");
  __wasi_fdstat_t stat;

  // Onto itself changes nothing.
  EXPECT(SUCCESS, __wasi_fd_renumber(a, a));
  CHECK(first_byte(a) == 'a');
  // Onto an open file closes that one.
  EXPECT(SUCCESS, __wasi_fd_renumber(a, b));
  CHECK(first_byte(b) == 'a');
  EXPECT(BADF, __wasi_fd_fdstat_get(a, &stat));
  EXPECT(BADF, __wasi_fd_close(a));
  // From or onto what is closed: not dup2, the target must be open.
  EXPECT(BADF, __wasi_fd_renumber(a, b));
  EXPECT(BADF, __wasi_fd_renumber(b, a));
  EXPECT(BADF, __wasi_fd_renumber(b, INT32_MAX));
  EXPECT(BADF, __wasi_fd_renumber(b, -1));
  EXPECT(BADF, __wasi_fd_renumber(-1, b));
  EXPECT(BADF, __wasi_fd_renumber(a, a));
  CHECK(first_byte(b) == 'a');

  // 100,000 times round: a leak of descriptors would end it.
  for (int i = 0; i < 100000; ++i) {
    int c = temporary(dir, "c", i % 2 ? "x" : "y");
    EXPECT(SUCCESS, __wasi_fd_renumber(c, b));
    CHECK(c < 1000);
  }
  CHECK(first_byte(b) == 'x');

  // A file over stderr; the old one is gone, writes go to the file.
  EXPECT(SUCCESS, __wasi_fd_renumber(b, 2));
  CHECK(pwrite(2, "z", 1, 0) == 1);
  CHECK(first_byte(2) == 'z');
  EXPECT(SUCCESS, __wasi_fd_close(2));
  EXPECT(BADF, __wasi_fd_close(2));

  // A preopen may move or be closed; then no path resolves through its number, and the host is unharmed.
  int d = temporary(dir, "d", "d");
  int folder = open(dir, O_RDONLY | O_DIRECTORY);
  CHECK(folder >= 0);
  int got = __wasi_fd_renumber(3, d);
  if (got == __WASI_ERRNO_SUCCESS) {
    __wasi_prestat_t prestat;
    EXPECT(BADF, __wasi_fd_prestat_get(3, &prestat));
    EXPECT(SUCCESS, __wasi_fd_close(d));
  } else {
    // Refusing to move a preopen is legal.
    CHECK(got == __WASI_ERRNO_NOTSUP || got == __WASI_ERRNO_PERM);
    CHECK(first_byte(d) == 'd');
  }
  __wasi_filestat_t filestat;
  EXPECT(SUCCESS, __wasi_path_filestat_get(folder, 0, ".", &filestat));
  say("ok");
  return 0;
}
