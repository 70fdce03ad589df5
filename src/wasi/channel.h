// SPDX-License-Identifier: Apache-2.0
#pragma once
// A two-way byte channel between a guest's stream and the host's side of it (gateway, egress, listener).
//
// It is the only thing that a guest's thread and the host's loop share, so it is the only place of locks
// between them. Each direction is a bounded queue: a full queue is back-pressure, never a copy elsewhere.
//
// Ownership: shared by the two ends; either may go first.
// A block (4 KiB) is made when bytes come to an empty queue and freed when they are gone: an idle stream holds none.
//
// Threads: guest_* on whatever thread runs the guest, host_* on the loop; the callbacks run on the caller's
//   thread of the other side, without the lock held, and only mark or post.
// Invariant: the bytes held are charged to the guest's MemoryAccount and at most the capacity a direction.

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>

#include "base/memory_account.h"
#include "base/types.h"
#include "wasi/abi.h"
#include "wasi/wake_cause.h"

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
    bool failed = false;           // Every read and write fails.
    bool read_ended = false;       // A read gives the end or an error, once what is readable was read.
    bool write_ended = false;      // A write fails.
    bool connecting = false;       // Neither readable nor writable yet.
  };
  Readiness readiness() const;
  // What the stream carries, if the host has said so: for the record of why the guest woke, and what its activity is.
  WakeCause purpose() const;
  WakeCause::Kind purpose_kind() const { return purpose_.load(std::memory_order_relaxed); }
  // Called whenever readiness may have improved. Set before the channel is handed to the host; called on the host's thread.
  void set_guest_waker(std::function<void()> waker);

  // --- The host's end ---
  // The guest's dial has succeeded (channels begin connecting unless `connected()` is called at once).
  void host_connected();
  // Takes up to `into.size()` of what the guest wrote; 0 when there is nothing now.
  std::size_t host_read(std::span<std::byte> into);
  bool host_at_end() const;        // The guest has shut down writing, and all of it was read.
  bool guest_gone() const;         // The guest has closed its end.
  // Queues for the guest as much as fits; returns how much was taken. What a guest that is gone would have read is taken and
  // dropped. When the guest's memory limit lets nothing in, and it has nothing to read that would make room, the channel
  // fails with NoMem.
  std::size_t host_write(std::span<const std::byte> from);
  std::size_t host_writable_bytes() const;
  void host_end();                 // End of stream towards the guest.
  // The channel has failed: pending bytes are dropped, the guest's next read and write give `error`.
  void host_fail(Errno error);
  // What the stream carries from now on, in words that a user understands.
  void set_purpose(WakeCause::Kind kind, std::shared_ptr<const std::string> what);
  // Whether the guest has read all there was: what is written next is what wakes it, so only then is a new text worth making.
  bool wakes_next() const;
  // Called when the guest wrote (once until the next host_read()), made room (once after host_write() took less than all or
  // host_writable_bytes() found some in use), has shut down writing, or closed. Set before the guest has the channel.
  void set_host_notify(std::function<void()> notify);

 private:
  // Bytes in order, in blocks that are there only while they hold some.
  class Queue {
   public:
    static constexpr std::size_t kBlockBytes = 4096;
    bool empty() const { return bytes_ == 0; }
    std::size_t size_bytes() const { return bytes_; }
    // As much as the account allows.
    std::size_t push(MemoryAccount& account, std::span<const std::byte> from);
    std::size_t pull(MemoryAccount& account, std::span<std::byte> into, bool peek);
    void clear(MemoryAccount& account);

   private:
    struct Block;
    void pop(MemoryAccount& account);
    Block* first_ = nullptr;
    Block* last_ = nullptr;
    std::size_t bytes_ = 0;
  };
  // Shared, so that taking one along out of the lock copies nothing.
  using Callback = std::shared_ptr<const std::function<void()>>;

  static void tell(const Callback& callback);
  Callback take_notify(bool& wanted);
  void fail_locked(Errno error);

  mutable std::mutex mutex_;
  MemoryAccount& account_;
  const std::size_t capacity_bytes_;
  Queue to_host_;
  Queue to_guest_;
  Callback guest_waker_;
  Callback host_notify_;
  bool connecting_ = true;
  bool guest_gone_ = false;
  bool guest_writes_shut_ = false;
  bool guest_reads_shut_ = false;
  bool guest_waits_for_room_ = false;  // Its last write was short.
  bool host_ended_ = false;
  bool notify_data_ = true;            // The host has seen what was written so far: tell it of more.
  mutable bool notify_room_ = false;   // The host found too little room: tell it when there is more.
  Errno failure_ = Errno::Success;
  std::atomic<WakeCause::Kind> purpose_{WakeCause::Kind::Other};  // Written under the lock, with its text.
  std::shared_ptr<const std::string> purpose_text_;
};

}  // namespace dormouse::wasi
