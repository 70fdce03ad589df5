// SPDX-License-Identifier: Apache-2.0
// wasi_sock: the sock_* functions and the fd_* functions on streams, over /net/kube, which answers "GET /version".
#include <sys/stat.h>

#include "fixture.h"
#include "raw.h"

#define RIGHTS (__WASI_RIGHTS_FD_READ | __WASI_RIGHTS_FD_WRITE | __WASI_RIGHTS_POLL_FD_READWRITE | \
                __WASI_RIGHTS_FD_FDSTAT_SET_FLAGS | __WASI_RIGHTS_SOCK_SHUTDOWN | __WASI_RIGHTS_FD_FILESTAT_GET)

static const char kRequest[] = "GET /version HTTP/1.1\r\nHost: kube\r\n\r\n";
static const char kLast[] = "GET /version HTTP/1.1\r\nHost: kube\r\nConnection: close\r\n\r\n";

static int dial(void) {
  int fd = open("/net/kube", O_RDWR);
  CHECK(fd >= 0);
  return fd;
}

static void not_a_stream(void) {
  uint8_t byte = 0;
  __wasi_iovec_t iov = {&byte, 1};
  __wasi_ciovec_t ciov = {&byte, 1};
  __wasi_size_t n;
  __wasi_roflags_t flags;
  __wasi_fd_t fd;
  int file = open("/tmp/file", O_RDWR | O_CREAT, 0600);
  CHECK(file >= 0);
  EXPECT(BADF, __wasi_sock_recv(99, &iov, 1, 0, &n, &flags));
  EXPECT(BADF, __wasi_sock_send(99, &ciov, 1, 0, &n));
  EXPECT(BADF, __wasi_sock_shutdown(99, __WASI_SDFLAGS_WR));
  EXPECT(BADF, __wasi_sock_accept(99, 0, &fd));
  EXPECT(NOTSOCK, __wasi_sock_recv(file, &iov, 1, 0, &n, &flags));
  EXPECT(NOTSOCK, __wasi_sock_send(file, &ciov, 1, 0, &n));
  EXPECT(NOTSOCK, __wasi_sock_shutdown(file, __WASI_SDFLAGS_WR));
  EXPECT(NOTSOCK, __wasi_sock_accept(file, 0, &fd));
  CHECK(close(file) == 0 && unlink("/tmp/file") == 0);
}

// What a stream is, whatever was asked for at its opening.
static void description(void) {
  int fd = dial();
  __wasi_fdstat_t fdstat;
  __wasi_filestat_t filestat;
  EXPECT(SUCCESS, __wasi_fd_fdstat_get(fd, &fdstat));
  CHECK(fdstat.fs_filetype == __WASI_FILETYPE_SOCKET_STREAM);
  CHECK((fdstat.fs_rights_base & __WASI_RIGHTS_POLL_FD_READWRITE) != 0);
  EXPECT(SUCCESS, __wasi_fd_filestat_get(fd, &filestat));
  CHECK(filestat.filetype == __WASI_FILETYPE_SOCKET_STREAM);
  EXPECT(SUCCESS, __wasi_fd_fdstat_set_flags(fd, __WASI_FDFLAGS_NONBLOCK));
  EXPECT(SUCCESS, __wasi_fd_fdstat_set_flags(fd, 0));
  uint8_t bytes[8];
  __wasi_iovec_t iov = {bytes, sizeof(bytes)};
  __wasi_ciovec_t ciov = {bytes, sizeof(bytes)};
  __wasi_size_t n;
  __wasi_filesize_t at;
  __wasi_roflags_t roflags;
  // Never blocks, though the flag is off.
  EXPECT(AGAIN, __wasi_fd_read(fd, &iov, 1, &n));
  EXPECT(AGAIN, __wasi_sock_recv(fd, &iov, 1, 0, &n, &roflags));
  EXPECT_ANY(SPIPE, NOTCAPABLE, __wasi_fd_seek(fd, 0, __WASI_WHENCE_CUR, &at));
  EXPECT_ANY(SPIPE, NOTCAPABLE, __wasi_fd_tell(fd, &at));
  EXPECT_ANY(SPIPE, NOTCAPABLE, __wasi_fd_pread(fd, &iov, 1, 0, &n));
  EXPECT_ANY(SPIPE, NOTCAPABLE, __wasi_fd_pwrite(fd, &ciov, 1, 0, &n));
  CHECK(__wasi_fd_filestat_set_size(fd, 0) != 0);
  CHECK(__wasi_fd_allocate(fd, 0, 1) != 0);
  CHECK(__wasi_fd_readdir(fd, bytes, sizeof(bytes), 0, &n) != 0);
  __wasi_fd_t other;
  EXPECT_ANY(NOTDIR, NOTCAPABLE, __wasi_path_open(fd, 0, "x", 0, RIGHTS, 0, 0, &other));
  EXPECT_ANY(INVAL, NOTSUP, __wasi_sock_accept(fd, 0, &other));
  EXPECT_BAD_VALUE(__wasi_sock_shutdown(fd, 0));
  EXPECT_BAD_VALUE(__wasi_sock_shutdown(fd, 0x80));
  EXPECT_BAD_VALUE(raw_sock_recv(fd, ADDRESS(&iov), 1, 0x80, ADDRESS(&n), ADDRESS(&roflags)));
  EXPECT_BAD_VALUE(raw_sock_send(fd, ADDRESS(&ciov), 1, 1, ADDRESS(&n)));
  EXPECT_FAULT(raw_sock_recv(fd, MEMORY_END, 1, 0, ADDRESS(&n), ADDRESS(&roflags)));
  EXPECT_FAULT(raw_sock_send(fd, MEMORY_END, 1, 0, ADDRESS(&n)));
  CHECK(close(fd) == 0);
  EXPECT(BADF, __wasi_fd_read(fd, &iov, 1, &n));
}

static void names(void) {
  CHECK(open("/net/nowhere", O_RDWR) == -1 && errno == ENOENT);
  CHECK(open("/net/kube/x", O_RDWR) == -1 && errno == ENOTDIR);
  CHECK(open("/net/kube", O_RDWR | O_DIRECTORY) == -1 && errno == ENOTDIR);
  CHECK(open("/net/kube", O_RDWR | O_CREAT | O_EXCL, 0600) == -1 && errno == EEXIST);
  CHECK(open("/net/new", O_RDWR | O_CREAT, 0600) == -1);
  CHECK(unlink("/net/kube") == -1);
  CHECK(rename("/net/kube", "/tmp/kube") == -1);
  CHECK(mkdir("/net/kube", 0700) == -1);
  CHECK(open("/net/tcp/no-port", O_RDWR) == -1);
  CHECK(open("/net/tcp/host:0", O_RDWR) == -1);
  CHECK(open("/net/tcp/host:65536", O_RDWR) == -1);
  CHECK(open("/net/tcp/:80", O_RDWR) == -1);
}

// A whole exchange with each pair of functions; then half a connection.
static void exchange(void) {
  int fd = dial();
  __wasi_ciovec_t parts[2] = {{(const uint8_t*)kRequest, 10}, {(const uint8_t*)kRequest + 10, sizeof(kRequest) - 11}};
  __wasi_size_t n = 0;
  wait_for(fd, POLLWRNORM);
  EXPECT(SUCCESS, __wasi_sock_send(fd, parts, 2, 0, &n));
  CHECK(n == sizeof(kRequest) - 1);
  wait_for(fd, POLLRDNORM);
  char head[16] = {0}, again[16] = {0};
  __wasi_iovec_t iov = {(uint8_t*)head, 9};
  __wasi_roflags_t flags = 0xee;
  EXPECT(SUCCESS, __wasi_sock_recv(fd, &iov, 1, __WASI_RIFLAGS_RECV_PEEK, &n, &flags));
  CHECK(n > 0 && n <= 9 && flags == 0);
  iov.buf = (uint8_t*)again;
  iov.buf_len = n;
  EXPECT(SUCCESS, __wasi_sock_recv(fd, &iov, 1, 0, &n, &flags));
  CHECK(memcmp(head, again, n) == 0);
  CHECK(memcmp(head, "HTTP/1.1 ", n) == 0);
  write_all(fd, kLast, sizeof(kLast) - 1);
  EXPECT(SUCCESS, __wasi_sock_shutdown(fd, __WASI_SDFLAGS_WR));
  EXPECT(PIPE, __wasi_fd_write(fd, parts, 1, &n));
  char bytes[4096];
  int total = 0;
  ssize_t got;
  while ((got = read_some(fd, bytes, sizeof(bytes))) > 0) total += (int)got;
  CHECK(got == 0 && total > 100);
  // The end stays the end, and shows as readable.
  CHECK(read(fd, bytes, 1) == 0);
  wait_for(fd, POLLRDNORM);
  CHECK(close(fd) == 0);
}

// FD_WRITE is edge-triggered: told once, not again while nothing was written.
static void write_readiness(void) {
  int fd = dial();
  __wasi_subscription_t in[2];
  __wasi_event_t out[2];
  __wasi_size_t n;
  memset(in, 0, sizeof(in));
  in[0].userdata = 1;
  in[0].u.tag = __WASI_EVENTTYPE_FD_WRITE;
  in[0].u.u.fd_write.file_descriptor = fd;
  EXPECT(SUCCESS, __wasi_poll_oneoff(in, out, 1, &n));
  CHECK(n == 1 && out[0].userdata == 1 && out[0].error == 0 && out[0].type == __WASI_EVENTTYPE_FD_WRITE);
  in[1].userdata = 2;
  in[1].u.tag = __WASI_EVENTTYPE_CLOCK;
  in[1].u.u.clock.id = __WASI_CLOCKID_MONOTONIC;
  in[1].u.u.clock.timeout = 20000000;
  EXPECT(SUCCESS, __wasi_poll_oneoff(in, out, 2, &n));
  CHECK(n == 1 && out[0].userdata == 2);
  // It is writable nevertheless.
  CHECK(write(fd, kLast, sizeof(kLast) - 1) == (ssize_t)sizeof(kLast) - 1);
  CHECK(close(fd) == 0);
}

static void many_connections(void) {
  int fds[32];
  for (int i = 0; i < 32; ++i) fds[i] = dial();
  for (int i = 0; i < 32; ++i) write_all(fds[i], kLast, sizeof(kLast) - 1);
  for (int i = 31; i >= 0; --i) {
    char bytes[4096];
    ssize_t n = read_some(fds[i], bytes, sizeof(bytes));
    CHECK(n > 12 && memcmp(bytes, "HTTP/1.1 200", 12) == 0);
    CHECK(close(fds[i]) == 0);
  }
}

int main(void) {
  not_a_stream();
  description();
  names();
  exchange();
  write_readiness();
  many_connections();
  say("ok");
  return 0;
}
