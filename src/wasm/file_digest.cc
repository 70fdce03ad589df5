// SPDX-License-Identifier: Apache-2.0
#include "wasm/file_digest.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <memory>
#include <vector>

#include "base/check.h"

namespace dormouse::wasm {
namespace {

struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

class Hasher {
 public:
  Hasher() : context_(EVP_MD_CTX_new()) { CHECK(context_ && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1); }
  void feed(const void* bytes, std::size_t length) { CHECK(EVP_DigestUpdate(context_.get(), bytes, length) == 1); }
  Digest finish() {
    Digest digest;
    CHECK(EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr) == 1);
    return digest;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, FreeContext> context_;
};

// The state of a file that its digest is remembered by.
std::string state_of(const struct stat& status, std::uint64_t length) {
  return fmt::format("dormouse-digest-1 {} {} {} {} {}.{:09} {}.{:09}\n", status.st_dev, status.st_ino, status.st_size, length, status.st_mtim.tv_sec,
                     status.st_mtim.tv_nsec, status.st_ctim.tv_sec, status.st_ctim.tv_nsec);
}

// A file changed in the same clock tick as it was hashed would look unchanged.
bool settled(const struct stat& status) {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  constexpr std::time_t kSettleSeconds = 2;
  return status.st_ctim.tv_sec + kSettleSeconds <= now.tv_sec;
}

bool same_times(const struct stat& a, const struct stat& b) {
  return a.st_size == b.st_size && a.st_mtim.tv_sec == b.st_mtim.tv_sec && a.st_mtim.tv_nsec == b.st_mtim.tv_nsec && a.st_ctim.tv_sec == b.st_ctim.tv_sec &&
         a.st_ctim.tv_nsec == b.st_ctim.tv_nsec;
}

// Empty when there is none that is only ours to write.
std::string read_small(const std::string& path) {
  constexpr std::size_t kBytesMax = 512;
  auto file = open_regular(path);
  if (!file || file->size_bytes > kBytesMax || file->owner != ::geteuid() || (file->mode & 022) != 0) return {};
  std::string text(static_cast<std::size_t>(file->size_bytes), '\0');
  const ssize_t n = ::pread(file->fd.get(), text.data(), text.size(), 0);
  if (n != static_cast<ssize_t>(text.size())) return {};
  return text;
}

bool parse_hex(std::string_view hex, Digest& digest) {
  if (hex.size() != 2 * digest.size()) return false;
  const auto nibble = [](char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; };
  for (std::size_t i = 0; i < digest.size(); ++i) {
    const int high = nibble(hex[2 * i]), low = nibble(hex[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    digest[i] = static_cast<std::uint8_t>(high << 4 | low);
  }
  return true;
}

Result<void> write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno(errno, "write");
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

}  // namespace

std::string to_hex(const Digest& digest) {
  std::string out;
  for (const std::uint8_t byte : digest) out += fmt::format("{:02x}", byte);
  return out;
}

std::string to_text(const Digest& digest) { return "sha256:" + to_hex(digest); }

Result<OpenFile> open_regular(const std::string& path) {
  OpenFile file;
  // Not to block on a pipe.
  file.fd = UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file.fd) return fail_errno(errno, path);
  struct stat status{};
  if (::fstat(file.fd.get(), &status) != 0) return fail_errno(errno, path);
  if (!S_ISREG(status.st_mode)) return fail(ErrorCode::InvalidArgument, "{}: {}, not a file", path, S_ISDIR(status.st_mode) ? "a folder" : "a device or a pipe");
  file.size_bytes = static_cast<std::uint64_t>(status.st_size);
  file.owner = status.st_uid;
  file.mode = status.st_mode;
  return file;
}

Digest sha256_of(std::string_view bytes) {
  Hasher hasher;
  hasher.feed(bytes.data(), bytes.size());
  return hasher.finish();
}

Result<Digest> sha256_of(int fd, std::uint64_t length) {
  constexpr std::size_t kBlockBytes = 256 * 1024;
  std::vector<char> block(kBlockBytes);
  Hasher hasher;
  for (std::uint64_t done = 0; done < length;) {
    const ssize_t n = ::pread(fd, block.data(), static_cast<std::size_t>(std::min<std::uint64_t>(kBlockBytes, length - done)), static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno(errno, "read");
    if (n == 0) return fail(ErrorCode::Corrupt, "it became shorter while it was read");
    hasher.feed(block.data(), static_cast<std::size_t>(n));
    done += static_cast<std::uint64_t>(n);
  }
  return hasher.finish();
}

Result<Digest> remembered_sha256_of(int fd, std::uint64_t length, const std::string& folder) {
  constexpr std::uint64_t kWorthBytes = 1 << 20;  // Hashing less is as fast as looking it up.
  struct stat before{}, after{};
  if (length < kWorthBytes || folder.empty() || ::fstat(fd, &before) != 0) return sha256_of(fd, length);
  const std::string state = state_of(before, length);
  const std::string memo = fmt::format("{}/digest-{}", folder, to_hex(sha256_of(fmt::format("{} {} {}", before.st_dev, before.st_ino, length))).substr(0, 32));
  const std::string kept = read_small(memo);
  Digest digest;
  if (kept.starts_with(state) && parse_hex(std::string_view(kept).substr(state.size()), digest)) return digest;
  auto computed = sha256_of(fd, length);
  if (computed && settled(before) && ::fstat(fd, &after) == 0 && same_times(before, after)) {
    // Only a convenience: when it cannot be kept, it is computed again.
    static_cast<void>(write_whole(memo, {state, to_hex(*computed)}, 0600));
  }
  return computed;
}

Result<void> write_whole(const std::string& path, std::initializer_list<std::string_view> bytes, std::uint32_t mode) {
  const std::string fresh = fmt::format("{}.{}.{}.new", path, ::getpid(), ::gettid());
  UniqueFd fd(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode));
  if (!fd && errno == EEXIST) {  // Left over by a process of the same number that died while it wrote.
    ::unlink(fresh.c_str());
    fd = UniqueFd(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode));
  }
  if (!fd) return fail_errno(errno, fmt::format("write {}", path));
  Result<void> written;
  for (const std::string_view part : bytes) {
    if (written) written = write_all(fd.get(), part);
  }
  if (written && ::fsync(fd.get()) != 0) written = fail_errno(errno, "fsync");
  if (written && ::rename(fresh.c_str(), path.c_str()) != 0) written = fail_errno(errno, "rename");
  if (!written) {
    ::unlink(fresh.c_str());
    return fail(std::move(written.error()).within(path));
  }
  return {};
}

}  // namespace dormouse::wasm
