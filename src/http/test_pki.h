// SPDX-License-Identifier: Apache-2.0
#pragma once
// A certificate authority for tests, made in memory in a few milliseconds.
//
// Ownership: values. Threads: any.

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <string>

#include "base/check.h"

namespace dormouse::http {

class TestPki {
 public:
  struct Pair {
    std::string certificate_pem, key_pem;
  };
  explicit TestPki(const std::string& name = "test CA") : key_(EVP_EC_gen("P-256")) {
    certificate_ = make(name, key_, nullptr, "", -3600, 3600, true);
  }
  ~TestPki() {
    X509_free(certificate_);
    EVP_PKEY_free(key_);
  }
  TestPki(const TestPki&) = delete;
  TestPki& operator=(const TestPki&) = delete;

  std::string ca_pem() const { return pem_of(certificate_); }
  // `names`: "DNS:localhost,IP:127.0.0.1". Valid from and until are seconds from now.
  Pair issue(const std::string& names, long valid_from_s = -3600, long valid_until_s = 3600) const {
    EVP_PKEY* const key = EVP_EC_gen("P-256");
    X509* const certificate = make("leaf", key, certificate_, names, valid_from_s, valid_until_s, false);
    Pair pair{pem_of(certificate), pem_of(key, nullptr)};
    X509_free(certificate);
    EVP_PKEY_free(key);
    return pair;
  }
  // A key that asks for a pass phrase.
  static std::string encrypted_key_pem() {
    EVP_PKEY* const key = EVP_EC_gen("P-256");
    std::string pem = pem_of(key, "secret");
    EVP_PKEY_free(key);
    return pem;
  }

 private:
  static std::string text_of(BIO* bio) {
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio, &data);
    std::string text(data, static_cast<std::size_t>(size));
    BIO_free(bio);
    return text;
  }
  static std::string pem_of(X509* certificate) {
    BIO* const bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, certificate);
    return text_of(bio);
  }
  static std::string pem_of(EVP_PKEY* key, const char* pass_phrase) {
    BIO* const bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(bio, key, pass_phrase == nullptr ? nullptr : EVP_aes_128_cbc(), nullptr, 0, nullptr, const_cast<char*>(pass_phrase));
    return text_of(bio);
  }
  static void extend(X509* certificate, X509* issuer, int kind, const std::string& value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
    X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str());
    CHECK(extension != nullptr);
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
  }
  X509* make(const std::string& name, EVP_PKEY* key, X509* issuer, const std::string& names, long from_s, long until_s, bool authority) const {
    X509* const certificate = X509_new();
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++serial_);
    X509_gmtime_adj(X509_getm_notBefore(certificate), from_s);
    X509_gmtime_adj(X509_getm_notAfter(certificate), until_s);
    X509_set_pubkey(certificate, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
    X509_set_issuer_name(certificate, X509_get_subject_name(issuer == nullptr ? certificate : issuer));
    extend(certificate, issuer == nullptr ? certificate : issuer, NID_basic_constraints, authority ? "critical,CA:TRUE" : "CA:FALSE");
    if (!names.empty()) extend(certificate, issuer, NID_subject_alt_name, names);
    X509_sign(certificate, key_, EVP_sha256());
    return certificate;
  }

  EVP_PKEY* key_;
  X509* certificate_ = nullptr;
  mutable long serial_ = 0;
};

}  // namespace dormouse::http
