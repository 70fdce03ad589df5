// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a guest's numbers stand for: open files, folders, streams, each with its rights, flags and position.
//
// Ownership: the table owns its descriptors; a Descriptor& is good until the next insert or remove.
// Threads: the guest's thread.
// Invariant: the table's slots are charged to the account; at most `descriptors_max` are open.

#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/memory_account.h"
#include "base/types.h"
#include "wasi/abi.h"
#include "wasi/channel.h"
#include "wasi/file_tree.h"
#include "wasi/network.h"
#include "wasi/path_resolution.h"
#include "wasi/signal_queue.h"

namespace dormouse::wasi {

class OutputSink;

struct Descriptor {
  enum class Kind : std::uint8_t { Closed, Input, Output, File, Directory, Stream, Listener, Signals };

  Kind kind = Kind::Closed;
  bool read_only = false;      // Reached through a read-only mount or in a read-only volume.
  bool write_edge = true;      // Stream: FD_WRITE is to be told at the next chance; off once told, on after a short write.
  bool failure_told = false;   // Stream: the failure was told as FD_WRITE readiness.
  std::uint16_t flags = 0;
  Rights base = 0;
  Rights inheriting = 0;
  std::uint64_t offset = 0;
  std::shared_ptr<Inode> inode;           // File, Directory.
  std::shared_ptr<Channel> channel;       // Stream.
  std::unique_ptr<Listener> listener;
  std::shared_ptr<SignalQueue> signals;
  OutputSink* output = nullptr;           // Output.
  std::unique_ptr<std::string> preopened; // Its name, of a preopened folder.

  bool is_socket() const { return kind == Kind::Stream || kind == Kind::Listener || kind == Kind::Signals; }
  Filetype filetype() const {
    switch (kind) {
      case Kind::File: return Filetype::RegularFile;
      case Kind::Directory: return Filetype::Directory;
      case Kind::Input:
      case Kind::Output: return Filetype::CharacterDevice;
      case Kind::Stream:
      case Kind::Listener:
      case Kind::Signals: return Filetype::SocketStream;
      case Kind::Closed: break;
    }
    return Filetype::Unknown;
  }
  File& file() const { return static_cast<File&>(*inode); }
  Directory& directory() const { return static_cast<Directory&>(*inode); }
  PathStart start() const { return {std::static_pointer_cast<Directory>(inode), read_only}; }
};

class DescriptorTable final : Immovable {
 public:
  DescriptorTable(MemoryAccount& account, std::uint32_t descriptors_max) : account_(account), descriptors_max_(descriptors_max) {}
  ~DescriptorTable();

  // Null if it is not open.
  Descriptor* find(Fd fd) { return fd < slots_.size() && slots_[fd].kind != Descriptor::Kind::Closed ? &slots_[fd] : nullptr; }
  // Makes sure that the next insert() succeeds. Errors: MFile, NoMem.
  Errno reserve();
  // Gives the lowest free number. REQUIRES: reserve() said Success since the last insert().
  Fd insert(Descriptor descriptor);
  // Takes it out. REQUIRES: it is open.
  Descriptor remove(Fd fd);
  // Moves what is open at `from` to `to`, which is open too; gives what was there. REQUIRES: both open, different.
  Descriptor replace(Fd from, Fd to);

  std::uint32_t open() const { return open_; }
  template <typename F>
  void for_each(F&& visit) {
    for (Descriptor& descriptor : slots_) {
      if (descriptor.kind != Descriptor::Kind::Closed) visit(descriptor);
    }
  }

 private:
  static constexpr std::size_t kSlotsMin = 8;  // Standard streams, the root, and what a small operator has open.
  void set_free(Fd fd, bool is_free);

  MemoryAccount& account_;
  const std::uint32_t descriptors_max_;
  std::vector<Descriptor> slots_;     // As many as are charged.
  std::vector<std::uint64_t> free_;   // A bit for each slot.
  std::uint32_t open_ = 0;
};

}  // namespace dormouse::wasi
