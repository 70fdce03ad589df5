// SPDX-License-Identifier: Apache-2.0
#pragma once
// A two-way byte stream to the API server, and where that server is. In a guest the stream is a file, /net/kube; natively
// it is a TCP connection with or without TLS. src/wasi and src/posix hold the two.

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "kubepp/loop.h"
#include "kubepp/result.h"

namespace kubepp {

class Stream {
 public:
  virtual ~Stream() = default;
  // Some bytes, at least one; 0 at the end of the stream.
  virtual Task<Result<std::size_t>> read(char* into, std::size_t size, Time deadline) = 0;
  // All bytes. They must stay where they are until then.
  virtual Task<Result<void>> write(std::string_view bytes, Time deadline) = 0;
};

struct Endpoint {
  std::string host = "kube";  // For the Host header.
  std::string address;        // Natively "HOST:PORT"; in a guest the path to open.
  bool tls = false;
  std::string ca_pem;         // Empty: the system's.
  std::string client_certificate_pem, client_key_pem;
  std::string token;
  std::string token_file;     // Read for each request: such tokens are replaced while the program runs.
  bool skip_verification = false;

  // Where this program's environment says that the API server is: in a guest /net/kube; natively KUBE_API_URL, KUBECONFIG,
  // the service account of a pod, ~/.kube/config, in this order.
  static Result<Endpoint> from_environment();
};

// Connects.
Task<Result<std::unique_ptr<Stream>>> dial(Loop& loop, const Endpoint& endpoint, Time deadline);

// The namespace this program runs in: POD_NAMESPACE, the service account's file, or "default".
std::string current_namespace();
// The pod's name, for leases and events: POD_NAME, HOSTNAME, or the program's own idea.
std::string current_pod();

// SIGTERM, SIGINT and SIGHUP as values rather than interruptions. Create it before anything else: from then on they
// no longer end the program.
class Signals {
 public:
  explicit Signals(Loop& loop);
  ~Signals();
  // The next signal's number.
  Task<int> next();

 private:
  Loop& loop_;
  int fd_ = -1;
};

}  // namespace kubepp
