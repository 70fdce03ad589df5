// SPDX-License-Identifier: Apache-2.0
#include "wasm/slot.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/sanitizers.h"

namespace dormouse::wasm {
namespace {

constexpr std::size_t kSlotBytes = std::size_t{16} << 20;
constexpr std::size_t kSlotsMax = 32'768;  // 512 GiB of addresses, one mapping, no memory: more guests than vm.max_map_count lets be.
constexpr std::size_t kTableReachBytes = std::size_t{2} << 20;  // What one page of page tables describes: 512 pages of 4 KiB.
constexpr std::size_t kGuestArenaBytes = std::size_t{8} << 20;
// What goes to an arena. Smaller things are often the engine's own and outlive whoever they were made for: of a guest's none such may go
// out with it, and a registry's node would keep a module's slot from being used again.
constexpr std::size_t kGuestLeast = 128, kModuleLeast = 512;
constexpr std::size_t kModuleArenaBytes = kSlotBytes - 2 * kTableReachBytes;

std::size_t table_end(std::size_t bytes) { return (bytes + kTableReachBytes - 1) / kTableReachBytes * kTableReachBytes; }

// Which slots are free. Of the process, as the engine's allocator is.
class Slots {
 public:
  static Slots& all() {
    static Slots* const slots = new Slots;  // Never destroyed: what outlives a store may be freed at any time.
    return *slots;
  }

  std::optional<std::size_t> take() {
    const std::lock_guard lock(mutex_);
    if (base_ == nullptr) return std::nullopt;
    if (!free_.empty()) {
      const std::size_t index = free_.back();
      free_.pop_back();
      return index;
    }
    if (next_ == kSlotsMax) return std::nullopt;
    return next_++;
  }

  // REQUIRES: is_idle().
  void give_back(std::size_t index) {
    const std::lock_guard lock(mutex_);
    free_.push_back(index);
  }

  // Nothing in it is in use.
  bool is_idle(std::size_t index) const { return std::atomic_ref(live_[index]).load(std::memory_order_acquire) == 0; }

  void give_up() { ++given_up_; }
  std::size_t given_up() const { return given_up_; }

  std::byte* at(std::size_t index) const { return base_ + index * kSlotBytes; }

 private:
  Slots() {
    const std::size_t bytes = kSlotBytes * kSlotsMax;
    void* base = ::mmap(nullptr, bytes + kSlotBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) return;
    const auto begin = (reinterpret_cast<std::uintptr_t>(base) + kSlotBytes - 1) / kSlotBytes * kSlotBytes;
    base_ = reinterpret_cast<std::byte*>(begin);
    // Pages of counters that nobody has written to are nowhere.
    void* live = ::mmap(nullptr, kSlotsMax * sizeof *live_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(live != MAP_FAILED);
    live_ = static_cast<std::uint32_t*>(live);
    dormouse_arenas_reserve(begin, kSlotBytes, kSlotsMax, live_);
  }

  std::mutex mutex_;
  std::byte* base_ = nullptr;
  std::uint32_t* live_ = nullptr;
  std::vector<std::size_t> free_;
  std::size_t next_ = 0;
  std::atomic<std::size_t> given_up_{0};
};

}  // namespace

std::unique_ptr<Slot> Slot::for_guest(std::size_t stack_bytes) {
  // AddressSanitizer's heap has red zones, and its search for leaks does not look into slots.
  if (kAddressSanitizer) return nullptr;
  const std::size_t bytes = table_end(stack_bytes + kGuestArenaBytes);
  if (bytes + 2 * kTableReachBytes > kSlotBytes) return nullptr;
  Slots& slots = Slots::all();
  const auto index = slots.take();
  if (!index) return nullptr;
  std::byte* const base = slots.at(*index) + kTableReachBytes;
  if (::mprotect(base, bytes, PROT_READ | PROT_WRITE) != 0) {
    slots.give_back(*index);
    return nullptr;
  }
  // A huge page would be two megabytes for the two or three pages that a stack uses.
  ::madvise(base, bytes, MADV_NOHUGEPAGE);
  return std::unique_ptr<Slot>(new Slot(base, stack_bytes, kGuestArenaBytes, *index));
}

std::unique_ptr<Slot> Slot::for_module(UniqueFd file) {
  // All of it beforehand: a page of a full disk's hole would be a SIGBUS.
  if (::posix_fallocate(file.get(), 0, kModuleArenaBytes) != 0) return nullptr;
  Slots& slots = Slots::all();
  const auto index = slots.take();
  if (!index) return nullptr;
  std::byte* const base = slots.at(*index) + kTableReachBytes;
  if (::mmap(base, kModuleArenaBytes, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_SHARED, file.get(), 0) == MAP_FAILED) {
    slots.give_back(*index);
    return nullptr;
  }
  std::unique_ptr<Slot> slot(new Slot(base, 0, kModuleArenaBytes, *index));
  slot->file_ = std::move(file);
  return slot;
}

Slot::Slot(std::byte* base, std::size_t stack_bytes, std::size_t arena_bytes, std::size_t index)
    : base_(base), stack_bytes_(stack_bytes), index_(index), used_bytes_(table_end(stack_bytes + arena_bytes)) {
  const auto begin = reinterpret_cast<std::uintptr_t>(base_ + stack_bytes_);
  arena_ = {begin, begin + arena_bytes, stack_bytes > 0 ? kGuestLeast : kModuleLeast};
}

Slot::~Slot() {
  CHECK(!stack_lent_);
  Slots& slots = Slots::all();
  if (!slots.is_idle(index_)) {
    if (stack_bytes_ > 0) slots.give_up();
    return;
  }
  CHECK(::mmap(base_, used_bytes_, PROT_NONE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED);
  slots.give_back(index_);
}

std::size_t Slot::given_up() { return Slots::all().given_up(); }

void Slot::drop_pages() const { ::madvise(base_, used_bytes_, MADV_DONTNEED); }

std::span<std::byte> Slot::lend_stack(std::size_t bytes) {
  if (stack_lent_ || bytes != stack_bytes_) return {};
  stack_lent_ = true;
  return {base_, stack_bytes_};
}

Slot::Filling::Filling(Slot* slot) : slot_(slot) {
  if (slot_ != nullptr) dormouse_arena_fill(&slot_->arena_);
}

Slot::Filling::~Filling() {
  if (slot_ == nullptr) return;
  dormouse_arena_fill(nullptr);
  // What the arena did not need goes back, or each page-out would map it over.
  const std::size_t bytes = slot_->arena_.next - reinterpret_cast<std::uintptr_t>(slot_->base_), used = table_end(bytes);
  if (used < slot_->used_bytes_ &&
      ::mmap(slot_->base_ + used, slot_->used_bytes_ - used, PROT_NONE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED) {
    slot_->used_bytes_ = used;
  }
  slot_->arena_.end = slot_->arena_.next;  // It is filled once.
  // What lies behind is mapped and will never be looked at.
  if (slot_->file_) (void)!::ftruncate(slot_->file_.get(), static_cast<off_t>(bytes));
  slot_->file_.reset();
}

}  // namespace dormouse::wasm
