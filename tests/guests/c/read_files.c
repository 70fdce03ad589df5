// SPDX-License-Identifier: Apache-2.0
// read_files PATH...: prints each file as "PATH: content"; directories as "PATH/ name name". A PATH that cannot be
// read is "PATH: errno N". Shows besides that a read-only volume cannot be written: with "-w PATH", prints the errno.
// With "-f PATH" follows PATH: prints its content each time that it changes (looks each 50 ms), until killed.
#include <dirent.h>

#include "fixture.h"

static size_t read_file(const char* path, char* bytes, size_t size) {
  int fd = open(path, O_RDONLY);
  if (fd < 0) return SIZE_MAX;
  size_t used = 0;
  while (used < size) {
    ssize_t n = read_some(fd, bytes + used, size - used);
    if (n < 0) {
      close(fd);
      return SIZE_MAX;
    }
    if (n == 0) break;
    used += (size_t)n;
  }
  close(fd);
  return used;
}

static int by_name(const void* a, const void* b) { return strcmp(*(char* const*)a, *(char* const*)b); }

static bool print_directory(const char* path) {
  DIR* dir = opendir(path);
  if (dir == NULL) return false;
  char* names[256];
  size_t count = 0;
  struct dirent* entry;
  while (count < 256 && (entry = readdir(dir)) != NULL) {
    if (entry->d_name[0] == '.') continue;
    names[count++] = strdup(entry->d_name);
  }
  closedir(dir);
  qsort(names, count, sizeof(names[0]), by_name);
  printf("%s/", path);
  for (size_t i = 0; i < count; ++i) printf(" %s", names[i]);
  putchar('\n');
  return true;
}

static char now[1 << 20];
static char before[1 << 20];

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (strcmp(argv[i], "-w") == 0 && i + 1 < argc) {
      const char* path = argv[++i];
      int fd = open(path, O_WRONLY | O_CREAT, 0600);
      printf("%s: write errno %d\n", path, fd < 0 ? errno : 0);
    } else if (strcmp(argv[i], "-f") == 0 && i + 1 < argc) {
      const char* path = argv[++i];
      size_t size_before = SIZE_MAX - 1;
      for (;;) {
        size_t size = read_file(path, now, sizeof(now));
        if (size != size_before || (size != SIZE_MAX && memcmp(now, before, size) != 0)) {
          printf("%s: %.*s\n", path, size == SIZE_MAX ? 4 : (int)size, size == SIZE_MAX ? "gone" : now);
          fflush(stdout);
          size_before = size;
          if (size != SIZE_MAX) memcpy(before, now, size);
        }
        poll(NULL, 0, 50);
      }
    } else if (!print_directory(argv[i])) {
      size_t size = read_file(argv[i], now, sizeof(now));
      if (size == SIZE_MAX) {
        printf("%s: errno %d\n", argv[i], errno);
      } else {
        printf("%s: %.*s\n", argv[i], (int)size, now);
      }
    }
  }
  return 0;
}
