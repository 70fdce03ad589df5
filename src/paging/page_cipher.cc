// SPDX-License-Identifier: Apache-2.0
#include "paging/page_cipher.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <cstring>

namespace dormouse::paging {

Result<std::unique_ptr<PageCipher>> PageCipher::create() {
  std::unique_ptr<PageCipher> cipher(new PageCipher);
  if (RAND_priv_bytes(cipher->key_.data(), static_cast<int>(cipher->key_.size())) != 1) return fail(ErrorCode::Internal, "no random bytes for the key of a page file");
  return cipher;
}

PageCipher::~PageCipher() { OPENSSL_cleanse(key_.data(), key_.size()); }

Result<void> PageCipher::run(bool encrypt, std::uint64_t number, std::span<const std::byte> page, std::byte* out) {
  std::array<unsigned char, 16> tweak{};
  std::memcpy(tweak.data(), &number, sizeof number);
  // Not kept: it holds the expanded key, is half a kilobyte, and takes a microsecond to make.
  const std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)> context(EVP_CIPHER_CTX_new(), &EVP_CIPHER_CTX_free);
  int written = 0;
  if (context == nullptr || EVP_CipherInit_ex(context.get(), EVP_aes_256_xts(), nullptr, key_.data(), tweak.data(), encrypt ? 1 : 0) != 1 ||
      EVP_CipherUpdate(context.get(), reinterpret_cast<unsigned char*>(out), &written, reinterpret_cast<const unsigned char*>(page.data()), static_cast<int>(page.size())) != 1 ||
      written != static_cast<int>(page.size()))
    return fail(ErrorCode::Internal, "a page could not be {}crypted", encrypt ? "en" : "de");
  return {};
}

}  // namespace dormouse::paging
