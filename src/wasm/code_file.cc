// SPDX-License-Identifier: Apache-2.0
#include "wasm/code_file.h"

#include <unistd.h>

#include <bit>
#include <cstring>

#include "base/check.h"

namespace dormouse::wasm {
namespace {

static_assert(std::endian::native == std::endian::little);

struct Trailer {
  char magic[16];
  std::uint64_t code_bytes;
  Digest code;
  Digest module;
  char fingerprint[72];
};
static_assert(sizeof(Trailer) == 160);

constexpr std::string_view kMagic = "dormouse-cwasm-1";

}  // namespace

std::string make_trailer(const Digest& module, const Digest& code, std::uint64_t code_bytes, std::string_view fingerprint) {
  Trailer trailer{};
  CHECK(fingerprint.size() < sizeof trailer.fingerprint);
  std::memcpy(trailer.magic, kMagic.data(), kMagic.size());
  trailer.code_bytes = code_bytes;
  trailer.code = code;
  trailer.module = module;
  std::memcpy(trailer.fingerprint, fingerprint.data(), fingerprint.size());
  return {reinterpret_cast<const char*>(&trailer), sizeof trailer};
}

Result<OpenFile> open_code_file(const std::string& path, const Digest& module, std::string_view fingerprint, const std::string& memo_folder) {
  auto file = open_regular(path);
  if (!file) return fail(file.error());
  if (file->owner != 0 && file->owner != ::geteuid())
    return fail(ErrorCode::PermissionDenied, "{}: it belongs to user {}, and compiled code must be your own or root's", path, file->owner);
  if ((file->mode & 022) != 0) return fail(ErrorCode::PermissionDenied, "{}: others may write it (mode {:o}): chmod go-w it", path, file->mode & 07777);
  Trailer trailer;
  if (file->size_bytes <= sizeof trailer) return fail(ErrorCode::Corrupt, "{}: it is truncated", path);
  const std::uint64_t code_bytes = file->size_bytes - sizeof trailer;
  if (::pread(file->fd.get(), &trailer, sizeof trailer, static_cast<off_t>(code_bytes)) != sizeof trailer) return fail(ErrorCode::Corrupt, "{}: it cannot be read", path);
  if (std::string_view(trailer.magic, sizeof trailer.magic) != kMagic || trailer.code_bytes != code_bytes)
    return fail(ErrorCode::Corrupt, "{}: it is truncated, or was not made by dormouse", path);
  const std::string_view made_by(trailer.fingerprint, ::strnlen(trailer.fingerprint, sizeof trailer.fingerprint));
  if (made_by != fingerprint) return fail(ErrorCode::Unsupported, "{}: it was made by another engine or for another CPU ({}, this is {})", path, made_by, fingerprint);
  if (trailer.module != module) return fail(ErrorCode::Unsupported, "{}: it was made from another module", path);
  const auto code = remembered_sha256_of(file->fd.get(), code_bytes, memo_folder);
  if (!code) return fail(Error(code.error()).within(path));
  if (*code != trailer.code) return fail(ErrorCode::Corrupt, "{}: its bytes have been altered", path);
  return file;
}

}  // namespace dormouse::wasm
