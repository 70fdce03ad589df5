// SPDX-License-Identifier: Apache-2.0
#include "paging/disk.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "paging/page_scan.h"

namespace dormouse::paging {

Result<UniqueFd> SystemDisk::create_file(const std::string& directory) {
  UniqueFd fd(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC | O_EXCL, 0600));
  if (fd) return fd;
  // Not every file system can make files without a name (and old kernels take the flag for O_DIRECTORY).
  if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL && errno != ENOENT) return fail_errno(errno, fmt::format("make a page file in {}", directory));
  std::string name = directory + "/.dormouse-pages-XXXXXX";
  fd.reset(::mkostemp(name.data(), O_CLOEXEC));
  if (!fd) return fail_errno(errno, fmt::format("make a page file in {}", directory));
  if (::unlink(name.c_str()) != 0) return fail_errno(errno, fmt::format("take the name of page file {} away", name));
  return fd;
}

Disk::Count SystemDisk::write(int fd, std::span<const std::byte> bytes, std::uint64_t offset) {
  const ssize_t done = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
  return done < 0 ? -errno : done;
}

Disk::Count SystemDisk::read(int fd, std::span<std::byte> into, std::uint64_t offset) {
  const ssize_t done = ::pread(fd, into.data(), into.size(), static_cast<off_t>(offset));
  return done < 0 ? -errno : done;
}

int SystemDisk::resize(int fd, std::uint64_t bytes) { return ::ftruncate(fd, static_cast<off_t>(bytes)) == 0 ? 0 : errno; }

int SystemDisk::punch(int fd, std::uint64_t offset, std::uint64_t bytes) {
  return ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset), static_cast<off_t>(bytes)) == 0 ? 0 : errno;
}

int SystemDisk::sync(int fd) { return ::fdatasync(fd) == 0 ? 0 : errno; }

int SystemDisk::map(std::byte* at, std::size_t bytes, int fd, std::uint64_t offset, bool alone) {
  const int flags = MAP_FIXED | MAP_PRIVATE | MAP_NORESERVE | (fd < 0 ? MAP_ANONYMOUS : 0);
  if (::mmap(at, bytes, PROT_READ | PROT_WRITE, flags, fd, static_cast<off_t>(offset)) == MAP_FAILED) return errno;
  if (alone) (void)::madvise(at, bytes, MADV_RANDOM);
  return 0;
}

int SystemDisk::reserve(std::byte* at, std::size_t bytes) {
  return ::mmap(at, bytes, PROT_NONE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) == MAP_FAILED ? errno : 0;
}

void SystemDisk::drop_cache(int fd) { (void)::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); }

int SystemDisk::populate(std::span<std::byte> pages, bool copies, bool* waited) {
  // Costs a third of asking mincore() beforehand, which is 15 to 30 us after a rest.
  const auto major_faults = [] {
    rusage usage{};
    ::getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_majflt;
  };
  const long before = waited != nullptr ? major_faults() : 0;
  const int problem = ::madvise(pages.data(), pages.size(), copies ? MADV_POPULATE_WRITE : MADV_POPULATE_READ) == 0 ? 0 : errno;
  if (waited != nullptr) *waited = major_faults() != before;
  // EINVAL: Linux before 5.14. Then the guest's own faults bring them.
  return problem == EFAULT ? EIO : problem == EINVAL ? 0 : problem;
}

void SystemDisk::read_ahead(int fd, std::uint64_t offset, std::uint64_t bytes) { (void)::readahead(fd, static_cast<off64_t>(offset), bytes); }

bool SystemDisk::cached(int fd, std::uint64_t offset) {
  char byte;
  const iovec into{&byte, 1};
  return ::preadv2(fd, &into, 1, static_cast<off_t>(offset), RWF_NOWAIT) >= 0 || errno != EAGAIN;
}

int write_all(Disk& disk, int fd, std::span<const std::byte> bytes, std::uint64_t offset) {
  while (!bytes.empty()) {
    const Disk::Count done = disk.write(fd, bytes, offset);
    if (done == -EINTR) continue;
    if (done <= 0) return done < 0 ? static_cast<int>(-done) : EIO;
    bytes = bytes.subspan(static_cast<std::size_t>(done));
    offset += static_cast<std::uint64_t>(done);
  }
  return 0;
}

int read_all(Disk& disk, int fd, std::span<std::byte> into, std::uint64_t offset) {
  while (!into.empty()) {
    const Disk::Count done = disk.read(fd, into, offset);
    if (done == -EINTR) continue;
    if (done <= 0) return done < 0 ? static_cast<int>(-done) : EIO;
    into = into.subspan(static_cast<std::size_t>(done));
    offset += static_cast<std::uint64_t>(done);
  }
  return 0;
}

}  // namespace dormouse::paging
