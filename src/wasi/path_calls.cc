// SPDX-License-Identifier: Apache-2.0
// path_*, but for path_open: names made, removed, moved and looked at. Resolution is path_resolution.h's.

#include "base/utf8.h"
#include "wasi/calls.h"
#include "wasi/path_resolution.h"

namespace dormouse::wasi {
namespace {

// The place that `path` names from the folder `fd`. Errors: of find_directory, load_path, resolve.
std::expected<Resolved, Errno> find_place(ProcessState& process, Memory memory, Fd fd, Rights needed, u32 path, u32 length, LastLink last_link) {
  const auto directory = find_directory(process, fd, needed);
  if (!directory) return std::unexpected(directory.error());
  const auto text = load_path(memory, path, length);
  if (!text) return std::unexpected(text.error());
  return resolve((*directory)->start(), *text, last_link);
}

std::expected<LastLink, Errno> last_link_of(u32 lookup) {
  if ((lookup & ~kLookupflagsAll) != 0) return std::unexpected(Errno::Inval);
  return (lookup & kLookupflagsSymlinkFollow) != 0 ? LastLink::Follow : LastLink::Keep;
}

// Whether a new name can be put there. Errors: Exist, RoFs.
Errno check_vacant(const Resolved& place) {
  if (place.inode != nullptr || place.parent == nullptr) return Errno::Exist;
  return place.read_only ? Errno::RoFs : Errno::Success;
}

}  // namespace

std::expected<std::string_view, Errno> load_path(Memory memory, u32 path, u32 length) {
  const auto bytes = memory.slice(path, length);
  if (!bytes) return std::unexpected(Errno::Fault);
  if (length > kPathBytesMax) return std::unexpected(Errno::NameTooLong);
  return std::string_view(reinterpret_cast<const char*>(bytes->data()), bytes->size());
}

std::expected<Descriptor*, Errno> find_directory(ProcessState& process, Fd fd, Rights needed) {
  Descriptor* const descriptor = process.find(fd);
  if (descriptor == nullptr) return std::unexpected(Errno::BadF);
  if (descriptor->kind != Descriptor::Kind::Directory) return std::unexpected(Errno::NotDir);
  if ((descriptor->base & needed) != needed) return std::unexpected(Errno::NotCapable);
  return descriptor;
}

Errno path_create_directory(ProcessState& process, Memory memory, Fd fd, u32 path, u32 path_length) {
  const auto place = find_place(process, memory, fd, rights::kPathCreateDirectory, path, path_length, LastLink::KeepAlways);
  if (!place) return place.error();
  if (const Errno error = check_vacant(*place); error != Errno::Success) return error;
  const auto made = place->parent->create_directory(place->name);
  return made ? Errno::Success : made.error();
}

Errno path_filestat_get(ProcessState& process, Memory memory, Fd fd, u32 lookup, u32 path, u32 path_length, u32 stat) {
  const auto last_link = last_link_of(lookup);
  if (!last_link) return last_link.error();
  const auto place = find_place(process, memory, fd, rights::kPathFilestatGet, path, path_length, *last_link);
  if (!place) return place.error();
  if (place->network) {
    // Asking does not dial, so each name looks as if it were there.
    const bool folder = place->name == "tcp" || place->name == "tls" || place->name == "listen";
    return store(memory, stat, Filestat{.filetype = folder ? Filetype::Directory : Filetype::SocketStream, .links = 1});
  }
  if (place->inode == nullptr) return Errno::NoEnt;
  return store(memory, stat, place->inode->stat());
}

Errno path_filestat_set_times(ProcessState& process, Memory memory, Fd fd, u32 lookup, u32 path, u32 path_length, u64 accessed, u64 modified, u32 flags) {
  const auto last_link = last_link_of(lookup);
  if (!last_link) return last_link.error();
  const auto place = find_place(process, memory, fd, rights::kPathFilestatSetTimes, path, path_length, *last_link);
  if (!place) return place.error();
  const auto times = new_times(process, accessed, modified, flags);
  if (!times) return times.error();
  if (place->network) return Errno::RoFs;
  if (place->inode == nullptr) return Errno::NoEnt;
  if (place->read_only) return Errno::RoFs;
  place->inode->set_times(times->accessed ? &*times->accessed : nullptr, times->modified ? &*times->modified : nullptr);
  return Errno::Success;
}

Errno path_link(ProcessState& process, Memory memory, Fd from, u32 lookup, u32 path, u32 path_length, Fd to, u32 new_path, u32 new_path_length) {
  const auto last_link = last_link_of(lookup);
  if (!last_link) return last_link.error();
  if (const auto target = find_directory(process, to, rights::kPathLinkTarget); !target) return target.error();
  const auto source = find_place(process, memory, from, rights::kPathLinkSource, path, path_length, *last_link);
  if (!source) return source.error();
  const auto place = find_place(process, memory, to, rights::kPathLinkTarget, new_path, new_path_length, LastLink::KeepAlways);
  if (!place) return place.error();
  if (source->network) return Errno::Perm;
  if (source->inode == nullptr) return Errno::NoEnt;
  if (const Errno error = check_vacant(*place); error != Errno::Success) return error;
  if (place->trailing_slash) return Errno::NoEnt;
  // A name in a place that can be written would make the file itself so.
  if (source->read_only) return Errno::RoFs;
  return place->parent->link(place->name, source->inode);
}

Errno path_readlink(ProcessState& process, Memory memory, Fd fd, u32 path, u32 path_length, u32 buffer, u32 length, u32 used_at) {
  const auto place = find_place(process, memory, fd, rights::kPathReadlink, path, path_length, LastLink::Keep);
  if (!place) return place.error();
  if (place->inode == nullptr && !place->network) return Errno::NoEnt;
  const Symlink* const link = as_symlink(place->inode.get());
  if (link == nullptr) return Errno::Inval;
  const auto into = memory.slice(buffer, length);
  if (!into) return Errno::Fault;
  const std::size_t used = std::min(into->size(), link->target().size());
  std::memcpy(into->data(), link->target().data(), used);
  return store(memory, used_at, static_cast<u32>(used));
}

Errno path_remove_directory(ProcessState& process, Memory memory, Fd fd, u32 path, u32 path_length) {
  const auto place = find_place(process, memory, fd, rights::kPathRemoveDirectory, path, path_length, LastLink::KeepAlways);
  if (!place) return place.error();
  if (place->network) return Errno::RoFs;
  if (place->inode == nullptr) return Errno::NoEnt;
  if (place->inode->kind() != Inode::Kind::Directory) return Errno::NotDir;
  if (place->parent == nullptr) return Errno::Inval;  // "." or ".." names nothing that could be removed.
  if (place->read_only) return Errno::RoFs;
  return place->parent->remove_directory(place->name);
}

Errno path_rename(ProcessState& process, Memory memory, Fd from, u32 path, u32 path_length, Fd to, u32 new_path, u32 new_path_length) {
  if (const auto target = find_directory(process, to, rights::kPathRenameTarget); !target) return target.error();
  const auto source = find_place(process, memory, from, rights::kPathRenameSource, path, path_length, LastLink::KeepAlways);
  if (!source) return source.error();
  const auto place = find_place(process, memory, to, rights::kPathRenameTarget, new_path, new_path_length, LastLink::KeepAlways);
  if (!place) return place.error();
  if (source->network || place->network) return Errno::RoFs;
  if (source->inode == nullptr) return Errno::NoEnt;
  if (source->parent == nullptr || place->parent == nullptr) return Errno::Busy;
  if (source->read_only || place->read_only) return Errno::RoFs;
  return Directory::rename(*source->parent, source->name, *place->parent, place->name, source->trailing_slash || place->trailing_slash);
}

// An absolute target is NotCapable at once: it could never be followed.
Errno path_symlink(ProcessState& process, Memory memory, u32 target, u32 target_length, Fd fd, u32 path, u32 path_length) {
  const auto place = find_place(process, memory, fd, rights::kPathSymlink, path, path_length, LastLink::KeepAlways);
  if (!place) return place.error();
  const auto text = load_path(memory, target, target_length);
  if (!text) return text.error();
  if (text->empty()) return Errno::NoEnt;
  if (text->find('\0') != std::string_view::npos) return Errno::Inval;
  if (!is_utf8(*text)) return Errno::IlSeq;
  if (text->front() == '/') return Errno::NotCapable;
  if (const Errno error = check_vacant(*place); error != Errno::Success) return error;
  if (place->trailing_slash) return Errno::NoEnt;
  return place->parent->create_symlink(place->name, *text);
}

Errno path_unlink_file(ProcessState& process, Memory memory, Fd fd, u32 path, u32 path_length) {
  const auto place = find_place(process, memory, fd, rights::kPathUnlinkFile, path, path_length, LastLink::KeepAlways);
  if (!place) return place.error();
  if (place->network) return Errno::RoFs;
  if (place->inode == nullptr) return Errno::NoEnt;
  if (place->inode->kind() == Inode::Kind::Directory) return Errno::IsDir;
  if (place->read_only) return Errno::RoFs;
  return place->parent->unlink(place->name);
}

}  // namespace dormouse::wasi
