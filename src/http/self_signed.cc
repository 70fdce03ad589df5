// SPDX-License-Identifier: Apache-2.0
#include "http/self_signed.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <cstdint>
#include <utility>

#include "http/openssl_handles.h"

namespace dormouse::http {
namespace {

bool extend(X509* certificate, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  const Extension extension(X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str()));
  return extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1;
}

std::string text_of(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(size)};
}

}  // namespace

Result<SelfSigned> make_self_signed(const std::string& names, int days) {
  const auto refused = [] { return fail(ErrorCode::Internal, "a certificate cannot be made"); };
  const Key key(EVP_EC_gen("P-256"));
  const Certificate certificate(X509_new());
  std::uint64_t serial = 0;
  if (key == nullptr || certificate == nullptr || RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof serial) != 1) return refused();
  X509* const x = certificate.get();
  constexpr long kHour = 3600, kDay = 24 * kHour;
  X509_NAME* const subject = X509_get_subject_name(x);
  const bool made = X509_set_version(x, X509_VERSION_3) == 1 && ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), serial >> 1) == 1 &&
                    X509_gmtime_adj(X509_getm_notBefore(x), -kHour) != nullptr && X509_gmtime_adj(X509_getm_notAfter(x), days * kDay) != nullptr &&
                    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>("dormouse"), -1, -1, 0) == 1 &&
                    X509_set_issuer_name(x, subject) == 1 && X509_set_pubkey(x, key.get()) == 1 && extend(x, NID_basic_constraints, "critical,CA:FALSE") &&
                    extend(x, NID_key_usage, "critical,digitalSignature") && extend(x, NID_ext_key_usage, "serverAuth") &&
                    extend(x, NID_subject_alt_name, names) && X509_sign(x, key.get(), EVP_sha256()) > 0;
  if (!made) return refused();
  const Bio certificate_text(BIO_new(BIO_s_mem())), key_text(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_X509(certificate_text.get(), x) != 1) return refused();
  if (PEM_write_bio_PrivateKey(key_text.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1) return refused();
  return SelfSigned{text_of(certificate_text.get()), text_of(key_text.get())};
}

}  // namespace dormouse::http
