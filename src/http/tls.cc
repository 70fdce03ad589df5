// SPDX-License-Identifier: Apache-2.0
#include "http/tls.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "http/openssl_handles.h"

namespace dormouse::http {
namespace {

constexpr std::size_t kNamesShownMax = 10;

std::string openssl_reason() {
  const unsigned long code = ERR_peek_last_error();
  ERR_clear_error();
  const char* const reason = code == 0 ? nullptr : ERR_reason_error_string(code);
  return reason == nullptr ? "unknown reason" : reason;
}

Bio reader_of(const std::string& pem) { return Bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))); }

// OpenSSL would ask on the terminal for the pass phrase of an encrypted key.
int no_pass_phrase(char*, int, int, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

Result<std::vector<Certificate>> certificates_of(const std::string& pem, std::string_view what) {
  std::vector<Certificate> certificates;
  const Bio bio = reader_of(pem);
  ERR_clear_error();
  while (true) {
    Certificate certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
    if (!certificate) break;
    certificates.push_back(std::move(certificate));
  }
  const unsigned long code = ERR_peek_last_error();
  if (certificates.empty()) {
    ERR_clear_error();
    return fail(ErrorCode::InvalidArgument, "{} holds no PEM certificate", what);
  }
  if (ERR_GET_LIB(code) != ERR_LIB_PEM || ERR_GET_REASON(code) != PEM_R_NO_START_LINE) {
    return fail(ErrorCode::InvalidArgument, "{}: certificate {} is broken ({})", what, certificates.size() + 1, openssl_reason());
  }
  ERR_clear_error();
  return certificates;
}

Result<void> use_certificate(SSL_CTX* context, const TlsContext::Options& options) {
  auto chain = certificates_of(options.certificate_pem, "the client certificate");
  if (!chain) return fail(std::move(chain.error()));
  const Bio bio = reader_of(options.key_pem);
  bool encrypted = false;
  const Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_pass_phrase, &encrypted));
  if (!key) {
    const std::string reason = openssl_reason();
    if (encrypted) return fail(ErrorCode::InvalidArgument, "the private key is encrypted; give one without a pass phrase");
    return fail(ErrorCode::InvalidArgument, "the private key is not a PEM private key ({})", reason);
  }
  if (SSL_CTX_use_certificate(context, chain->front().get()) != 1) {
    return fail(ErrorCode::InvalidArgument, "the certificate cannot be used ({})", openssl_reason());
  }
  for (std::size_t i = 1; i < chain->size(); ++i) SSL_CTX_add1_chain_cert(context, (*chain)[i].get());
  if (SSL_CTX_use_PrivateKey(context, key.get()) != 1 || SSL_CTX_check_private_key(context) != 1) {
    ERR_clear_error();
    return fail(ErrorCode::InvalidArgument, "the private key does not belong to the certificate");
  }
  return {};
}

// Server: the first of ours that the client offers too.
int choose_protocol(SSL*, const unsigned char** chosen, unsigned char* chosen_size, const unsigned char* offered, unsigned offered_size,
                    void* wire) noexcept {
  const auto& ours = *static_cast<const std::string*>(wire);
  unsigned char* found = nullptr;
  if (SSL_select_next_proto(&found, chosen_size, reinterpret_cast<const unsigned char*>(ours.data()), static_cast<unsigned>(ours.size()),
                            offered, offered_size) != OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *chosen = found;
  return SSL_TLSEXT_ERR_OK;
}

bool is_ip_address(const std::string& name) {
  unsigned char bytes[sizeof(in6_addr)];
  return inet_pton(AF_INET, name.c_str(), bytes) == 1 || inet_pton(AF_INET6, name.c_str(), bytes) == 1;
}

// For whom a certificate is, for people: "a.example, 10.0.0.1".
std::string names_of(X509* certificate) {
  std::string text;
  auto* const names = static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; i < sk_GENERAL_NAME_num(names) && i < static_cast<int>(kNamesShownMax); ++i) {
    const GENERAL_NAME* const name = sk_GENERAL_NAME_value(names, i);
    std::string shown;
    if (name->type == GEN_DNS) {
      const std::string_view dns(reinterpret_cast<const char*>(ASN1_STRING_get0_data(name->d.dNSName)),
                                 static_cast<std::size_t>(ASN1_STRING_length(name->d.dNSName)));
      for (const char c : dns.substr(0, 253)) shown += (c > 0x20 && c < 0x7f) ? c : '?';
    } else if (name->type == GEN_IPADD) {
      char buffer[INET6_ADDRSTRLEN] = {};
      const int size = ASN1_STRING_length(name->d.iPAddress);
      if (size == 4 || size == 16) inet_ntop(size == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(name->d.iPAddress), buffer, sizeof buffer);
      shown = buffer;
    }
    if (shown.empty()) continue;
    if (!text.empty()) text += ", ";
    text += shown;
  }
  GENERAL_NAMES_free(names);
  return text.empty() ? "no name at all" : text;
}

// A refused certificate is not kept by OpenSSL, so its names are noted when it is looked at, for the error message.
int note_refused_names(int accepted, X509_STORE_CTX* store) noexcept {
  const int problem = X509_STORE_CTX_get_error(store);
  if (accepted == 0 && (problem == X509_V_ERR_HOSTNAME_MISMATCH || problem == X509_V_ERR_IP_ADDRESS_MISMATCH)) {
    auto* const ssl = static_cast<SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
    X509* const certificate = X509_STORE_CTX_get_current_cert(store);
    if (auto* const names = static_cast<std::string*>(SSL_get_app_data(ssl)); names != nullptr && certificate != nullptr) *names = names_of(certificate);
  }
  return accepted;
}

}  // namespace

// --- TlsContext

Result<std::shared_ptr<const TlsContext>> TlsContext::create(Role role, const Options& options) {
  std::shared_ptr<TlsContext> made(new TlsContext(role));
  SSL_CTX* const context = SSL_CTX_new(role == Role::Client ? TLS_client_method() : TLS_server_method());
  CHECK(context != nullptr);
  made->context_ = context;
  made->insecure_skip_verify_ = options.insecure_skip_verify;
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);

  if (!options.ca_pem.empty()) {
    auto roots = certificates_of(options.ca_pem, "the certificate authority");
    if (!roots) return fail(std::move(roots.error()));
    X509_STORE* const store = SSL_CTX_get_cert_store(context);
    for (const Certificate& root : *roots) X509_STORE_add_cert(store, root.get());
    // A CA of a kubeconfig is trusted because it is there, even if another one signed it.
    X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
    ERR_clear_error();  // A root given twice is no error.
  } else if (role == Role::Client && !options.insecure_skip_verify) {
    SSL_CTX_set_default_verify_paths(context);
  }
  int verify = SSL_VERIFY_NONE;
  if (role == Role::Client && !options.insecure_skip_verify) verify = SSL_VERIFY_PEER;
  if (role == Role::Server && options.ask_for_client_certificate) verify = SSL_VERIFY_PEER;
  SSL_CTX_set_verify(context, verify, note_refused_names);

  if (options.certificate_pem.empty() != options.key_pem.empty()) {
    return fail(ErrorCode::InvalidArgument, "a certificate and its private key must be given together");
  }
  if (!options.certificate_pem.empty()) {
    if (auto used = use_certificate(context, options); !used) return fail(std::move(used.error()));
  }
  for (const std::string& protocol : options.alpn) {
    made->alpn_wire_ += static_cast<char>(protocol.size());
    made->alpn_wire_ += protocol;
  }
  if (!options.alpn.empty() && role == Role::Client) {
    SSL_CTX_set_alpn_protos(context, reinterpret_cast<const unsigned char*>(made->alpn_wire_.data()), static_cast<unsigned>(made->alpn_wire_.size()));
  } else if (!options.alpn.empty()) {
    SSL_CTX_set_alpn_select_cb(context, choose_protocol, &made->alpn_wire_);
  }
  return made;
}

TlsContext::~TlsContext() { SSL_CTX_free(static_cast<SSL_CTX*>(context_)); }

// --- TlsSession

struct TlsSession::Pipe {
  std::span<const std::byte> input;  // A loan for the length of one feed().
  std::string output;

  static int read(BIO* bio, char* to, int room) noexcept {
    auto& self = *static_cast<Pipe*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    if (self.input.empty()) {
      BIO_set_retry_read(bio);
      return -1;
    }
    const std::size_t taken = std::min(self.input.size(), static_cast<std::size_t>(room));
    std::memcpy(to, self.input.data(), taken);
    self.input = self.input.subspan(taken);
    return static_cast<int>(taken);
  }
  static int write(BIO* bio, const char* from, int size) noexcept {
    static_cast<Pipe*>(BIO_get_data(bio))->output.append(from, static_cast<std::size_t>(size));
    return size;
  }
  static long control(BIO*, int command, long, void*) noexcept { return command == BIO_CTRL_FLUSH ? 1 : 0; }
  static int opened(BIO* bio) noexcept {
    BIO_set_init(bio, 1);
    return 1;
  }
  static const BIO_METHOD* method() {
    static const BIO_METHOD* const kMethod = [] {
      BIO_METHOD* const made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "string pipe");
      BIO_meth_set_read(made, read);
      BIO_meth_set_write(made, write);
      BIO_meth_set_ctrl(made, control);
      BIO_meth_set_create(made, opened);
      return made;
    }();
    return kMethod;
  }
};

Result<std::unique_ptr<TlsSession>> TlsSession::create(std::shared_ptr<const TlsContext> context, const std::string& name) {
  std::unique_ptr<TlsSession> session(new TlsSession);
  SSL* const ssl = SSL_new(static_cast<SSL_CTX*>(context->context_));
  CHECK(ssl != nullptr);
  session->ssl_ = ssl;
  session->name_ = name;
  session->pipe_ = std::make_unique<Pipe>();
  BIO* const bio = BIO_new(Pipe::method());
  BIO_set_data(bio, session->pipe_.get());
  SSL_set_bio(ssl, bio, bio);
  SSL_set_app_data(ssl, &session->refused_names_);
  if (context->role_ == TlsContext::Role::Client) {
    SSL_set_connect_state(ssl);
    const bool address = is_ip_address(name);
    bool named = true;
    if (address) {
      named = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name.c_str()) == 1;
    } else if (!name.empty()) {
      SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
      named = SSL_set1_host(ssl, name.c_str()) == 1 && SSL_set_tlsext_host_name(ssl, name.c_str()) == 1;
    }
    if (!named || (name.empty() && !context->insecure_skip_verify_)) {
      ERR_clear_error();
      return fail(ErrorCode::InvalidArgument, "\"{}\" is not a name that a certificate can be checked against", name);
    }
  } else {
    SSL_set_accept_state(ssl);
  }
  session->context_ = std::move(context);
  return session;
}

TlsSession::~TlsSession() { SSL_free(static_cast<SSL*>(ssl_)); }

Error TlsSession::explain() {
  SSL* const ssl = static_cast<SSL*>(ssl_);
  const long verdict = SSL_get_verify_result(ssl);
  if (!established_ && verdict != X509_V_OK && context_->role_ == TlsContext::Role::Client && !context_->insecure_skip_verify_) {
    ERR_clear_error();
    if (verdict == X509_V_ERR_HOSTNAME_MISMATCH || verdict == X509_V_ERR_IP_ADDRESS_MISMATCH) {
      return Error{ErrorCode::PermissionDenied, fmt::format("the server's certificate is not valid for {} (it is valid for: {})", name_,
                                                            refused_names_)};
    }
    return Error{ErrorCode::PermissionDenied, fmt::format("the server's certificate cannot be trusted: {}", X509_verify_cert_error_string(verdict))};
  }
  const unsigned long code = ERR_peek_last_error();
  const std::string reason = openssl_reason();
  // 1000 and above are alerts of the peer: it is the one that refuses.
  if (ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) >= SSL_AD_REASON_OFFSET) {
    return Error{ErrorCode::PermissionDenied, fmt::format("the other side refused TLS ({})", reason)};
  }
  return Error{ErrorCode::Corrupt, fmt::format("TLS failed ({}); is it a TLS server?", reason)};
}

Result<void> TlsSession::feed(std::span<const std::byte> ciphertext, std::string& plaintext) {
  SSL* const ssl = static_cast<SSL*>(ssl_);
  ERR_clear_error();
  pipe_->input = ciphertext;
  if (!established_) {
    const int result = SSL_do_handshake(ssl);
    if (result == 1) {
      established_ = true;
    } else if (SSL_get_error(ssl, result) != SSL_ERROR_WANT_READ) {
      pipe_->input = {};
      return fail(explain());
    }
  }
  while (established_ && !peer_closed_) {
    char record[16 * 1024];
    std::size_t got = 0;
    const int result = SSL_read_ex(ssl, record, sizeof record, &got);
    if (result == 1) {
      plaintext.append(record, got);
      continue;
    }
    const int problem = SSL_get_error(ssl, result);
    if (problem == SSL_ERROR_WANT_READ) break;
    if (problem == SSL_ERROR_ZERO_RETURN) {
      peer_closed_ = true;
      break;
    }
    pipe_->input = {};
    return fail(explain());
  }
  pipe_->input = {};
  return {};
}

Result<void> TlsSession::write(std::string_view plaintext) {
  CHECK(established_);
  SSL* const ssl = static_cast<SSL*>(ssl_);
  ERR_clear_error();
  while (!plaintext.empty()) {
    std::size_t written = 0;
    const int result = SSL_write_ex(ssl, plaintext.data(), plaintext.size(), &written);
    if (result != 1) return fail(explain());
    plaintext.remove_prefix(written);
  }
  return {};
}

void TlsSession::close() {
  if (established_) SSL_shutdown(static_cast<SSL*>(ssl_));
  ERR_clear_error();
}

std::string TlsSession::take_output() { return std::exchange(pipe_->output, {}); }

std::string TlsSession::alpn() const {
  const unsigned char* data = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(static_cast<SSL*>(ssl_), &data, &size);
  return std::string(reinterpret_cast<const char*>(data), size);
}

bool TlsSession::has_peer_certificate() const { return SSL_get0_peer_certificate(static_cast<SSL*>(ssl_)) != nullptr; }

}  // namespace dormouse::http
