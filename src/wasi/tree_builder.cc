// SPDX-License-Identifier: Apache-2.0
#include "wasi/tree_builder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "base/types.h"
#include "base/utf8.h"
#include "wasi/path_resolution.h"

namespace dormouse::wasi {
namespace {

Error error_of(Errno error, std::string_view path) {
  switch (error) {
    case Errno::NoSpc: return {ErrorCode::ResourceExhausted, fmt::format("{}: does not fit into the guest's memory limit; raise resources.limits.memory (or --memory)", path)};
    case Errno::FBig: return {ErrorCode::ResourceExhausted, fmt::format("{}: the file is too large", path)};
    case Errno::Exist: return {ErrorCode::InvalidArgument, fmt::format("{}: something else is there already", path)};
    default: return {ErrorCode::Internal, fmt::format("{}: errno {} of the guest's file tree", path, static_cast<int>(error))};
  }
}

Result<std::vector<std::string_view>> split(std::string_view path) {
  std::vector<std::string_view> names;
  std::string_view rest = path;
  while (!rest.empty()) {
    const std::size_t length = std::min(rest.find('/'), rest.size());
    const std::string_view name = rest.substr(0, length);
    rest.remove_prefix(std::min(length + 1, rest.size()));
    if (name.empty()) continue;
    if (name == "." || name == ".." || name.size() > Directory::kNameBytesMax || name.find('\0') != name.npos || !is_utf8(name)) {
      return fail(ErrorCode::InvalidArgument, "{}: \"{}\" is no name for a file or folder", path, name);
    }
    names.push_back(name);
  }
  return names;
}

Result<std::shared_ptr<Directory>> descend(std::shared_ptr<Directory> at, std::span<const std::string_view> names, std::string_view path) {
  for (const std::string_view name : names) {
    std::shared_ptr<Inode> next = at->lookup(name).inode;
    if (next == nullptr) {
      auto made = at->create_directory(name);
      if (!made) return fail(error_of(made.error(), path));
      next = std::move(*made);
    }
    if (as_directory(next.get()) == nullptr) return fail(ErrorCode::InvalidArgument, "{}: \"{}\" on the way is not a folder", path, name);
    at = std::static_pointer_cast<Directory>(std::move(next));
  }
  return at;
}

struct Place {
  std::shared_ptr<Directory> parent;
  std::string_view name;
};
Result<Place> place_of(const std::shared_ptr<Directory>& root, std::string_view path) {
  auto names = split(path);
  if (!names) return fail(std::move(names.error()));
  if (names->empty()) return fail(ErrorCode::InvalidArgument, "{}: names nothing below the root", path);
  auto parent = descend(root, std::span(*names).first(names->size() - 1), path);
  if (!parent) return fail(std::move(parent.error()));
  return Place{std::move(*parent), names->back()};
}

Timestamp nanoseconds(const timespec& time) { return static_cast<Timestamp>(time.tv_sec) * 1'000'000'000 + static_cast<Timestamp>(time.tv_nsec); }

void copy_times(Inode& inode, const struct stat& stat) {
  const Timestamp accessed = nanoseconds(stat.st_atim), modified = nanoseconds(stat.st_mtim);
  inode.set_times(&accessed, &modified);
}

class FolderCopy {
 public:
  explicit FolderCopy(CopyLimits limits) : limits_(limits) {}

  Result<void> copy(int folder, const std::string& path, Directory& into, unsigned depth) {
    if (depth > limits_.depth_max) return fail(ErrorCode::ResourceExhausted, "{}: folders deeper than {} are not copied", path, limits_.depth_max);
    struct Close {
      void operator()(DIR* open) const { ::closedir(open); }
    };
    const std::unique_ptr<DIR, Close> listing(::fdopendir(folder));
    if (listing == nullptr) {
      ::close(folder);
      return fail_errno(errno, path);
    }
    for (;;) {
      errno = 0;
      const dirent* const entry = ::readdir(listing.get());
      if (entry == nullptr) {
        if (errno != 0) return fail_errno(errno, path);
        break;
      }
      const std::string name = entry->d_name;
      if (name == "." || name == "..") continue;
      if (auto copied = copy_entry(::dirfd(listing.get()), name, path + "/" + name, into, depth); !copied) return copied;
    }
    return {};
  }

 private:
  Result<void> copy_entry(int folder, const std::string& name, const std::string& path, Directory& into, unsigned depth) {
    if (!is_utf8(name)) return fail(ErrorCode::InvalidArgument, "{}: the name is not UTF-8, which WASI paths are; rename it", path);
    if (++entries_ > limits_.entries_max) return fail(ErrorCode::ResourceExhausted, "{}: more than {} files and folders are not copied", path, limits_.entries_max);
    struct stat stat {};
    if (::fstatat(folder, name.c_str(), &stat, AT_SYMLINK_NOFOLLOW) != 0) return fail_errno(errno, path);
    if (S_ISLNK(stat.st_mode)) return copy_symlink(folder, name, path, into, stat);
    if (!S_ISDIR(stat.st_mode) && !S_ISREG(stat.st_mode)) return {};
    // What has become a link or a pipe meanwhile is not opened.
    UniqueFd open(::openat(folder, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
    if (!open) return fail_errno(errno, path);
    if (::fstat(open.get(), &stat) != 0) return fail_errno(errno, path);
    if (S_ISREG(stat.st_mode)) return copy_file(open.get(), name, path, into, stat);
    if (!S_ISDIR(stat.st_mode)) return {};
    auto made = into.create_directory(name);
    if (!made) return fail(error_of(made.error(), path));
    if (auto copied = copy(open.release(), path, **made, depth + 1); !copied) return copied;
    copy_times(**made, stat);
    return {};
  }

  Result<void> copy_symlink(int folder, const std::string& name, const std::string& path, Directory& into, const struct stat& stat) {
    char target[kPathBytesMax];
    const ssize_t length = ::readlinkat(folder, name.c_str(), target, sizeof(target));
    if (length < 0) return fail_errno(errno, path);
    if (const Errno error = into.create_symlink(name, {target, static_cast<std::size_t>(length)}); error != Errno::Success) return fail(error_of(error, path));
    copy_times(*into.lookup(name).inode, stat);
    return {};
  }

  Result<void> copy_file(int open, const std::string& name, const std::string& path, Directory& into, const struct stat& stat) {
    auto file = into.create_file(name);
    if (!file) return fail(error_of(file.error(), path));
    std::vector<std::byte> buffer(64 * 1024);
    for (std::uint64_t at = 0;;) {
      const ssize_t got = ::read(open, buffer.data(), buffer.size());
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return fail_errno(errno, path);
      if (got == 0) break;
      bytes_ += static_cast<std::uint64_t>(got);
      if (bytes_ > limits_.bytes_max) return fail(ErrorCode::ResourceExhausted, "{}: more than {} bytes are not copied", path, limits_.bytes_max);
      for (auto rest = std::span<const std::byte>(buffer).first(static_cast<std::size_t>(got)); !rest.empty();) {
        const FileData::Written written = (*file)->write(at, rest);
        if (written.error != Errno::Success) return fail(error_of(written.error, path));
        at += written.bytes;
        rest = rest.subspan(written.bytes);
      }
    }
    copy_times(**file, stat);
    return {};
  }

  const CopyLimits limits_;
  std::uint64_t bytes_ = 0;
  std::uint64_t entries_ = 0;
};

}  // namespace

Result<std::shared_ptr<Directory>> make_directories(const std::shared_ptr<Directory>& root, std::string_view path) {
  auto names = split(path);
  if (!names) return fail(std::move(names.error()));
  return descend(root, *names, path);
}

Result<void> put_file(const std::shared_ptr<Directory>& root, std::string_view path, std::string_view content) {
  auto place = place_of(root, path);
  if (!place) return fail(std::move(place.error()));
  if (as_file(place->parent->lookup(place->name).inode.get()) != nullptr) (void)place->parent->unlink(place->name);
  auto file = place->parent->create_file(place->name);
  if (!file) return fail(error_of(file.error(), path));
  const FileData::Written written = (*file)->write(0, std::as_bytes(std::span(content)));
  if (written.bytes < content.size()) return fail(error_of(written.error == Errno::Success ? Errno::NoSpc : written.error, path));
  return {};
}

Result<void> put_symlink(const std::shared_ptr<Directory>& root, std::string_view path, std::string_view target) {
  auto place = place_of(root, path);
  if (!place) return fail(std::move(place.error()));
  if (const Errno error = place->parent->create_symlink(place->name, target); error != Errno::Success) return fail(error_of(error, path));
  return {};
}

Result<void> put_mount(const std::shared_ptr<Directory>& root, std::string_view path, std::shared_ptr<Mount> mount) {
  auto place = place_of(root, path);
  if (!place) return fail(std::move(place.error()));
  if (const Errno error = place->parent->mount(place->name, std::move(mount)); error != Errno::Success) return fail(error_of(error, path));
  return {};
}

Result<std::shared_ptr<Directory>> copy_host_folder(const std::string& path, Volume& volume, CopyLimits limits) {
  UniqueFd open(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!open) return fail_errno(errno, path);
  auto root = volume.make_root();
  if (auto copied = FolderCopy(limits).copy(open.release(), path, *root, 1); !copied) return fail(std::move(copied.error()));
  return root;
}

}  // namespace dormouse::wasi
