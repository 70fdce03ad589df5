// SPDX-License-Identifier: Apache-2.0
#pragma once
// Page files encrypted at rest: AES-256 in XTS mode, a fresh key for each file, the page's number as tweak.
//
// As disk encryption does it: who reads the medium learns which pages changed and when, and nothing of their content.
// It does not detect that somebody altered the medium. The key is never written anywhere, and wiped at the end.
//
// Threads: one thread at a time.

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/result.h"
#include "base/types.h"

namespace dormouse::paging {

class PageCipher final : Immovable {
 public:
  // Errors: Internal when the machine's crypto library refuses.
  static Result<std::unique_ptr<PageCipher>> create();
  ~PageCipher();

  // `page` is one page, or a multiple of 16 bytes; `out` may be `page` itself.
  // Errors: Internal.
  Result<void> encrypt(std::uint64_t number, std::span<const std::byte> page, std::byte* out) { return run(true, number, page, out); }
  Result<void> decrypt(std::uint64_t number, std::span<const std::byte> page, std::byte* out) { return run(false, number, page, out); }

 private:
  PageCipher() = default;
  Result<void> run(bool encrypt, std::uint64_t number, std::span<const std::byte> page, std::byte* out);

  std::array<unsigned char, 64> key_{};  // Two of 32 bytes, as XTS wants them.
};

}  // namespace dormouse::paging
