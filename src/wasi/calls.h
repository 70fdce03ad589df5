// SPDX-License-Identifier: Apache-2.0
#pragma once
// The functions of WASI preview 1, by file. What each does is the specification's to say; comments at the
// definitions say what it leaves open.

#include "wasi/call.h"

namespace dormouse::wasi {

using wasm::Memory;
using u32 = std::uint32_t;
using u64 = std::uint64_t;

// system_calls.cc
Errno args_get(ProcessState&, Memory, u32 pointers, u32 bytes);
Errno args_sizes_get(ProcessState&, Memory, u32 count, u32 size);
Errno environ_get(ProcessState&, Memory, u32 pointers, u32 bytes);
Errno environ_sizes_get(ProcessState&, Memory, u32 count, u32 size);
Errno clock_res_get(ProcessState&, Memory, u32 id, u32 resolution);
Errno clock_time_get(ProcessState&, Memory, u32 id, u64 precision, u32 time);
Errno random_get(ProcessState&, Memory, u32 buffer, u32 length);
Errno sched_yield(ProcessState&, Memory);
wasm::Verdict proc_exit(void* host, Memory, wasm::Value* values) noexcept;
wasm::Verdict proc_raise(void* host, Memory, wasm::Value* values) noexcept;

// fd_calls.cc
Errno fd_advise(ProcessState&, Memory, Fd, u64 offset, u64 length, u32 advice);
Errno fd_allocate(ProcessState&, Memory, Fd, u64 offset, u64 length);
Errno fd_close(ProcessState&, Memory, Fd);
Errno fd_datasync(ProcessState&, Memory, Fd);
Errno fd_fdstat_get(ProcessState&, Memory, Fd, u32 stat);
Errno fd_fdstat_set_flags(ProcessState&, Memory, Fd, u32 flags);
Errno fd_fdstat_set_rights(ProcessState&, Memory, Fd, u64 base, u64 inheriting);
Errno fd_filestat_get(ProcessState&, Memory, Fd, u32 stat);
Errno fd_filestat_set_size(ProcessState&, Memory, Fd, u64 size);
Errno fd_filestat_set_times(ProcessState&, Memory, Fd, u64 accessed, u64 modified, u32 flags);
Errno fd_prestat_get(ProcessState&, Memory, Fd, u32 prestat);
Errno fd_prestat_dir_name(ProcessState&, Memory, Fd, u32 path, u32 length);
Errno fd_renumber(ProcessState&, Memory, Fd from, Fd to);
Errno fd_seek(ProcessState&, Memory, Fd, u64 delta, u32 whence, u32 position);
Errno fd_sync(ProcessState&, Memory, Fd);
Errno fd_tell(ProcessState&, Memory, Fd, u32 position);

// io_calls.cc
Errno fd_pread(ProcessState&, Memory, Fd, u32 vectors, u32 count, u64 offset, u32 size);
Errno fd_pwrite(ProcessState&, Memory, Fd, u32 vectors, u32 count, u64 offset, u32 size);
Errno fd_read(ProcessState&, Memory, Fd, u32 vectors, u32 count, u32 size);
Errno fd_readdir(ProcessState&, Memory, Fd, u32 buffer, u32 length, u64 cookie, u32 used);
Errno fd_write(ProcessState&, Memory, Fd, u32 vectors, u32 count, u32 size);
Errno sock_accept(ProcessState&, Memory, Fd, u32 flags, u32 opened);
Errno sock_recv(ProcessState&, Memory, Fd, u32 vectors, u32 count, u32 flags, u32 size, u32 out_flags);
Errno sock_send(ProcessState&, Memory, Fd, u32 vectors, u32 count, u32 flags, u32 size);
Errno sock_shutdown(ProcessState&, Memory, Fd, u32 how);

// path_calls.cc
Errno path_create_directory(ProcessState&, Memory, Fd, u32 path, u32 path_length);
Errno path_filestat_get(ProcessState&, Memory, Fd, u32 lookup, u32 path, u32 path_length, u32 stat);
Errno path_filestat_set_times(ProcessState&, Memory, Fd, u32 lookup, u32 path, u32 path_length, u64 accessed, u64 modified, u32 flags);
Errno path_link(ProcessState&, Memory, Fd from, u32 lookup, u32 path, u32 path_length, Fd to, u32 new_path, u32 new_path_length);
Errno path_readlink(ProcessState&, Memory, Fd, u32 path, u32 path_length, u32 buffer, u32 length, u32 used);
Errno path_remove_directory(ProcessState&, Memory, Fd, u32 path, u32 path_length);
Errno path_rename(ProcessState&, Memory, Fd from, u32 path, u32 path_length, Fd to, u32 new_path, u32 new_path_length);
Errno path_symlink(ProcessState&, Memory, u32 target, u32 target_length, Fd, u32 path, u32 path_length);
Errno path_unlink_file(ProcessState&, Memory, Fd, u32 path, u32 path_length);

// path_open.cc
Errno path_open(ProcessState&, Memory, Fd, u32 lookup, u32 path, u32 path_length, u32 oflags, u64 base, u64 inheriting, u32 fdflags, u32 opened);

// Quiet, as call.h has it. A descriptor's flags are the guest's own affair.
template <> inline constexpr bool kQuiet<&fd_fdstat_get> = true;
template <> inline constexpr bool kQuiet<&fd_fdstat_set_flags> = true;
template <> inline constexpr bool kQuiet<&fd_prestat_get> = true;
template <> inline constexpr bool kQuiet<&fd_prestat_dir_name> = true;
template <> inline constexpr bool kQuiet<&args_get> = true;
template <> inline constexpr bool kQuiet<&args_sizes_get> = true;
template <> inline constexpr bool kQuiet<&environ_get> = true;
template <> inline constexpr bool kQuiet<&environ_sizes_get> = true;
template <> inline constexpr bool kQuiet<&clock_res_get> = true;
template <> inline constexpr bool kQuiet<&clock_time_get> = true;
template <> inline constexpr bool kQuiet<&random_get> = true;
template <> inline constexpr bool kQuiet<&sched_yield> = true;

// poll.cc
wasm::Verdict poll_oneoff(void* host, Memory, wasm::Value* values) noexcept;

// Shared by them (path_calls.cc, fd_calls.cc).

// The path at the guest's address. Errors: Fault, NameTooLong.
std::expected<std::string_view, Errno> load_path(Memory memory, u32 path, u32 length);
// The open folder `fd`. Errors: BadF, NotDir, NotCapable.
std::expected<Descriptor*, Errno> find_directory(ProcessState& process, Fd fd, Rights needed);
// What the fstflags ask for. Errors: Inval.
struct NewTimes {
  std::optional<Timestamp> accessed, modified;
};
std::expected<NewTimes, Errno> new_times(ProcessState& process, u64 accessed, u64 modified, u32 flags);

}  // namespace dormouse::wasi
