// SPDX-License-Identifier: Apache-2.0
#pragma once
// What page files need of the operating system, so that tests can let each of it fail.
//
// Threads: any. Every function may block for as long as the disk does.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"
#include "base/types.h"

namespace dormouse::paging {

class Disk {
 public:
  // A count, or minus an errno.
  using Count = std::int64_t;

  virtual ~Disk() = default;
  // An empty file that has no name and goes with its descriptor.
  virtual Result<UniqueFd> create_file(const std::string& directory) = 0;
  // Both may move less than asked; 0 from read() is the end of the file.
  virtual Count write(int fd, std::span<const std::byte> bytes, std::uint64_t offset) = 0;
  virtual Count read(int fd, std::span<std::byte> into, std::uint64_t offset) = 0;
  // 0, or an errno.
  virtual int resize(int fd, std::uint64_t bytes) = 0;
  virtual int punch(int fd, std::uint64_t offset, std::uint64_t bytes) = 0;
  // The file's bytes are on the medium, or an error tells that they are not.
  virtual int sync(int fd) = 0;
  // Lays the file's bytes over [at, at + bytes), private and writable; fd -1: empty memory instead.
  // `alone`: a page that is read from the medium says nothing about its neighbours. Else the kernel reads around it (read_ahead_kb, 8 MiB on some machines).
  virtual int map(std::byte* at, std::size_t bytes, int fd, std::uint64_t offset, bool alone) = 0;
  // Nothing is there any more, and nobody may touch it.
  virtual int reserve(std::byte* at, std::size_t bytes) = 0;
  // Advice: failures do not matter.
  virtual void drop_cache(int fd) = 0;
  virtual void read_ahead(int fd, std::uint64_t offset, std::uint64_t bytes) = 0;
  // Whether the byte at `offset` can be read without waiting for the medium.
  virtual bool cached(int fd, std::uint64_t offset) = 0;
  // Pages of a mapping, all in page tables at once: for reading, or as copies of their own. 0, or an errno, which is EIO if they cannot be read.
  // `waited`, unless null: whether the medium had to be waited for, since not all of it was in page cache.
  virtual int populate(std::span<std::byte> pages, bool copies, bool* waited) = 0;
};

class SystemDisk : public Disk {
 public:
  Result<UniqueFd> create_file(const std::string& directory) override;
  Count write(int fd, std::span<const std::byte> bytes, std::uint64_t offset) override;
  Count read(int fd, std::span<std::byte> into, std::uint64_t offset) override;
  int resize(int fd, std::uint64_t bytes) override;
  int punch(int fd, std::uint64_t offset, std::uint64_t bytes) override;
  int sync(int fd) override;
  int map(std::byte* at, std::size_t bytes, int fd, std::uint64_t offset, bool alone) override;
  int reserve(std::byte* at, std::size_t bytes) override;
  void drop_cache(int fd) override;
  void read_ahead(int fd, std::uint64_t offset, std::uint64_t bytes) override;
  bool cached(int fd, std::uint64_t offset) override;
  int populate(std::span<std::byte> pages, bool copies, bool* waited) override;
};

// All of `bytes`, in as many steps as it takes; 0, or an errno (EIO when the file ends or takes nothing).
int write_all(Disk& disk, int fd, std::span<const std::byte> bytes, std::uint64_t offset);
int read_all(Disk& disk, int fd, std::span<std::byte> into, std::uint64_t offset);

}  // namespace dormouse::paging
