// SPDX-License-Identifier: Apache-2.0
// open_vectors FILE: opens each path of sdk/abi/open.tsv as it says and compares. Prints each case that differs; exits 1 then.
#include <sys/stat.h>

#include "fixture.h"

static const struct {
  const char* name;
  int number;
} kErrors[] = {{"OK", 0},       {"ACCES", EACCES}, {"ADDRINUSE", EADDRINUSE}, {"EXIST", EEXIST}, {"INVAL", EINVAL},
               {"ISDIR", EISDIR}, {"NOENT", ENOENT}, {"NOTDIR", ENOTDIR},       {"MFILE", EMFILE}};

static const struct {
  const char* name;
  int flags;
} kFlags[] = {{"r", O_RDONLY},      {"w", O_WRONLY},         {"rw", O_RDWR},           {"nonblock", O_NONBLOCK},
              {"append", O_APPEND}, {"create", O_CREAT}, {"exclusive", O_EXCL}, {"directory", O_DIRECTORY}};

static const char* kind_of(int fd) {
  __wasi_fdstat_t stat;
  EXPECT(SUCCESS, __wasi_fd_fdstat_get(fd, &stat));
  switch (stat.fs_filetype) {
    case __WASI_FILETYPE_SOCKET_STREAM: return "socket_stream";
    case __WASI_FILETYPE_REGULAR_FILE: return "regular_file";
    case __WASI_FILETYPE_DIRECTORY: return "directory";
    default: return "something else";
  }
}

static int flags_of(char* text) {
  int flags = 0;
  for (char* word = strtok(text, ","); word != NULL; word = strtok(NULL, ",")) {
    bool known = false;
    for (size_t i = 0; i < sizeof(kFlags) / sizeof(kFlags[0]); ++i) {
      if (strcmp(word, kFlags[i].name) != 0) continue;
      flags |= kFlags[i].flags;
      known = true;
    }
    CHECK(known);
  }
  return flags;
}

static const char* error_name(int number) {
  static char text[16];
  for (size_t i = 0; i < sizeof(kErrors) / sizeof(kErrors[0]); ++i)
    if (kErrors[i].number == number) return kErrors[i].name;
  snprintf(text, sizeof(text), "errno %d", number);
  return text;
}

int main(int argc, char** argv) {
  CHECK(argc > 1);
  FILE* file = fopen(argv[1], "r");
  CHECK(file != NULL);
  char line[4096];
  int cases = 0, wrong = 0;
  while (fgets(line, sizeof(line), file) != NULL) {
    line[strcspn(line, "\n")] = 0;
    if (line[0] == '#' || line[0] == 0) continue;
    char* path = line;
    char* flags = strchr(path, '\t');
    CHECK(flags != NULL);
    *flags++ = 0;
    char* want = strchr(flags, '\t');
    CHECK(want != NULL);
    *want++ = 0;
    char* kind = strchr(want, '\t');
    if (kind != NULL) *kind++ = 0;
    const int fd = open(path, flags_of(flags), 0600);
    const char* got = fd >= 0 ? "OK" : error_name(errno);
    ++cases;
    if (strcmp(got, want) != 0) {
      printf("%s: %s, not %s\n", path, got, want);
      ++wrong;
    } else if (fd >= 0 && strcmp(kind_of(fd), kind) != 0) {
      printf("%s: a %s, not a %s\n", path, kind_of(fd), kind);
      ++wrong;
    }
    if (fd >= 0) CHECK(close(fd) == 0);
  }
  printf("%d cases, %d wrong\n", cases, wrong);
  return wrong == 0 ? 0 : 1;
}
