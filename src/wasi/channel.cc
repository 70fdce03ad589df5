// SPDX-License-Identifier: Apache-2.0
#include "wasi/channel.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace dormouse::wasi {

// --- Queue ---

struct Channel::Queue::Block {
  Block* next = nullptr;
  std::uint32_t begin = 0, end = 0;
  std::byte bytes[kBlockBytes - 16];
};

void Channel::Queue::clear(MemoryAccount& account) {
  while (first_ != nullptr) pop(account);
  bytes_ = 0;
}

void Channel::Queue::pop(MemoryAccount& account) {
  delete std::exchange(first_, first_->next);
  if (first_ == nullptr) last_ = nullptr;
  account.release(kBlockBytes);
}

std::size_t Channel::Queue::push(MemoryAccount& account, std::span<const std::byte> from) {
  static_assert(sizeof(Block) == kBlockBytes);
  std::size_t done = 0;
  while (done < from.size()) {
    if (last_ == nullptr || last_->end == sizeof(Block::bytes)) {
      if (!account.try_charge(kBlockBytes)) break;
      Block* block = new Block;
      (last_ == nullptr ? first_ : last_->next) = block;
      last_ = block;
    }
    const std::size_t length = std::min(from.size() - done, sizeof(Block::bytes) - last_->end);
    std::memcpy(last_->bytes + last_->end, from.data() + done, length);
    last_->end += static_cast<std::uint32_t>(length);
    done += length;
  }
  bytes_ += done;
  return done;
}

std::size_t Channel::Queue::pull(MemoryAccount& account, std::span<std::byte> into, bool peek) {
  std::size_t done = 0;
  for (Block* block = first_; block != nullptr && done < into.size();) {
    const std::size_t length = std::min<std::size_t>(into.size() - done, block->end - block->begin);
    std::memcpy(into.data() + done, block->bytes + block->begin, length);
    done += length;
    Block* const next = block->next;
    if (!peek) {
      block->begin += static_cast<std::uint32_t>(length);
      if (block->begin == block->end) pop(account);
    }
    block = next;
  }
  if (!peek) bytes_ -= done;
  return done;
}

// --- Channel ---

Channel::Channel(MemoryAccount& account, std::size_t capacity_bytes) : account_(account), capacity_bytes_(capacity_bytes) {}

Channel::~Channel() {
  to_host_.clear(account_);
  to_guest_.clear(account_);
}

void Channel::tell(const Callback& callback) {
  if (callback != nullptr && *callback != nullptr) (*callback)();
}

Channel::Callback Channel::take_notify(bool& wanted) { return std::exchange(wanted, false) ? host_notify_ : nullptr; }

Channel::Transfer Channel::guest_read(std::span<std::byte> into, bool peek) {
  Transfer transfer;
  Callback notify;
  {
    const std::lock_guard lock(mutex_);
    if (failure_ != Errno::Success) return {failure_, 0};
    if (guest_reads_shut_ || into.empty()) return {};
    if (to_guest_.empty()) return {host_ended_ ? Errno::Success : Errno::Again, 0};
    transfer.bytes = to_guest_.pull(account_, into, peek);
    if (!peek) notify = take_notify(notify_room_);
  }
  tell(notify);
  return transfer;
}

Channel::Transfer Channel::guest_write(std::span<const std::byte> from) {
  Transfer transfer;
  Callback notify;
  {
    const std::lock_guard lock(mutex_);
    if (failure_ != Errno::Success) return {failure_, 0};
    if (guest_writes_shut_) return {Errno::Pipe, 0};
    if (from.empty()) return {};
    const std::size_t room = connecting_ ? 0 : capacity_bytes_ - std::min(capacity_bytes_, to_host_.size_bytes());
    if (room == 0) {
      guest_waits_for_room_ = true;
      return {Errno::Again, 0};
    }
    transfer.bytes = to_host_.push(account_, from.first(std::min(room, from.size())));
    if (transfer.bytes == 0) return {Errno::NoMem, 0};
    if (transfer.bytes < from.size()) guest_waits_for_room_ = true;
    notify = take_notify(notify_data_);
  }
  tell(notify);
  return transfer;
}

void Channel::guest_shutdown_write() {
  Callback notify;
  {
    const std::lock_guard lock(mutex_);
    if (!std::exchange(guest_writes_shut_, true)) notify = host_notify_;
  }
  tell(notify);
}

void Channel::guest_shutdown_read() {
  Callback notify;
  {
    const std::lock_guard lock(mutex_);
    guest_reads_shut_ = true;
    to_guest_.clear(account_);
    notify = take_notify(notify_room_);
  }
  tell(notify);
}

void Channel::guest_close() {
  Callback notify, waker;
  {
    const std::lock_guard lock(mutex_);
    if (guest_gone_) return;
    guest_gone_ = guest_writes_shut_ = guest_reads_shut_ = true;
    to_guest_.clear(account_);
    waker = std::move(guest_waker_);
    notify = host_notify_;
  }
  tell(notify);
}

Channel::Readiness Channel::readiness() const {
  const std::lock_guard lock(mutex_);
  Readiness readiness;
  readiness.failed = failure_ != Errno::Success;
  readiness.write_ended = readiness.failed || guest_writes_shut_;
  readiness.connecting = connecting_ && failure_ == Errno::Success;
  readiness.hangup = host_ended_ || failure_ != Errno::Success;
  if (!readiness.connecting && !readiness.write_ended) readiness.writable_bytes = capacity_bytes_ - std::min(capacity_bytes_, to_host_.size_bytes());
  readiness.readable_bytes = to_guest_.size_bytes();
  readiness.read_ended = readiness.hangup || guest_reads_shut_;
  return readiness;
}

WakeCause Channel::purpose() const {
  const std::lock_guard lock(mutex_);
  return {.kind = purpose_, .what = purpose_text_};
}

void Channel::set_purpose(WakeCause::Kind kind, std::shared_ptr<const std::string> what) {
  const std::lock_guard lock(mutex_);
  purpose_ = kind;
  purpose_text_.swap(what);  // The old text goes after the lock does.
}

bool Channel::wakes_next() const {
  const std::lock_guard lock(mutex_);
  return to_guest_.empty() && !guest_reads_shut_;
}

void Channel::set_guest_waker(std::function<void()> waker) {
  auto shared = std::make_shared<const std::function<void()>>(std::move(waker));
  const std::lock_guard lock(mutex_);
  guest_waker_.swap(shared);
}

void Channel::host_connected() {
  Callback waker;
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(connecting_, false)) waker = guest_waker_;
  }
  tell(waker);
}

std::size_t Channel::host_read(std::span<std::byte> into) {
  Callback waker;
  std::size_t bytes = 0;
  {
    const std::lock_guard lock(mutex_);
    notify_data_ = true;
    bytes = to_host_.pull(account_, into, false);
    if (bytes > 0 && std::exchange(guest_waits_for_room_, false)) waker = guest_waker_;
  }
  tell(waker);
  return bytes;
}

bool Channel::host_at_end() const {
  const std::lock_guard lock(mutex_);
  return guest_writes_shut_ && to_host_.empty();
}

bool Channel::guest_gone() const {
  const std::lock_guard lock(mutex_);
  return guest_gone_;
}

std::size_t Channel::host_write(std::span<const std::byte> from) {
  Callback waker;
  std::size_t bytes = 0;
  {
    const std::lock_guard lock(mutex_);
    if (guest_reads_shut_ || failure_ != Errno::Success) return from.size();  // Nobody will read it.
    if (host_ended_ || from.empty()) return 0;
    const std::size_t room = capacity_bytes_ - std::min(capacity_bytes_, to_guest_.size_bytes());
    const bool was_empty = to_guest_.empty();
    bytes = to_guest_.push(account_, from.first(std::min(room, from.size())));
    if (bytes < from.size()) notify_room_ = true;
    if (bytes == 0 && was_empty && room > 0) {
      // The guest's memory limit lets nothing in. Nothing waits here that it could read to make room, so it would
      // wait for ever: the stream fails instead.
      fail_locked(Errno::NoMem);
      waker = guest_waker_;
    } else if (bytes > 0) {
      waker = guest_waker_;
    }
  }
  tell(waker);
  return bytes;
}

std::size_t Channel::host_writable_bytes() const {
  const std::lock_guard lock(mutex_);
  if (guest_reads_shut_ || failure_ != Errno::Success) return capacity_bytes_;
  if (!to_guest_.empty()) notify_room_ = true;
  return capacity_bytes_ - std::min(capacity_bytes_, to_guest_.size_bytes());
}

void Channel::host_end() {
  Callback waker;
  {
    const std::lock_guard lock(mutex_);
    if (!std::exchange(host_ended_, true)) waker = guest_waker_;
  }
  tell(waker);
}

void Channel::host_fail(Errno error) {
  Callback waker;
  {
    const std::lock_guard lock(mutex_);
    if (failure_ != Errno::Success) return;
    fail_locked(error);
    waker = guest_waker_;
  }
  tell(waker);
}

void Channel::fail_locked(Errno error) {
  failure_ = error;
  connecting_ = false;
  to_host_.clear(account_);
  to_guest_.clear(account_);
}

void Channel::set_host_notify(std::function<void()> notify) {
  auto shared = std::make_shared<const std::function<void()>>(std::move(notify));
  const std::lock_guard lock(mutex_);
  host_notify_.swap(shared);
}

}  // namespace dormouse::wasi
