// SPDX-License-Identifier: Apache-2.0
// Reading and writing: files, standard streams, network streams, signals; accepting connections; listing folders.

#include <limits>

#include "wasi/calls.h"

namespace dormouse::wasi {
namespace {

constexpr u64 kOffsetMax = static_cast<u64>(std::numeric_limits<std::int64_t>::max());

// What one piece of a read or write came to.
struct Moved {
  Errno error = Errno::Success;
  std::size_t bytes = 0;
};
Moved moved(FileData::Written written) { return {written.error, written.bytes}; }
Moved moved(Channel::Transfer transfer) { return {transfer.error, transfer.bytes}; }

// The descriptor, if it may be read or written at all. Errors: BadF, IsDir, NotCapable.
std::expected<Descriptor*, Errno> find_for_io(ProcessState& process, Fd fd, Rights needed) {
  Descriptor* const descriptor = process.find(fd);
  if (descriptor == nullptr) return std::unexpected(Errno::BadF);
  if (descriptor->kind == Descriptor::Kind::Directory) return std::unexpected(Errno::IsDir);
  if ((descriptor->base & needed) != needed) return std::unexpected(Errno::NotCapable);
  return descriptor;
}

Errno read_signals(SignalQueue& signals, const Vectors& vectors, u32& size, bool peek) {
  return vectors.move(size, [&](std::span<std::byte> into) -> Moved {
    const std::size_t bytes = signals.read(into, peek);
    return {bytes == 0 ? Errno::Again : Errno::Success, bytes};
  });
}

Errno read_stream(Channel& channel, const Vectors& vectors, u32& size, bool peek) {
  return vectors.move(size, [&](std::span<std::byte> into) { return moved(channel.guest_read(into, peek)); });
}

Errno read(ProcessState& process, Descriptor& descriptor, const Vectors& vectors, u32& size, bool peek) {
  switch (descriptor.kind) {
    case Descriptor::Kind::Input:
      return vectors.move(size, [&](std::span<std::byte> into) -> Moved {
        const std::string& all = process.options.stdin_bytes;
        const std::size_t bytes = std::min(into.size(), all.size() - process.stdin_offset);
        std::memcpy(into.data(), all.data() + process.stdin_offset, bytes);
        process.stdin_offset += bytes;
        return {Errno::Success, bytes};
      });
    case Descriptor::Kind::File:
      return vectors.move(size, [&](std::span<std::byte> into) -> Moved {
        const std::size_t bytes = descriptor.file().read(descriptor.offset, into);
        descriptor.offset += bytes;
        return {Errno::Success, bytes};
      });
    case Descriptor::Kind::Stream:
      process.count_kube_activity(*descriptor.channel);
      return read_stream(*descriptor.channel, vectors, size, peek);
    case Descriptor::Kind::Signals: return read_signals(*descriptor.signals, vectors, size, peek);
    case Descriptor::Kind::Listener: return Errno::NotConn;
    case Descriptor::Kind::Output:
    case Descriptor::Kind::Directory:
    case Descriptor::Kind::Closed: break;
  }
  return Errno::BadF;
}

Errno write_stream(Descriptor& descriptor, const Vectors& vectors, u32& size) {
  const Errno error = vectors.move(size, [&](std::span<std::byte> from) {
    const Channel::Transfer transfer = descriptor.channel->guest_write(from);
    // Only now is the guest interested in room again.
    if (transfer.error == Errno::Again || (transfer.error == Errno::Success && transfer.bytes < from.size())) descriptor.write_edge = true;
    return moved(transfer);
  });
  // An empty write asks whether the stream works: so a guest (Go's Dial) learns that its connect failed.
  return error == Errno::Success && size == 0 ? descriptor.channel->guest_write({}).error : error;
}

Errno write(ProcessState& process, Descriptor& descriptor, const Vectors& vectors, u32& size) {
  switch (descriptor.kind) {
    case Descriptor::Kind::Output:
      return vectors.move(size, [&](std::span<std::byte> from) -> Moved {
        descriptor.output->write(from);
        return {Errno::Success, from.size()};
      });
    case Descriptor::Kind::File:
      if (descriptor.read_only) return Errno::RoFs;
      return vectors.move(size, [&](std::span<std::byte> from) -> Moved {
        if ((descriptor.flags & kFdflagsAppend) != 0) return moved(descriptor.file().append(from, descriptor.offset));
        const Moved result = moved(descriptor.file().write(descriptor.offset, from));
        descriptor.offset += result.bytes;
        return result;
      });
    case Descriptor::Kind::Stream:
      process.count_kube_activity(*descriptor.channel);
      return write_stream(descriptor, vectors, size);
    case Descriptor::Kind::Listener: return Errno::NotConn;
    case Descriptor::Kind::Signals: return Errno::NotSup;
    case Descriptor::Kind::Input:
    case Descriptor::Kind::Directory:
    case Descriptor::Kind::Closed: break;
  }
  return Errno::BadF;
}

Errno count_read(ProcessState& process, Memory memory, u32 size_at, u32 size) {
  ++process.counters.reads;
  process.counters.read_bytes += size;
  return store(memory, size_at, size);
}
Errno count_written(ProcessState& process, Memory memory, u32 size_at, u32 size) {
  ++process.counters.writes;
  process.counters.written_bytes += size;
  return store(memory, size_at, size);
}

}  // namespace

Errno fd_read(ProcessState& process, Memory memory, Fd fd, u32 vectors, u32 count, u32 size_at) {
  const auto descriptor = find_for_io(process, fd, rights::kFdRead);
  if (!descriptor) return descriptor.error();
  const auto into = Vectors::load(memory, vectors, count);
  if (!into) return into.error();
  // Looked at before anything is taken from the stream.
  if (!memory.slice(size_at, 4)) return Errno::Fault;
  u32 size = 0;
  if (const Errno error = read(process, **descriptor, *into, size, false); error != Errno::Success) return error;
  return count_read(process, memory, size_at, size);
}

Errno fd_write(ProcessState& process, Memory memory, Fd fd, u32 vectors, u32 count, u32 size_at) {
  const auto descriptor = find_for_io(process, fd, rights::kFdWrite);
  if (!descriptor) return descriptor.error();
  const auto from = Vectors::load(memory, vectors, count);
  if (!from) return from.error();
  if (!memory.slice(size_at, 4)) return Errno::Fault;
  u32 size = 0;
  if (const Errno error = write(process, **descriptor, *from, size); error != Errno::Success) return error;
  return count_written(process, memory, size_at, size);
}

Errno fd_pread(ProcessState& process, Memory memory, Fd fd, u32 vectors, u32 count, u64 offset, u32 size_at) {
  const auto descriptor = find_for_io(process, fd, 0);
  if (!descriptor) return descriptor.error();
  if ((*descriptor)->kind != Descriptor::Kind::File) return Errno::SPipe;
  if (((*descriptor)->base & (rights::kFdRead | rights::kFdSeek)) != (rights::kFdRead | rights::kFdSeek)) return Errno::NotCapable;
  if (offset > kOffsetMax) return Errno::Inval;
  const auto into = Vectors::load(memory, vectors, count);
  if (!into) return into.error();
  if (!memory.slice(size_at, 4)) return Errno::Fault;
  u32 size = 0;
  const Errno error = into->move(size, [&](std::span<std::byte> piece) -> Moved {
    const std::size_t bytes = (*descriptor)->file().read(offset, piece);
    offset += bytes;
    return {Errno::Success, bytes};
  });
  if (error != Errno::Success) return error;
  return count_read(process, memory, size_at, size);
}

// With APPEND set the bytes go to the end, as the flag's definition has it (and Linux).
Errno fd_pwrite(ProcessState& process, Memory memory, Fd fd, u32 vectors, u32 count, u64 offset, u32 size_at) {
  const auto descriptor = find_for_io(process, fd, 0);
  if (!descriptor) return descriptor.error();
  if ((*descriptor)->kind != Descriptor::Kind::File) return Errno::SPipe;
  if (((*descriptor)->base & (rights::kFdWrite | rights::kFdSeek)) != (rights::kFdWrite | rights::kFdSeek)) return Errno::NotCapable;
  if (offset > kOffsetMax) return Errno::Inval;
  if ((*descriptor)->read_only) return Errno::RoFs;
  const auto from = Vectors::load(memory, vectors, count);
  if (!from) return from.error();
  if (!memory.slice(size_at, 4)) return Errno::Fault;
  u32 size = 0;
  const Errno error = from->move(size, [&](std::span<std::byte> piece) -> Moved {
    u64 end = 0;
    if (((*descriptor)->flags & kFdflagsAppend) != 0) return moved((*descriptor)->file().append(piece, end));
    const Moved result = moved((*descriptor)->file().write(offset, piece));
    offset += result.bytes;
    return result;
  });
  if (error != Errno::Success) return error;
  return count_written(process, memory, size_at, size);
}

Errno fd_readdir(ProcessState& process, Memory memory, Fd fd, u32 buffer, u32 length, u64 cookie, u32 used_at) {
  const auto descriptor = find_directory(process, fd, rights::kFdReaddir);
  if (!descriptor) return descriptor.error();
  const auto into = memory.slice(buffer, length);
  if (!into || !memory.slice(used_at, 4)) return Errno::Fault;
  std::size_t used = 0;
  const auto put = [&](const Directory::Listed& listed) {
    const Dirent entry{.next = listed.next_cookie, .inode = listed.inode, .name_length = static_cast<u32>(listed.name.size()), .filetype = listed.filetype};
    const auto append = [&](const void* bytes, std::size_t size) {
      size = std::min(size, into->size() - used);
      std::memcpy(into->data() + used, bytes, size);
      used += size;
    };
    append(&entry, sizeof(entry));
    append(listed.name.data(), listed.name.size());
    return used < into->size();
  };
  Directory& directory = (*descriptor)->directory();
  bool more = !into->empty();
  if (more && cookie == 0) more = put({1, directory.number(), Filetype::Directory, "."});
  if (more && cookie <= 1) more = put({Directory::kFirstCookie, directory.parent_number(), Filetype::Directory, ".."});
  if (more) directory.list(std::max(cookie, Directory::kFirstCookie), put);
  return store(memory, used_at, static_cast<u32>(used));
}

Errno sock_accept(ProcessState& process, Memory memory, Fd fd, u32 flags, u32 opened) {
  Descriptor* const listener = process.find(fd);
  if (listener == nullptr) return Errno::BadF;
  if (!listener->is_socket()) return Errno::NotSock;
  if (listener->kind != Descriptor::Kind::Listener || (flags & ~kFdflagsAll) != 0) return Errno::Inval;
  if ((listener->base & rights::kSockAccept) == 0) return Errno::NotCapable;
  if (!memory.slice(opened, 4)) return Errno::Fault;
  if (!listener->listener->pending()) return Errno::Again;
  // Before the connection is taken off the queue: it must not get lost.
  if (const Errno error = process.descriptors.reserve(); error != Errno::Success) return error;
  auto channel = process.find(fd)->listener->accept();
  if (channel == nullptr) return Errno::Again;
  channel->set_guest_waker(process.make_waker());
  ++process.counters.opens;
  ++process.counters.open_streams;
  const Fd accepted = process.descriptors.insert(
      {.kind = Descriptor::Kind::Stream, .flags = static_cast<std::uint16_t>(flags), .base = rights::kStream, .channel = std::move(channel)});
  return store(memory, opened, accepted);
}

// WAITALL cannot be had where nothing blocks: what is there is given. DATA_TRUNCATED does not occur on byte streams.
Errno sock_recv(ProcessState& process, Memory memory, Fd fd, u32 vectors, u32 count, u32 flags, u32 size_at, u32 out_flags) {
  Descriptor* const descriptor = process.find(fd);
  if (descriptor == nullptr) return Errno::BadF;
  if (!descriptor->is_socket()) return Errno::NotSock;
  if ((flags & ~kRiflagsAll) != 0) return Errno::Inval;
  if ((descriptor->base & rights::kFdRead) == 0) return Errno::NotCapable;
  const auto into = Vectors::load(memory, vectors, count);
  if (!into) return into.error();
  if (!memory.slice(size_at, 4) || !memory.slice(out_flags, 2)) return Errno::Fault;
  const bool peek = (flags & kRiflagsRecvPeek) != 0;
  u32 size = 0;
  if (const Errno error = read(process, *descriptor, peek ? into->first() : *into, size, peek); error != Errno::Success) return error;
  if (const Errno error = store(memory, out_flags, std::uint16_t{0}); error != Errno::Success) return error;
  return count_read(process, memory, size_at, size);
}

Errno sock_send(ProcessState& process, Memory memory, Fd fd, u32 vectors, u32 count, u32 flags, u32 size_at) {
  Descriptor* const descriptor = process.find(fd);
  if (descriptor == nullptr) return Errno::BadF;
  if (!descriptor->is_socket()) return Errno::NotSock;
  if (flags != 0) return Errno::Inval;
  return fd_write(process, memory, fd, vectors, count, size_at);
}

Errno sock_shutdown(ProcessState& process, Memory, Fd fd, u32 how) {
  Descriptor* const descriptor = process.find(fd);
  if (descriptor == nullptr) return Errno::BadF;
  if (!descriptor->is_socket()) return Errno::NotSock;
  if (how == 0 || (how & ~kSdflagsAll) != 0) return Errno::Inval;
  if ((descriptor->base & rights::kSockShutdown) == 0) return Errno::NotCapable;
  if (descriptor->kind != Descriptor::Kind::Stream) return Errno::NotConn;
  process.count_kube_activity(*descriptor->channel);
  if ((how & kSdflagsRd) != 0) descriptor->channel->guest_shutdown_read();
  if ((how & kSdflagsWr) != 0) descriptor->channel->guest_shutdown_write();
  return Errno::Success;
}

}  // namespace dormouse::wasi
