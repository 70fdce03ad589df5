// SPDX-License-Identifier: Apache-2.0
#pragma once
// A two-way byte channel between a guest's stream and the host's side of it (gateway, egress, listener).
//
// It is the only thing that a guest's thread and the host's loop share, so it is the only place of locks
// between them. Each direction is a bounded queue: a full queue is back-pressure, never a copy elsewhere.
//
// Ownership: shared by the two ends; either may go first.
// Threads: guest_* on whatever thread runs the guest, host_* on the loop; the callbacks run on the caller's
//   thread of the other side, without the lock held, and only mark or post.
// Invariant: the bytes held are charged to the guest's MemoryAccount and at most the capacity a direction.

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "base/memory_account.h"
#include "base/types.h"
#include "wasi/abi.h"

namespace dormouse::wasi {

class Channel final : Immovable {
 public:
  static constexpr std::size_t kCapacityBytes = 64 * 1024;  // A direction.

  // `account` outlives the channel.
  explicit Channel(MemoryAccount& account, std::size_t capacity_bytes = kCapacityBytes);
  ~Channel();

  // --- The guest's end ---
  struct Transfer {
    Errno error = Errno::Success;  // Again when nothing can be moved now; Pipe when the other side is gone; NoMem past the limit.
    std::size_t bytes = 0;         // 0 with Success on a read: end of stream.
  };
  Transfer guest_read(std::span<std::byte> into, bool peek = false);
  Transfer guest_write(std::span<const std::byte> from);
  void guest_shutdown_write();
  void guest_shutdown_read();
  void guest_close();
  struct Readiness {
    std::size_t readable_bytes = 0;
    std::size_t writable_bytes = 0;
    bool hangup = false;           // The host has ended its direction: reads drain, then end.
    bool failed = false;           // A read or write would fail at once.
    bool connecting = false;       // Neither readable nor writable yet.
  };
  Readiness readiness() const;
  // Called whenever readiness may have improved. Set before the channel is handed to the host; called on the host's thread.
  void set_guest_waker(std::function<void()> waker);

  // --- The host's end ---
  // The guest's dial has succeeded (channels begin connecting unless `connected()` is called at once).
  void host_connected();
  // Takes up to `into.size()` of what the guest wrote; 0 when there is nothing now.
  std::size_t host_read(std::span<std::byte> into);
  bool host_at_end() const;        // The guest has shut down writing, and all of it was read.
  bool guest_gone() const;         // The guest has closed its end.
  // Queues for the guest as much as fits; returns how much was taken.
  std::size_t host_write(std::span<const std::byte> from);
  std::size_t host_writable_bytes() const;
  void host_end();                 // End of stream towards the guest.
  // The channel has failed: pending bytes are dropped, the guest's next read and write give `error`.
  void host_fail(Errno error);
  // Called (at most once until rearmed by the next host_* call on the same matter) when the guest wrote, made room, or closed.
  void set_host_notify(std::function<void()> notify);

 private:
  struct Queue;
  mutable std::mutex mutex_;
  MemoryAccount& account_;
  const std::size_t capacity_bytes_;
  std::unique_ptr<Queue> to_host_;
  std::unique_ptr<Queue> to_guest_;
  std::function<void()> guest_waker_;
  std::function<void()> host_notify_;
  bool connecting_ = true;
  bool guest_gone_ = false;
  Errno failure_ = Errno::Success;
};

}  // namespace dormouse::wasi
