// SPDX-License-Identifier: Apache-2.0
#pragma once
// TLS (1.2 or newer) over any byte stream, without I/O: OpenSSL reads from and writes to strings of ours.
//
// A TlsContext holds what connections share: trusted roots, our certificate and key. A TlsSession is one connection.
// A client always verifies chain and name, unless its context was made with `insecure_skip_verify`.
//
// Ownership: a session keeps its context alive.
// Threads:   a context may be shared between threads once made; a session is used by one at a time.

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace dormouse::http {

class TlsContext final : Immovable {
 public:
  struct Options {
    std::string ca_pem;           // Client: trusted roots; empty: the system's. Server: who signs clients, if they are asked for.
    std::string certificate_pem;  // With key_pem or both empty; leaf first, then intermediates. A server must have them.
    std::string key_pem;
    std::vector<std::string> alpn;  // Offered (client) or accepted (server), best first.
    bool insecure_skip_verify = false;
    bool ask_for_client_certificate = false;  // Server only; a client without one is let in.
  };
  enum class Role : std::uint8_t { Client, Server };
  // Errors: InvalidArgument with what is wrong (a broken PEM, a key of another certificate, an encrypted key).
  static Result<std::shared_ptr<const TlsContext>> create(Role role, const Options& options);
  ~TlsContext();

 private:
  friend class TlsSession;
  explicit TlsContext(Role role) : role_(role) {}
  Role role_;
  bool insecure_skip_verify_ = false;
  std::string alpn_wire_;
  void* context_ = nullptr;  // SSL_CTX
};

class TlsSession final : Immovable {
 public:
  // `name` (client): the host name or IP address that the certificate must be valid for; a name is also sent as SNI.
  static Result<std::unique_ptr<TlsSession>> create(std::shared_ptr<const TlsContext> context, const std::string& name);
  ~TlsSession();

  // Client: call once to get the first bytes out. Then for all that comes in. Appends what was decrypted to `plaintext`.
  // On error take_output() may still hold an alert for the peer. Errors: PermissionDenied (verification), Corrupt (protocol).
  Result<void> feed(std::span<const std::byte> ciphertext, std::string& plaintext);
  // Encrypts all of `plaintext`. REQUIRES: established().
  Result<void> write(std::string_view plaintext);
  void close();  // Queues close_notify.
  std::string take_output();

  bool established() const { return established_; }
  bool peer_closed() const { return peer_closed_; }  // A proper close_notify came: nothing was cut off.
  std::string alpn() const;                          // Empty if none was agreed.
  bool has_peer_certificate() const;

 private:
  TlsSession() = default;
  Error explain();
  struct Pipe;  // What the BIO reads from and writes to.

  std::shared_ptr<const TlsContext> context_;
  std::string name_;
  std::unique_ptr<Pipe> pipe_;
  std::string refused_names_ = "unknown";  // Of a certificate that is valid for others.
  void* ssl_ = nullptr;
  bool established_ = false;
  bool peer_closed_ = false;
};

}  // namespace dormouse::http
