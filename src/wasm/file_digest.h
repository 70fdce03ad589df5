// SPDX-License-Identifier: Apache-2.0
#pragma once
// SHA-256 of files, and a memory of those already computed. For this folder only.
//
// Hashing a Go operator's 66 MB module and 134 MB of code at each start would cost 0.1 s and read it all from
// disk, so a digest is kept by the file's device, inode, size and times. Only root can set a ctime back.

#include <array>
#include <cstdint>
#include <string>

#include "base/result.h"
#include "base/types.h"

namespace dormouse::wasm {

using Digest = std::array<std::uint8_t, 32>;

std::string to_hex(const Digest& digest);
std::string to_text(const Digest& digest);  // "sha256:…"

struct OpenFile {
  UniqueFd fd;
  std::uint64_t size_bytes = 0;
  std::uint32_t owner = 0, mode = 0;
};
// Errors: NotFound, PermissionDenied, InvalidArgument (a folder, a pipe); they name `path`.
Result<OpenFile> open_regular(const std::string& path);

// Of the first `length` bytes.
Result<Digest> sha256_of(int fd, std::uint64_t length);
Digest sha256_of(std::string_view bytes);
// The same, out of `folder` if the file has not changed since, else computed and kept there (if that can be done).
Result<Digest> remembered_sha256_of(int fd, std::uint64_t length, const std::string& folder);

// Writes `bytes` as `path`: whole or not at all, mode `mode` less the umask. Errors name `path`.
Result<void> write_whole(const std::string& path, std::initializer_list<std::string_view> bytes, std::uint32_t mode);

}  // namespace dormouse::wasm
