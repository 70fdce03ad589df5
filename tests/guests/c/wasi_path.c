// SPDX-License-Identifier: Apache-2.0
// wasi_path [DIR]: the path_* functions and fd_readdir: what they do, and that no path leaves the folder. Works in DIR (/tmp).
#include "fixture.h"
#include "raw.h"

#define WRITE (__WASI_RIGHTS_FD_WRITE | __WASI_RIGHTS_FD_READ | __WASI_RIGHTS_FD_SEEK)
#define EXPECT_OUTSIDE(call) EXPECT_ANY(NOTCAPABLE, PERM, call)

static int dir;
static __wasi_fd_t fd;

static void make(const char* name, const char* text) {
  __wasi_fd_t file;
  EXPECT(SUCCESS, __wasi_path_open(dir, 0, name, __WASI_OFLAGS_CREAT | __WASI_OFLAGS_TRUNC, WRITE, 0, 0, &file));
  __wasi_ciovec_t iov = {(const uint8_t*)text, strlen(text)};
  __wasi_size_t n;
  EXPECT(SUCCESS, __wasi_fd_write(file, &iov, 1, &n));
  EXPECT(SUCCESS, __wasi_fd_close(file));
}

static __wasi_filesize_t size_of(const char* name) {
  __wasi_filestat_t stat;
  EXPECT(SUCCESS, __wasi_path_filestat_get(dir, 0, name, &stat));
  return stat.size;
}

static bool exists(const char* name) {
  __wasi_filestat_t stat;
  return __wasi_path_filestat_get(dir, 0, name, &stat) == __WASI_ERRNO_SUCCESS;
}

static int try_open(const char* name, __wasi_lookupflags_t lookup, __wasi_oflags_t oflags, __wasi_rights_t rights) {
  __wasi_fd_t opened;
  int got = __wasi_path_open(dir, lookup, name, oflags, rights, 0, 0, &opened);
  if (got == 0) EXPECT(SUCCESS, __wasi_fd_close(opened));
  return got;
}

static void directories(void) {
  EXPECT(SUCCESS, __wasi_path_create_directory(dir, "d"));
  EXPECT(EXIST, __wasi_path_create_directory(dir, "d"));
  EXPECT(EXIST, __wasi_path_create_directory(dir, "d/"));
  EXPECT(SUCCESS, __wasi_path_create_directory(dir, "d/e/"));
  EXPECT(NOENT, __wasi_path_create_directory(dir, "no/e"));
  EXPECT(NOENT, __wasi_path_create_directory(dir, ""));
  EXPECT(NOTDIR, __wasi_path_create_directory(dir, "f/e"));
  EXPECT(NOTEMPTY, __wasi_path_remove_directory(dir, "d"));
  EXPECT(NOTDIR, __wasi_path_remove_directory(dir, "f"));
  EXPECT(NOENT, __wasi_path_remove_directory(dir, "no"));
  EXPECT(SUCCESS, __wasi_path_remove_directory(dir, "d/e/"));
  EXPECT(SUCCESS, __wasi_path_remove_directory(dir, "d"));
  EXPECT(BADF, __wasi_path_create_directory(99, "d"));
  CHECK(__wasi_path_create_directory(1, "d") != 0);
}

static void opening(void) {
  EXPECT(SUCCESS, __wasi_path_create_directory(dir, "d"));
  EXPECT(EXIST, try_open("f", 0, __WASI_OFLAGS_CREAT | __WASI_OFLAGS_EXCL, WRITE));
  EXPECT(NOTDIR, try_open("f", 0, __WASI_OFLAGS_DIRECTORY, 0));
  EXPECT(NOTDIR, try_open("f/", 0, 0, __WASI_RIGHTS_FD_READ));
  EXPECT(NOTDIR, try_open("f/x", 0, 0, __WASI_RIGHTS_FD_READ));
  EXPECT(NOENT, try_open("no", 0, 0, __WASI_RIGHTS_FD_READ));
  EXPECT(NOENT, try_open("", 0, 0, __WASI_RIGHTS_FD_READ));
  EXPECT_ANY(ISDIR, NOENT, try_open("no/", 0, __WASI_OFLAGS_CREAT, WRITE));
  CHECK(!exists("no"));
  EXPECT(SUCCESS, try_open(".", 0, __WASI_OFLAGS_DIRECTORY, 0));
  EXPECT(SUCCESS, try_open("d/", 0, __WASI_OFLAGS_DIRECTORY, 0));
  EXPECT(SUCCESS, try_open("d/..", 0, __WASI_OFLAGS_DIRECTORY, 0));
  EXPECT(ISDIR, try_open("d", 0, 0, WRITE));
  EXPECT(INVAL, try_open("new", 0, __WASI_OFLAGS_CREAT | __WASI_OFLAGS_DIRECTORY, 0));
  CHECK(!exists("new"));
  EXPECT_BAD_VALUE(try_open("f", 0, 0xff00, WRITE));
  EXPECT_BAD_VALUE(try_open("f", 0xff00, 0, WRITE));
  EXPECT_BAD_VALUE(__wasi_path_open(dir, 0, "f", 0, WRITE, 0, 0xff00, &fd));
  EXPECT(BADF, __wasi_path_open(99, 0, "f", 0, WRITE, 0, 0, &fd));
  EXPECT(SUCCESS, __wasi_path_open(dir, 0, "f", 0, WRITE, 0, 0, &fd));
  EXPECT_ANY(NOTDIR, NOTCAPABLE, __wasi_path_open(fd, 0, "x", 0, WRITE, 0, 0, &fd));
  EXPECT(SUCCESS, __wasi_fd_close(fd));
  EXPECT(SUCCESS, try_open("f", 0, __WASI_OFLAGS_TRUNC, WRITE));
  CHECK(size_of("f") == 0);
  make("f", "file");
  // An open file outlives its name.
  make("gone", "still here");
  EXPECT(SUCCESS, __wasi_path_open(dir, 0, "gone", 0, WRITE, 0, 0, &fd));
  EXPECT(SUCCESS, __wasi_path_unlink_file(dir, "gone"));
  char text[32] = {0};
  CHECK(read((int)fd, text, sizeof(text)) == 10 && strcmp(text, "still here") == 0);
  EXPECT(SUCCESS, __wasi_fd_close(fd));
  EXPECT(SUCCESS, __wasi_path_remove_directory(dir, "d"));
}

static void names(void) {
  char name[8192];
  EXPECT_ANY(ILSEQ, INVAL, try_open("\xff\xfe", 0, __WASI_OFLAGS_CREAT, WRITE));
  EXPECT_ANY(ILSEQ, INVAL, try_open("\xed\xa0\x80", 0, __WASI_OFLAGS_CREAT, WRITE));
  EXPECT_ANY(ILSEQ, INVAL, __wasi_path_create_directory(dir, "\xc0\xaf"));
  EXPECT(SUCCESS, try_open("\xc3\xa4", 0, __WASI_OFLAGS_CREAT, WRITE));
  EXPECT(SUCCESS, __wasi_path_unlink_file(dir, "\xc3\xa4"));
  EXPECT_ANY(INVAL, ILSEQ, raw_path_create_directory(dir, ADDRESS("a\0b"), 3));
  EXPECT_FAULT(raw_path_create_directory(dir, MEMORY_END - 2, 3));
  EXPECT_FAULT(raw_path_create_directory(dir, 16, UINT32_MAX));
  EXPECT_FAULT(raw_path_open(dir, 0, FAR_END, 8, 0, 0, 0, 0, ADDRESS(&fd)));
  EXPECT_FAULT(raw_path_open(dir, 0, ADDRESS("f"), 1, 0, 0, 0, 0, MEMORY_END));
  memset(name, 'n', sizeof(name));
  name[255] = 0;
  EXPECT(SUCCESS, try_open(name, 0, __WASI_OFLAGS_CREAT, WRITE));
  EXPECT(SUCCESS, __wasi_path_unlink_file(dir, name));
  memset(name, 'n', sizeof(name));
  name[256] = 0;
  EXPECT(NAMETOOLONG, try_open(name, 0, __WASI_OFLAGS_CREAT, WRITE));
  for (size_t i = 0; i < sizeof(name); i += 2) memcpy(name + i, "./", 2);
  name[8000] = 0;
  EXPECT(NAMETOOLONG, try_open(name, 0, __WASI_OFLAGS_DIRECTORY, 0));
}

static void staying_inside(void) {
  EXPECT(SUCCESS, __wasi_path_create_directory(dir, "d"));
  const char* outside[] = {"..", "../x", "/etc", "/", "d/../..", "d/../../x", "./../x", "d/./../../tmp/f", "//etc"};
  for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); ++i) {
    __wasi_filestat_t stat;
    EXPECT_OUTSIDE(try_open(outside[i], 0, 0, 0));
    EXPECT_OUTSIDE(try_open(outside[i], 0, __WASI_OFLAGS_CREAT, WRITE));
    EXPECT_OUTSIDE(__wasi_path_filestat_get(dir, 0, outside[i], &stat));
    EXPECT_OUTSIDE(__wasi_path_create_directory(dir, outside[i]));
    EXPECT_OUTSIDE(__wasi_path_unlink_file(dir, outside[i]));
    EXPECT_OUTSIDE(__wasi_path_remove_directory(dir, outside[i]));
    EXPECT_OUTSIDE(__wasi_path_rename(dir, "f", dir, outside[i]));
    EXPECT_OUTSIDE(__wasi_path_rename(dir, outside[i], dir, "new"));
    EXPECT_OUTSIDE(__wasi_path_link(dir, 0, "f", dir, outside[i]));
  }
  // Not through symbolic links either.
  EXPECT(SUCCESS, __wasi_path_symlink("../../x", dir, "up"));
  EXPECT(SUCCESS, __wasi_path_symlink("..", dir, "parent"));
  int got = __wasi_path_symlink("/etc", dir, "absolute");
  CHECK(got == 0 || got == __WASI_ERRNO_NOTCAPABLE || got == __WASI_ERRNO_PERM);
  const char* links[] = {"up", "parent/x", "parent/../f", "absolute", "absolute/hostname"};
  for (size_t i = 0; i < (got == 0 ? 5 : 3); ++i) {
    EXPECT_OUTSIDE(try_open(links[i], __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW, 0, 0));
    EXPECT_OUTSIDE(try_open(links[i], __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW, __WASI_OFLAGS_CREAT, WRITE));
  }
  EXPECT(SUCCESS, __wasi_path_unlink_file(dir, "up"));
  EXPECT(SUCCESS, __wasi_path_unlink_file(dir, "parent"));
  if (got == 0) EXPECT(SUCCESS, __wasi_path_unlink_file(dir, "absolute"));
  EXPECT(SUCCESS, __wasi_path_remove_directory(dir, "d"));
}

static void symbolic_links(void) {
  uint8_t text[16] = "................";
  __wasi_size_t n = 0;
  __wasi_filestat_t stat;
  EXPECT(SUCCESS, __wasi_path_symlink("f", dir, "link"));
  EXPECT(EXIST, __wasi_path_symlink("f", dir, "link"));
  EXPECT(EXIST, __wasi_path_symlink("f", dir, "f"));
  CHECK(__wasi_path_symlink("", dir, "empty") != 0);
  EXPECT(SUCCESS, __wasi_path_readlink(dir, "link", text, sizeof(text), &n));
  CHECK(n == 1 && text[0] == 'f' && text[1] == '.');
  EXPECT(INVAL, __wasi_path_readlink(dir, "f", text, sizeof(text), &n));
  EXPECT(NOENT, __wasi_path_readlink(dir, "no", text, sizeof(text), &n));
  EXPECT_FAULT(raw_path_readlink(dir, ADDRESS("link"), 4, MEMORY_END, 8, ADDRESS(&n)));
  EXPECT(SUCCESS, __wasi_path_filestat_get(dir, 0, "link", &stat));
  CHECK(stat.filetype == __WASI_FILETYPE_SYMBOLIC_LINK);
  EXPECT(SUCCESS, __wasi_path_filestat_get(dir, __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW, "link", &stat));
  CHECK(stat.filetype == __WASI_FILETYPE_REGULAR_FILE && stat.size == 4);
  EXPECT(SUCCESS, try_open("link", __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW, 0, __WASI_RIGHTS_FD_READ));
  EXPECT(LOOP, try_open("link", 0, 0, __WASI_RIGHTS_FD_READ));
  EXPECT(SUCCESS, __wasi_path_symlink("loop-b", dir, "loop-a"));
  EXPECT(SUCCESS, __wasi_path_symlink("loop-a", dir, "loop-b"));
  EXPECT(LOOP, try_open("loop-a", __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW, 0, __WASI_RIGHTS_FD_READ));
  EXPECT(LOOP, try_open("loop-a/x", 0, 0, __WASI_RIGHTS_FD_READ));
  EXPECT(SUCCESS, __wasi_path_symlink("nothing", dir, "dangling"));
  EXPECT(NOENT, try_open("dangling", __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW, 0, __WASI_RIGHTS_FD_READ));
  EXPECT(EXIST, try_open("dangling", 0, __WASI_OFLAGS_CREAT | __WASI_OFLAGS_EXCL, WRITE));
  EXPECT(EXIST, __wasi_path_create_directory(dir, "dangling"));
  EXPECT(NOTDIR, __wasi_path_remove_directory(dir, "link"));
  const char* made[] = {"link", "loop-a", "loop-b", "dangling"};
  for (size_t i = 0; i < 4; ++i) EXPECT(SUCCESS, __wasi_path_unlink_file(dir, made[i]));
  CHECK(exists("f"));
}

static void hard_links(void) {
  __wasi_filestat_t stat;
  EXPECT(SUCCESS, __wasi_path_create_directory(dir, "d"));
  EXPECT(SUCCESS, __wasi_path_link(dir, 0, "f", dir, "d/same"));
  EXPECT(SUCCESS, __wasi_path_filestat_get(dir, 0, "d/same", &stat));
  CHECK(stat.nlink == 2 && stat.size == 4);
  EXPECT(EXIST, __wasi_path_link(dir, 0, "f", dir, "d/same"));
  EXPECT(NOENT, __wasi_path_link(dir, 0, "no", dir, "new"));
  EXPECT(PERM, __wasi_path_link(dir, 0, "d", dir, "new"));
  EXPECT_ANY(NOENT, NOTDIR, __wasi_path_link(dir, 0, "f", dir, "new/"));
  EXPECT(NOTDIR, __wasi_path_link(dir, 0, "f/", dir, "new"));
  EXPECT(SUCCESS, __wasi_path_unlink_file(dir, "d/same"));
  EXPECT(SUCCESS, __wasi_path_filestat_get(dir, 0, "f", &stat));
  CHECK(stat.nlink == 1);
  EXPECT(ISDIR, __wasi_path_unlink_file(dir, "d"));
  EXPECT(NOTDIR, __wasi_path_unlink_file(dir, "f/"));
  EXPECT(NOENT, __wasi_path_unlink_file(dir, "no"));
  EXPECT(SUCCESS, __wasi_path_remove_directory(dir, "d"));
}

static void renaming(void) {
  EXPECT(SUCCESS, __wasi_path_create_directory(dir, "d"));
  EXPECT(SUCCESS, __wasi_path_create_directory(dir, "d/inner"));
  EXPECT(SUCCESS, __wasi_path_create_directory(dir, "empty"));
  make("g", "another");
  EXPECT(SUCCESS, __wasi_path_rename(dir, "g", dir, "d/g"));
  CHECK(!exists("g") && size_of("d/g") == 7);
  EXPECT(SUCCESS, __wasi_path_rename(dir, "d/g", dir, "d/g"));
  EXPECT(SUCCESS, __wasi_path_rename(dir, "d/g", dir, "f"));
  CHECK(size_of("f") == 7);
  EXPECT(ISDIR, __wasi_path_rename(dir, "f", dir, "empty"));
  EXPECT(NOTDIR, __wasi_path_rename(dir, "empty", dir, "f"));
  EXPECT(NOTEMPTY, __wasi_path_rename(dir, "empty", dir, "d"));
  EXPECT(SUCCESS, __wasi_path_rename(dir, "d", dir, "empty"));
  CHECK(exists("empty/inner") && !exists("d"));
  EXPECT(INVAL, __wasi_path_rename(dir, "empty", dir, "empty/inner/self"));
  EXPECT(NOENT, __wasi_path_rename(dir, "no", dir, "new"));
  EXPECT(NOENT, __wasi_path_rename(dir, "f", dir, "no/new"));
  EXPECT(NOTDIR, __wasi_path_rename(dir, "f/", dir, "new"));
  EXPECT(NOTDIR, __wasi_path_rename(dir, "f", dir, "new/"));
  EXPECT(BADF, __wasi_path_rename(dir, "f", 99, "new"));
  EXPECT(SUCCESS, __wasi_path_remove_directory(dir, "empty/inner"));
  EXPECT(SUCCESS, __wasi_path_remove_directory(dir, "empty"));
  make("f", "file");
}

static void times(void) {
  __wasi_filestat_t stat;
  __wasi_fstflags_t both = __WASI_FSTFLAGS_ATIM | __WASI_FSTFLAGS_MTIM;
  EXPECT(SUCCESS, __wasi_path_filestat_set_times(dir, 0, "f", 11, 22, both));
  EXPECT(SUCCESS, __wasi_path_filestat_get(dir, 0, "f", &stat));
  CHECK(stat.atim == 11 && stat.mtim == 22);
  EXPECT(INVAL, __wasi_path_filestat_set_times(dir, 0, "f", 1, 1, both | __WASI_FSTFLAGS_MTIM_NOW));
  EXPECT(NOENT, __wasi_path_filestat_set_times(dir, 0, "no", 1, 1, both));
  EXPECT(NOTDIR, __wasi_path_filestat_get(dir, 0, "f/", &stat));
}

// Reads the folder through a buffer of `size`; counts each name once.
static void list(size_t size, int want) {
  static bool seen[64];
  memset(seen, 0, sizeof(seen));
  uint8_t* buffer = malloc(size);
  int found = 0, dots = 0;
  for (__wasi_dircookie_t cookie = 0;;) {
    memset(buffer, 0xee, size);
    __wasi_size_t used = 0;
    EXPECT(SUCCESS, __wasi_fd_readdir(fd, buffer, size, cookie, &used));
    CHECK(used <= size);
    size_t at = 0;
    while (used - at >= sizeof(__wasi_dirent_t)) {
      __wasi_dirent_t entry;
      memcpy(&entry, buffer + at, sizeof(entry));
      if (used - at - sizeof(entry) < entry.d_namlen) break;
      // The host may not leak what lay in its memory.
      for (size_t pad = 21; pad < 24; ++pad) CHECK(buffer[at + pad] == 0);
      char name[256];
      CHECK(entry.d_namlen > 0 && entry.d_namlen < sizeof(name));
      memcpy(name, buffer + at + sizeof(entry), entry.d_namlen);
      name[entry.d_namlen] = 0;
      at += sizeof(entry) + entry.d_namlen;
      cookie = entry.d_next;
      if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        CHECK(entry.d_type == __WASI_FILETYPE_DIRECTORY);
        ++dots;
        continue;
      }
      CHECK(entry.d_type == __WASI_FILETYPE_REGULAR_FILE);
      int number = atoi(name + 5);
      CHECK(number >= 0 && number < 64 && !seen[number]);
      seen[number] = true;
      ++found;
    }
    CHECK(at > 0 || used < size);
    if (used < size) break;
  }
  CHECK(found == want);
  CHECK(dots == 2);
  free(buffer);
}

static void reading_directories(void) {
  EXPECT(SUCCESS, __wasi_path_create_directory(dir, "list"));
  char name[32];
  for (int i = 0; i < 50; ++i) {
    snprintf(name, sizeof(name), "list/entry%d", i);
    make(name, "");
  }
  __wasi_rights_t rights = __WASI_RIGHTS_FD_READDIR | __WASI_RIGHTS_PATH_OPEN;
  EXPECT(SUCCESS, __wasi_path_open(dir, 0, "list", __WASI_OFLAGS_DIRECTORY, rights, 0, 0, &fd));
  list(65536, 50);
  list(100, 50);
  list(33, 50);
  uint8_t small[24];
  __wasi_size_t used = 99;
  EXPECT(SUCCESS, __wasi_fd_readdir(fd, small, 10, 0, &used));
  CHECK(used == 10);
  EXPECT(SUCCESS, __wasi_fd_readdir(fd, small, 0, 0, &used));
  CHECK(used == 0);
  EXPECT_FAULT(raw_fd_readdir((int)fd, MEMORY_END - 8, 100, 0, ADDRESS(&used)));
  int got = __wasi_fd_readdir(fd, small, sizeof(small), UINT64_MAX, &used);
  CHECK(got == __WASI_ERRNO_INVAL || (got == 0 && used == 0));
  EXPECT(SUCCESS, __wasi_fd_close(fd));
  for (int i = 0; i < 50; ++i) {
    snprintf(name, sizeof(name), "list/entry%d", i);
    EXPECT(SUCCESS, __wasi_path_unlink_file(dir, name));
  }
  EXPECT(SUCCESS, __wasi_path_remove_directory(dir, "list"));
  EXPECT(SUCCESS, __wasi_path_open(dir, 0, "f", 0, __WASI_RIGHTS_FD_READ, 0, 0, &fd));
  CHECK(__wasi_fd_readdir(fd, small, sizeof(small), 0, &used) != 0);
  EXPECT(SUCCESS, __wasi_fd_close(fd));
}

int main(int argc, char** argv) {
  dir = open(argc > 1 ? argv[1] : "/tmp", O_RDONLY | O_DIRECTORY);
  CHECK(dir >= 0);
  make("f", "file");
  directories();
  opening();
  names();
  staying_inside();
  symbolic_links();
  hard_links();
  renaming();
  times();
  reading_directories();
  EXPECT(SUCCESS, __wasi_path_unlink_file(dir, "f"));
  say("ok");
  return 0;
}
