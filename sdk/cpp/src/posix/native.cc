// SPDX-License-Identifier: Apache-2.0
// The native side of kubepp: signals and TCP.

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../fd_stream.h"
#include "tls_stream.h"

namespace kubepp {
namespace {

void keep_alive(int fd) {
  // A watch may be silent for long; the kernel finds out when the other side is gone.
  const int on = 1, idle_seconds = 30, interval_seconds = 10, probes = 3;
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_seconds, sizeof(idle_seconds));
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_seconds, sizeof(interval_seconds));
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

}  // namespace

Task<Result<std::unique_ptr<Stream>>> dial(Loop& loop, const Endpoint& endpoint, Time deadline) {
  const std::size_t colon = endpoint.address.rfind(':');
  std::string host = endpoint.address.substr(0, colon);
  const std::string port = colon == std::string::npos ? "443" : endpoint.address.substr(colon + 1);
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  // Blocks when the host is a name; in a cluster it is an address.
  if (const int failure = getaddrinfo(host.c_str(), port.c_str(), &hints, &found); failure != 0) {
    co_return fail("Network", endpoint.address + ": " + gai_strerror(failure));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, freeaddrinfo);
  std::unique_ptr<FdStream> stream;
  for (const addrinfo* address = found; address != nullptr && !stream; address = address->ai_next) {
    const int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) continue;
    auto candidate = std::make_unique<FdStream>(loop, fd);
    if (connect(fd, address->ai_addr, address->ai_addrlen) != 0) {
      if (errno != EINPROGRESS) continue;
      const bool in_time = co_await loop.writable(fd, deadline);
      if (!in_time) co_return fail_timeout();
      socklen_t size = sizeof(errno);
      getsockopt(fd, SOL_SOCKET, SO_ERROR, &errno, &size);
      if (errno != 0) continue;
    }
    keep_alive(fd);
    stream = std::move(candidate);
  }
  if (!stream) co_return fail_errno("connecting to " + endpoint.address);
  if (!endpoint.tls) co_return std::move(stream);
  co_return co_await start_tls(loop, std::move(stream), endpoint, host, deadline);
}

Signals::Signals(Loop& loop) : loop_(loop) {
  sigset_t set;
  sigemptyset(&set);
  for (int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, number);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  // A connection that the other side closed is an error of write(), not the end of the program.
  signal(SIGPIPE, SIG_IGN);
  fd_ = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

Signals::~Signals() {
  if (fd_ >= 0) close(fd_);
}

Task<int> Signals::next() {
  for (;;) {
    signalfd_siginfo info;
    if (read(fd_, &info, sizeof(info)) == sizeof(info)) co_return static_cast<int>(info.ssi_signo);
    co_await loop_.readable(fd_);
  }
}

}  // namespace kubepp
