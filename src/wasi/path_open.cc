// SPDX-License-Identifier: Apache-2.0
// path_open: files and folders, and the streams behind /net and /run/signals.

#include <charconv>

#include "wasi/calls.h"
#include "wasi/path_resolution.h"

namespace dormouse::wasi {
namespace {

struct Wish {
  u32 oflags;
  Rights base;
  Rights inheriting;
  u32 fdflags;

  bool has(u32 oflag) const { return (oflags & oflag) != 0; }
  bool writes() const { return (base & rights::kFdWrite) != 0; }
};

// The rights that the wish needs of the folder it starts from (the specification of `rights`).
Errno check_rights(const Descriptor& directory, const Wish& wish) {
  Rights base = rights::kPathOpen, inheriting = wish.base | wish.inheriting;
  if (wish.has(kOflagsCreat)) base |= rights::kPathCreateFile;
  if (wish.has(kOflagsTrunc)) base |= rights::kPathFilestatSetSize;
  if ((wish.fdflags & kFdflagsDsync) != 0) inheriting |= rights::kFdDatasync;
  if ((wish.fdflags & (kFdflagsRsync | kFdflagsSync)) != 0) inheriting |= rights::kFdSync;
  return (base & ~directory.base) == 0 && (inheriting & ~directory.inheriting) == 0 ? Errno::Success : Errno::NotCapable;
}

// A stream can be opened in no other way, and the open() of Go and wasi-libc ask for files' rights only: those that just
// a socket has are implied.
Rights stream_rights(const Wish& wish) { return (wish.base & rights::kStream) | rights::kStreamImplied; }

std::optional<std::uint16_t> parse_port(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || port == 0 || text.front() == '0') return std::nullopt;
  return port;
}

std::expected<Descriptor, Errno> open_network(ProcessState& process, std::string_view target, const Wish& wish) {
  Network* const network = process.options.network;
  if (network == nullptr) return std::unexpected(Errno::NoEnt);
  if (target == "tcp" || target == "tls" || target == "listen") return std::unexpected(Errno::Acces);  // Nothing to be listed.
  if (wish.has(kOflagsDirectory)) return std::unexpected(Errno::NotDir);
  if (wish.has(kOflagsCreat) && wish.has(kOflagsExcl)) return std::unexpected(Errno::Exist);
  Descriptor descriptor{.flags = static_cast<std::uint16_t>(wish.fdflags), .base = stream_rights(wish)};
  constexpr std::string_view kListen = "listen/";
  if (target.starts_with(kListen)) {
    const auto port = parse_port(target.substr(kListen.size()));
    if (!port) return std::unexpected(Errno::Inval);
    auto listener = network->listen(*port, process.make_waker());
    if (!listener) return std::unexpected(listener.error());
    descriptor.kind = Descriptor::Kind::Listener;
    descriptor.listener = std::move(*listener);
  } else {
    auto channel = network->dial(target, process.make_waker());
    if (!channel) return std::unexpected(channel.error());
    descriptor.kind = Descriptor::Kind::Stream;
    process.count_kube_activity(**channel);
    descriptor.channel = std::move(*channel);
  }
  return descriptor;
}

std::expected<Descriptor, Errno> open_signals(ProcessState& process, const Wish& wish) {
  if (wish.has(kOflagsDirectory)) return std::unexpected(Errno::NotDir);
  return Descriptor{.kind = Descriptor::Kind::Signals, .flags = static_cast<std::uint16_t>(wish.fdflags), .base = stream_rights(wish), .signals = process.open_signals()};
}

std::expected<Descriptor, Errno> open_directory(Resolved place, const Wish& wish) {
  if (wish.writes() || wish.has(kOflagsTrunc) || wish.has(kOflagsCreat)) return std::unexpected(Errno::IsDir);
  return Descriptor{.kind = Descriptor::Kind::Directory,
                    .read_only = place.read_only,
                    .flags = static_cast<std::uint16_t>(wish.fdflags),
                    .base = wish.base & rights::kDirectory,
                    .inheriting = wish.inheriting,
                    .inode = std::move(place.inode)};
}

std::expected<Descriptor, Errno> open_file(Resolved place, const Wish& wish) {
  if (wish.has(kOflagsDirectory)) return std::unexpected(Errno::NotDir);
  if (place.read_only && (wish.writes() || wish.has(kOflagsTrunc))) return std::unexpected(Errno::RoFs);
  if (wish.has(kOflagsTrunc)) {
    if (const Errno error = as_file(place.inode.get())->resize(0); error != Errno::Success) return std::unexpected(error);
  }
  return Descriptor{.kind = Descriptor::Kind::File,
                    .read_only = place.read_only,
                    .flags = static_cast<std::uint16_t>(wish.fdflags),
                    .base = wish.base & rights::kRegularFile,
                    .inode = std::move(place.inode)};
}

std::expected<Descriptor, Errno> create_file(Resolved place, const Wish& wish) {
  if (!wish.has(kOflagsCreat)) return std::unexpected(Errno::NoEnt);
  if (place.trailing_slash) return std::unexpected(Errno::IsDir);
  if (place.read_only) return std::unexpected(Errno::RoFs);
  auto file = place.parent->create_file(place.name);
  if (!file && file.error() == Errno::Exist && !wish.has(kOflagsExcl)) {
    // Another container of the pod was quicker.
    place.inode = place.parent->lookup(place.name).inode;
    if (as_file(place.inode.get()) == nullptr) return std::unexpected(Errno::Again);
    return open_file(std::move(place), wish);
  }
  if (!file) return std::unexpected(file.error());
  place.inode = std::move(*file);
  return open_file(std::move(place), wish);
}

std::expected<Descriptor, Errno> open_place(ProcessState& process, Resolved place, const Wish& wish) {
  if (place.network) return open_network(process, place.name, wish);
  if (place.inode == nullptr) return create_file(std::move(place), wish);
  if (wish.has(kOflagsCreat) && wish.has(kOflagsExcl)) return std::unexpected(Errno::Exist);
  switch (place.inode->kind()) {
    case Inode::Kind::Symlink: return std::unexpected(Errno::Loop);  // It was not to be followed.
    case Inode::Kind::Signals: return open_signals(process, wish);
    case Inode::Kind::Directory: return open_directory(std::move(place), wish);
    case Inode::Kind::File: break;
  }
  return open_file(std::move(place), wish);
}

}  // namespace

Errno path_open(ProcessState& process, Memory memory, Fd fd, u32 lookup, u32 path, u32 path_length, u32 oflags, u64 base, u64 inheriting, u32 fdflags, u32 opened) {
  if ((lookup & ~kLookupflagsAll) != 0 || (oflags & ~kOflagsAll) != 0 || (fdflags & ~kFdflagsAll) != 0) return Errno::Inval;
  if ((oflags & kOflagsCreat) != 0 && (oflags & kOflagsDirectory) != 0) return Errno::Inval;
  const auto directory = find_directory(process, fd, 0);
  if (!directory) return directory.error();
  // Go asks for all 32 low bits: those that mean nothing are nothing.
  const Wish wish{.oflags = oflags, .base = base & rights::kAll, .inheriting = inheriting & rights::kAll, .fdflags = fdflags};
  if (const Errno error = check_rights(**directory, wish); error != Errno::Success) return error;
  const auto text = load_path(memory, path, path_length);
  if (!text) return text.error();
  if (!memory.slice(opened, 4)) return Errno::Fault;
  const bool exclusive = (oflags & kOflagsCreat) != 0 && (oflags & kOflagsExcl) != 0;
  const LastLink last_link = (lookup & kLookupflagsSymlinkFollow) != 0 && !exclusive ? LastLink::Follow : LastLink::Keep;
  auto place = resolve((*directory)->start(), *text, last_link);
  if (!place) return place.error();
  // First the number, so that nothing is made, truncated or dialled that cannot be given one.
  if (const Errno error = process.descriptors.reserve(); error != Errno::Success) return error;
  auto descriptor = open_place(process, std::move(*place), wish);
  if (!descriptor) return descriptor.error();
  ++process.counters.opens;
  if (descriptor->is_socket()) ++process.counters.open_streams;
  return store(memory, opened, process.descriptors.insert(std::move(*descriptor)));
}

}  // namespace dormouse::wasi
