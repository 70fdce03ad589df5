// SPDX-License-Identifier: Apache-2.0
// A guest's side of kubepp: the API server and the signals are files.

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "../fd_stream.h"

namespace kubepp {

Result<Endpoint> Endpoint::from_environment() {
  Endpoint endpoint;
  endpoint.address = "/net/kube";
  return endpoint;
}

Task<Result<std::unique_ptr<Stream>>> dial(Loop& loop, const Endpoint& endpoint, Time) {
  // Returns at once; a connection that fails shows in the first read or write.
  const int fd = open(endpoint.address.c_str(), O_RDWR | O_NONBLOCK);
  if (fd < 0) co_return fail_errno(endpoint.address);
  co_return std::make_unique<FdStream>(loop, fd);
}

Signals::Signals(Loop& loop) : loop_(loop), fd_(open("/run/signals", O_RDONLY | O_NONBLOCK)) {}

Signals::~Signals() {
  if (fd_ >= 0) close(fd_);
}

Task<int> Signals::next() {
  for (;;) {
    unsigned char number = 0;
    if (fd_ >= 0 && read(fd_, &number, 1) == 1) co_return static_cast<int>(number);
    // A host without signals: there will never be one.
    const bool none = fd_ < 0 || errno != EAGAIN;
    if (none) co_await loop_.sleep_until(kNever);
    else co_await loop_.readable(fd_);
  }
}

}  // namespace kubepp
