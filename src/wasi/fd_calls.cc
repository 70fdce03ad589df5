// SPDX-License-Identifier: Apache-2.0
// fd_*: what a descriptor is, its flags, rights, position and size.
//
// What a kind of descriptor cannot do has the errno of that kind (IsDir, SPipe, …), before rights are looked at, so that
// programs meet what POSIX tells them; NotCapable is for what it could do, had it the right.

#include <limits>

#include "wasi/calls.h"

namespace dormouse::wasi {
namespace {

constexpr u64 kOffsetMax = static_cast<u64>(std::numeric_limits<std::int64_t>::max());

Errno check_rights(const Descriptor& descriptor, Rights needed) { return (descriptor.base & needed) == needed ? Errno::Success : Errno::NotCapable; }

// The open file `fd`. Errors: BadF, IsDir, `otherwise` (for what is neither file nor folder), NotCapable.
std::expected<Descriptor*, Errno> find_file(ProcessState& process, Fd fd, Errno otherwise, Rights needed) {
  Descriptor* const descriptor = process.find(fd);
  if (descriptor == nullptr) return std::unexpected(Errno::BadF);
  if (descriptor->kind == Descriptor::Kind::Directory) return std::unexpected(Errno::IsDir);
  if (descriptor->kind != Descriptor::Kind::File) return std::unexpected(otherwise);
  if (check_rights(*descriptor, needed) != Errno::Success) return std::unexpected(Errno::NotCapable);
  return descriptor;
}

// Everything is in memory: there is nothing to be waited for.
Errno sync(ProcessState& process, Fd fd, Rights needed) {
  const Descriptor* const descriptor = process.find(fd);
  if (descriptor == nullptr) return Errno::BadF;
  if (descriptor->inode == nullptr) return Errno::Inval;
  return check_rights(*descriptor, needed);
}

}  // namespace

Errno fd_advise(ProcessState& process, Memory, Fd fd, u64 offset, u64 length, u32 advice) {
  const auto file = find_file(process, fd, Errno::SPipe, rights::kFdAdvise);
  if (!file) return file.error();
  if (advice > static_cast<u32>(Advice::NoReuse) || offset > kOffsetMax || length > kOffsetMax) return Errno::Inval;
  return Errno::Success;
}

Errno fd_allocate(ProcessState& process, Memory, Fd fd, u64 offset, u64 length) {
  const auto file = find_file(process, fd, Errno::SPipe, rights::kFdAllocate);
  if (!file) return file.error();
  if (length == 0 || offset > kOffsetMax) return Errno::Inval;
  if ((*file)->read_only) return Errno::RoFs;
  return (*file)->file().allocate(offset, length);
}

Errno fd_close(ProcessState& process, Memory, Fd fd) {
  if (process.find(fd) == nullptr) return Errno::BadF;
  process.release(process.descriptors.remove(fd));
  return Errno::Success;
}

Errno fd_datasync(ProcessState& process, Memory, Fd fd) { return sync(process, fd, rights::kFdDatasync); }
Errno fd_sync(ProcessState& process, Memory, Fd fd) { return sync(process, fd, rights::kFdSync); }

Errno fd_fdstat_get(ProcessState& process, Memory memory, Fd fd, u32 stat) {
  const Descriptor* const descriptor = process.find(fd);
  if (descriptor == nullptr) return Errno::BadF;
  return store(memory, stat,
               Fdstat{.filetype = descriptor->filetype(), .flags = descriptor->flags, .rights_base = descriptor->base, .rights_inheriting = descriptor->inheriting});
}

// Streams never block, whatever NONBLOCK says; the sync flags change nothing in memory. All are kept and told.
Errno fd_fdstat_set_flags(ProcessState& process, Memory, Fd fd, u32 flags) {
  Descriptor* const descriptor = process.find(fd);
  if (descriptor == nullptr) return Errno::BadF;
  if ((flags & ~kFdflagsAll) != 0) return Errno::Inval;
  if (const Errno error = check_rights(*descriptor, rights::kFdFdstatSetFlags); error != Errno::Success) return error;
  descriptor->flags = static_cast<std::uint16_t>(flags);
  return Errno::Success;
}

Errno fd_fdstat_set_rights(ProcessState& process, Memory, Fd fd, u64 base, u64 inheriting) {
  Descriptor* const descriptor = process.find(fd);
  if (descriptor == nullptr) return Errno::BadF;
  if ((base & ~descriptor->base) != 0 || (inheriting & ~descriptor->inheriting) != 0) return Errno::NotCapable;
  descriptor->base = base;
  descriptor->inheriting = inheriting;
  return Errno::Success;
}

Errno fd_filestat_get(ProcessState& process, Memory memory, Fd fd, u32 stat) {
  const Descriptor* const descriptor = process.find(fd);
  if (descriptor == nullptr) return Errno::BadF;
  if (const Errno error = check_rights(*descriptor, rights::kFdFilestatGet); error != Errno::Success) return error;
  if (descriptor->inode != nullptr) return store(memory, stat, descriptor->inode->stat());
  if (descriptor->channel != nullptr) process.count_kube_activity(*descriptor->channel);
  // Streams and devices have a device of their own, and their number there.
  return store(memory, stat, Filestat{.device = 0, .inode = u64{fd} + 1, .filetype = descriptor->filetype(), .links = 1});
}

Errno fd_filestat_set_size(ProcessState& process, Memory, Fd fd, u64 size) {
  const auto file = find_file(process, fd, Errno::Inval, rights::kFdFilestatSetSize);
  if (!file) return file.error();
  if ((*file)->read_only) return Errno::RoFs;
  return (*file)->file().resize(size);
}

std::expected<NewTimes, Errno> new_times(ProcessState& process, u64 accessed, u64 modified, u32 flags) {
  constexpr u32 kAccessed = kFstflagsAtim | kFstflagsAtimNow, kModified = kFstflagsMtim | kFstflagsMtimNow;
  if ((flags & ~kFstflagsAll) != 0 || (flags & kAccessed) == kAccessed || (flags & kModified) == kModified) return std::unexpected(Errno::Inval);
  const auto now = static_cast<Timestamp>(process.options.clock.realtime().count());
  NewTimes times;
  if ((flags & kAccessed) != 0) times.accessed = (flags & kFstflagsAtim) != 0 ? accessed : now;
  if ((flags & kModified) != 0) times.modified = (flags & kFstflagsMtim) != 0 ? modified : now;
  return times;
}

Errno fd_filestat_set_times(ProcessState& process, Memory, Fd fd, u64 accessed, u64 modified, u32 flags) {
  Descriptor* const descriptor = process.find(fd);
  if (descriptor == nullptr) return Errno::BadF;
  const auto times = new_times(process, accessed, modified, flags);
  if (!times) return times.error();
  if (descriptor->inode == nullptr) return Errno::Inval;
  if (const Errno error = check_rights(*descriptor, rights::kFdFilestatSetTimes); error != Errno::Success) return error;
  if (descriptor->read_only) return Errno::RoFs;
  descriptor->inode->set_times(times->accessed ? &*times->accessed : nullptr, times->modified ? &*times->modified : nullptr);
  return Errno::Success;
}

// Programs look for preopened folders from 3 on until they meet BadF.
Errno fd_prestat_get(ProcessState& process, Memory memory, Fd fd, u32 prestat) {
  const Descriptor* const descriptor = process.find(fd);
  if (descriptor == nullptr || descriptor->preopened == nullptr) return Errno::BadF;
  return store(memory, prestat, Prestat{.name_length = static_cast<u32>(descriptor->preopened->size())});
}

Errno fd_prestat_dir_name(ProcessState& process, Memory memory, Fd fd, u32 path, u32 length) {
  const Descriptor* const descriptor = process.find(fd);
  if (descriptor == nullptr || descriptor->preopened == nullptr) return Errno::BadF;
  const std::string& name = *descriptor->preopened;
  if (length < name.size()) return Errno::NameTooLong;
  const auto into = memory.slice(path, name.size());
  if (!into) return Errno::Fault;
  std::memcpy(into->data(), name.data(), name.size());
  return Errno::Success;
}

Errno fd_renumber(ProcessState& process, Memory, Fd from, Fd to) {
  if (process.find(from) == nullptr || process.find(to) == nullptr) return Errno::BadF;
  if (from != to) process.release(process.descriptors.replace(from, to));
  return Errno::Success;
}

Errno fd_seek(ProcessState& process, Memory memory, Fd fd, u64 delta, u32 whence, u32 position) {
  // Where one is may be asked with less.
  const bool only_tells = delta == 0 && whence == static_cast<u32>(Whence::Current);
  const auto file = find_file(process, fd, Errno::SPipe, 0);
  if (!file) return file.error();
  if (((*file)->base & (rights::kFdSeek | (only_tells ? rights::kFdTell : 0))) == 0) return Errno::NotCapable;
  u64 start = 0;
  switch (whence) {
    case static_cast<u32>(Whence::Set): break;
    case static_cast<u32>(Whence::Current): start = (*file)->offset; break;
    case static_cast<u32>(Whence::End): start = (*file)->file().size_bytes(); break;
    default: return Errno::Inval;
  }
  std::int64_t target = 0;
  if (__builtin_add_overflow(static_cast<std::int64_t>(start), static_cast<std::int64_t>(delta), &target) || target < 0) return Errno::Inval;
  if (const Errno error = store(memory, position, static_cast<u64>(target)); error != Errno::Success) return error;
  (*file)->offset = static_cast<u64>(target);
  return Errno::Success;
}

Errno fd_tell(ProcessState& process, Memory memory, Fd fd, u32 position) {
  const auto file = find_file(process, fd, Errno::SPipe, 0);
  if (!file) return file.error();
  if (((*file)->base & (rights::kFdSeek | rights::kFdTell)) == 0) return Errno::NotCapable;
  return store(memory, position, (*file)->offset);
}

}  // namespace dormouse::wasi
