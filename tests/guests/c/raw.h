// SPDX-License-Identifier: Apache-2.0
#pragma once
// Preview 1 functions with the pointers and lengths of one's choice, which <wasi/api.h> does not allow,
// and the one that it leaves out.

#include <stdint.h>

#define PREVIEW1(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(#name)))

PREVIEW1(proc_raise) int raw_proc_raise(int signal);
PREVIEW1(args_get) int raw_args_get(uint32_t argv, uint32_t buffer);
PREVIEW1(args_sizes_get) int raw_args_sizes_get(uint32_t count, uint32_t size);
PREVIEW1(environ_get) int raw_environ_get(uint32_t environ, uint32_t buffer);
PREVIEW1(environ_sizes_get) int raw_environ_sizes_get(uint32_t count, uint32_t size);
PREVIEW1(clock_time_get) int raw_clock_time_get(uint32_t id, uint64_t precision, uint32_t time);
PREVIEW1(clock_res_get) int raw_clock_res_get(uint32_t id, uint32_t resolution);
PREVIEW1(random_get) int raw_random_get(uint32_t buffer, uint32_t size);
PREVIEW1(fd_read) int raw_fd_read(int fd, uint32_t iovs, uint32_t count, uint32_t size);
PREVIEW1(fd_write) int raw_fd_write(int fd, uint32_t iovs, uint32_t count, uint32_t size);
PREVIEW1(fd_pread) int raw_fd_pread(int fd, uint32_t iovs, uint32_t count, uint64_t offset, uint32_t size);
PREVIEW1(fd_pwrite) int raw_fd_pwrite(int fd, uint32_t iovs, uint32_t count, uint64_t offset, uint32_t size);
PREVIEW1(fd_readdir) int raw_fd_readdir(int fd, uint32_t buffer, uint32_t size, uint64_t cookie, uint32_t used);
PREVIEW1(fd_fdstat_get) int raw_fd_fdstat_get(int fd, uint32_t stat);
PREVIEW1(fd_filestat_get) int raw_fd_filestat_get(int fd, uint32_t stat);
PREVIEW1(fd_prestat_get) int raw_fd_prestat_get(int fd, uint32_t prestat);
PREVIEW1(fd_prestat_dir_name) int raw_fd_prestat_dir_name(int fd, uint32_t path, uint32_t size);
PREVIEW1(path_open)
int raw_path_open(int fd, uint32_t dirflags, uint32_t path, uint32_t path_size, uint32_t oflags, uint64_t rights,
                  uint64_t inheriting, uint32_t fdflags, uint32_t opened);
PREVIEW1(path_create_directory) int raw_path_create_directory(int fd, uint32_t path, uint32_t path_size);
PREVIEW1(path_readlink)
int raw_path_readlink(int fd, uint32_t path, uint32_t path_size, uint32_t buffer, uint32_t size, uint32_t used);
PREVIEW1(poll_oneoff) int raw_poll_oneoff(uint32_t in, uint32_t out, uint32_t count, uint32_t events);
PREVIEW1(sock_recv)
int raw_sock_recv(int fd, uint32_t iovs, uint32_t count, uint32_t flags, uint32_t size, uint32_t out_flags);
PREVIEW1(sock_send) int raw_sock_send(int fd, uint32_t iovs, uint32_t count, uint32_t flags, uint32_t size);

#define ADDRESS(pointer) ((uint32_t)(uintptr_t)(pointer))
// The last byte that there is, and two addresses beyond: just behind, and at the end of the address space.
#define MEMORY_END ((uint32_t)(__builtin_wasm_memory_size(0) * 65536u))
#define FAR_END 0xfffffff0u
