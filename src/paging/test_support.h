// SPDX-License-Identifier: Apache-2.0
#pragma once
// For tests: a disk whose operations fail when told to, or now and then.

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <random>
#include <string>

#include "base/test_support.h"
#include "paging/disk.h"

namespace dormouse::paging::testing {

class FaultyDisk final : public SystemDisk {
 public:
  enum class Operation : std::uint8_t { Create, Write, Read, Resize, Punch, Sync, Map, Reserve };

  // Each operation fails with this chance, and writes and reads are short with it; the same faults for the same seed.
  void fail_sometimes(double chance, std::uint64_t seed) {
    chance_ = chance;
    random_.seed(seed);
  }
  // The next `times` calls of `operation`, after `skip` that succeed, fail with `error_number`.
  void fail_next(Operation operation, int error_number, unsigned times = 1, unsigned skip = 0) {
    operation_ = operation;
    error_number_ = error_number;
    times_ = times;
    skip_ = skip;
  }
  // Every write takes at most so much.
  void shorten_writes(std::size_t bytes) { write_bytes_max_ = bytes; }
  std::uint64_t faults() const { return faults_; }
  // As if no page file were in page cache; what is read ahead then is counted.
  void be_cold() { cold_ = true; }
  std::uint64_t read_ahead_bytes() const { return read_ahead_bytes_; }
  bool unreadable = false;    // Every read fails.
  bool reads_fail = true;     // Whether fail_sometimes() lets reads fail: a guest does not survive those.

  Result<UniqueFd> create_file(const std::string& directory) override {
    if (const int problem = fault(Operation::Create)) return fail_errno(problem, "make a page file");
    return SystemDisk::create_file(directory);
  }
  Count write(int fd, std::span<const std::byte> bytes, std::uint64_t offset) override {
    if (const int problem = fault(Operation::Write)) return -problem;
    if (write_bytes_max_ != 0) bytes = bytes.first(std::min(bytes.size(), write_bytes_max_));
    if (bytes.size() > 1 && now_and_then()) bytes = bytes.first(1 + pick(bytes.size() - 1));
    return SystemDisk::write(fd, bytes, offset);
  }
  Count read(int fd, std::span<std::byte> into, std::uint64_t offset) override {
    if (unreadable) return -EIO;
    if (const int problem = fault(Operation::Read)) return -problem;
    if (into.size() > 1 && now_and_then()) into = into.first(1 + pick(into.size() - 1));
    return SystemDisk::read(fd, into, offset);
  }
  int resize(int fd, std::uint64_t bytes) override {
    if (const int problem = fault(Operation::Resize)) return problem;
    return SystemDisk::resize(fd, bytes);
  }
  int punch(int fd, std::uint64_t offset, std::uint64_t bytes) override {
    if (const int problem = fault(Operation::Punch)) return problem;
    return SystemDisk::punch(fd, offset, bytes);
  }
  int sync(int fd) override {
    if (const int problem = fault(Operation::Sync)) return problem;
    return SystemDisk::sync(fd);
  }
  int map(std::byte* at, std::size_t bytes, int fd, std::uint64_t offset, bool alone) override {
    if (const int problem = fault(Operation::Map)) return problem;
    return SystemDisk::map(at, bytes, fd, offset, alone);
  }
  int reserve(std::byte* at, std::size_t bytes) override {
    if (const int problem = fault(Operation::Reserve)) return problem;
    return SystemDisk::reserve(at, bytes);
  }
  bool cached(int fd, std::uint64_t offset) override { return !cold_ && SystemDisk::cached(fd, offset); }
  int populate(std::span<std::byte> pages, bool copies, bool* waited) override {
    const int problem = SystemDisk::populate(pages, copies, waited);
    if (waited != nullptr && cold_) *waited = true;
    return problem;
  }
  void read_ahead(int fd, std::uint64_t offset, std::uint64_t bytes) override {
    read_ahead_bytes_ += bytes;
    SystemDisk::read_ahead(fd, offset, bytes);
  }

 private:
  bool now_and_then() {
    const std::lock_guard lock(mutex_);
    return chance_ > 0 && std::uniform_real_distribution<>(0, 1)(random_) < chance_;
  }
  std::size_t pick(std::size_t below) {
    const std::lock_guard lock(mutex_);
    return random_() % below;
  }
  int fault(Operation operation) {
    if (times_ > 0 && operation == operation_) {
      if (skip_ > 0) {
        --skip_;
      } else {
        --times_;
        ++faults_;
        return error_number_;
      }
    }
    if ((operation == Operation::Read && !reads_fail) || !now_and_then()) return 0;
    ++faults_;
    constexpr int kErrors[] = {ENOSPC, EIO, EDQUOT, ENOMEM, EFBIG};
    return kErrors[pick(std::size(kErrors))];
  }

  std::mutex mutex_;
  std::mt19937_64 random_;
  double chance_ = 0;
  Operation operation_ = Operation::Write;
  int error_number_ = EIO;
  unsigned times_ = 0, skip_ = 0;
  std::size_t write_bytes_max_ = 0;
  std::uint64_t faults_ = 0, read_ahead_bytes_ = 0;
  bool cold_ = false;
};

using dormouse::testing::Scratch;

}  // namespace dormouse::paging::testing
