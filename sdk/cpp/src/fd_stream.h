// SPDX-License-Identifier: Apache-2.0
#pragma once
// A stream over a non-blocking descriptor: the same code for a guest's /net/kube and for a TCP socket.

#include "kubepp/stream.h"

namespace kubepp {

class FdStream final : public Stream {
 public:
  FdStream(Loop& loop, int fd) : loop_(loop), fd_(fd) {}
  ~FdStream() override;
  Task<Result<std::size_t>> read(char* into, std::size_t size, Time deadline) override;
  Task<Result<void>> write(std::string_view bytes, Time deadline) override;
  int fd() const { return fd_; }

 private:
  Loop& loop_;
  const int fd_;
};

// "what: No such file" as an error of reason Network.
std::unexpected<Error> fail_errno(std::string_view what);
inline std::unexpected<Error> fail_timeout() { return fail("Timeout", "the API server did not answer in time"); }
// All of a small file; "" if it cannot be read.
std::string read_file(const std::string& path);

}  // namespace kubepp
