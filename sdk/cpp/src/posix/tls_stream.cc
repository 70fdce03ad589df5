// SPDX-License-Identifier: Apache-2.0
#include "tls_stream.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

namespace kubepp {
namespace {

template <auto Free>
struct Freed {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Context = std::unique_ptr<SSL_CTX, Freed<SSL_CTX_free>>;
using Session = std::unique_ptr<SSL, Freed<SSL_free>>;
using Bio = std::unique_ptr<BIO, Freed<BIO_free>>;
using Certificate = std::unique_ptr<X509, Freed<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;

std::unexpected<Error> fail_tls(std::string_view what) {
  char text[256] = "closed by the other side";
  if (const unsigned long code = ERR_get_error()) ERR_error_string_n(code, text, sizeof(text));
  ERR_clear_error();
  return fail("Network", std::string(what) + ": " + text);
}

class TlsStream final : public Stream {
 public:
  TlsStream(Loop& loop, std::unique_ptr<FdStream> socket, Context context)
      : loop_(loop), socket_(std::move(socket)), context_(std::move(context)), session_(SSL_new(context_.get())) {
    SSL_set_fd(session_.get(), socket_->fd());
  }

  Task<Result<void>> handshake(std::string host, Time deadline) {
    // An address is verified as one, a name as one and sent as SNI.
    X509_VERIFY_PARAM* parameters = SSL_get0_param(session_.get());
    if (X509_VERIFY_PARAM_set1_ip_asc(parameters, host.c_str()) != 1) {
      SSL_set1_host(session_.get(), host.c_str());
      SSL_set_tlsext_host_name(session_.get(), host.c_str());
    }
    ERR_clear_error();
    for (;;) {
      const int result = SSL_connect(session_.get());
      if (result == 1) co_return Result<void>();
      const Progress progress = co_await wait(result, deadline);
      if (progress == Progress::Late) co_return fail_timeout();
      if (progress == Progress::Failed) co_return fail_tls("TLS handshake with " + host);
    }
  }

  Task<Result<std::size_t>> read(char* into, std::size_t size, Time deadline) override {
    for (;;) {
      ERR_clear_error();
      std::size_t got = 0;
      const int result = SSL_read_ex(session_.get(), into, size, &got);
      if (result == 1) co_return got;
      if (SSL_get_error(session_.get(), result) == SSL_ERROR_ZERO_RETURN) co_return std::size_t{0};
      const Progress progress = co_await wait(result, deadline);
      if (progress == Progress::Late) co_return fail_timeout();
      if (progress == Progress::Failed) co_return fail_tls("reading from the API server");
    }
  }

  Task<Result<void>> write(std::string_view bytes, Time deadline) override {
    while (!bytes.empty()) {
      ERR_clear_error();
      std::size_t put = 0;
      const int result = SSL_write_ex(session_.get(), bytes.data(), bytes.size(), &put);
      if (result == 1) {
        bytes.remove_prefix(put);
        continue;
      }
      const Progress progress = co_await wait(result, deadline);
      if (progress == Progress::Late) co_return fail_timeout();
      if (progress == Progress::Failed) co_return fail_tls("writing to the API server");
    }
    co_return Result<void>();
  }

 private:
  enum class Progress { Again, Late, Failed };
  Task<Progress> wait(int result, Time deadline) {
    bool in_time = false;
    switch (SSL_get_error(session_.get(), result)) {
      case SSL_ERROR_WANT_READ: in_time = co_await loop_.readable(socket_->fd(), deadline); break;
      case SSL_ERROR_WANT_WRITE: in_time = co_await loop_.writable(socket_->fd(), deadline); break;
      default: co_return Progress::Failed;
    }
    co_return in_time ? Progress::Again : Progress::Late;
  }

  Loop& loop_;
  std::unique_ptr<FdStream> socket_;
  Context context_;
  Session session_;
};

Result<Context> make_context(const Endpoint& endpoint) {
  Context context(SSL_CTX_new(TLS_client_method()));
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_mode(context.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_verify(context.get(), endpoint.skip_verification ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, nullptr);
  if (endpoint.ca_pem.empty()) {
    SSL_CTX_set_default_verify_paths(context.get());
  } else {
    const Bio bio(BIO_new_mem_buf(endpoint.ca_pem.data(), static_cast<int>(endpoint.ca_pem.size())));
    int count = 0;
    while (const Certificate certificate{PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)}) {
      X509_STORE_add_cert(SSL_CTX_get_cert_store(context.get()), certificate.get());
      ++count;
    }
    ERR_clear_error();
    if (count == 0) return fail("Configuration", "the API server's CA holds no PEM certificate");
  }
  if (!endpoint.client_certificate_pem.empty()) {
    const auto bio_of = [](const std::string& pem) { return Bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))); };
    const Bio certificate_bio = bio_of(endpoint.client_certificate_pem);
    const Bio key_bio = bio_of(endpoint.client_key_pem);
    const Certificate certificate(PEM_read_bio_X509(certificate_bio.get(), nullptr, nullptr, nullptr));
    const Key key(PEM_read_bio_PrivateKey(key_bio.get(), nullptr, nullptr, nullptr));
    if (!certificate || !key || SSL_CTX_use_certificate(context.get(), certificate.get()) != 1 ||
        SSL_CTX_use_PrivateKey(context.get(), key.get()) != 1) {
      return fail("Configuration", "the client certificate or its key cannot be used");
    }
  }
  return context;
}

}  // namespace

Task<Result<std::unique_ptr<Stream>>> start_tls(Loop& loop, std::unique_ptr<FdStream> socket, Endpoint endpoint,
                                                std::string host, Time deadline) {
  Result<Context> context = make_context(endpoint);
  if (!context) co_return fail(context.error());
  auto stream = std::make_unique<TlsStream>(loop, std::move(socket), std::move(*context));
  const Result<void> done = co_await stream->handshake(host, deadline);
  if (!done) co_return fail(done.error());
  co_return std::move(stream);
}

}  // namespace kubepp
