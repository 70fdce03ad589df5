// SPDX-License-Identifier: Apache-2.0
#include "fd_stream.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

namespace kubepp {

std::unexpected<Error> fail_errno(std::string_view what) {
  return fail("Network", std::string(what) + ": " + strerror(errno));
}

std::string read_file(const std::string& path) {
  std::string content;
  if (FILE* file = fopen(path.c_str(), "rb")) {
    char bytes[4096];
    while (std::size_t size = fread(bytes, 1, sizeof(bytes), file)) content.append(bytes, size);
    fclose(file);
  }
  return content;
}

std::string current_namespace() {
  if (const char* name = getenv("POD_NAMESPACE")) return name;
  std::string name = read_file("/var/run/secrets/kubernetes.io/serviceaccount/namespace");
  while (!name.empty() && (name.back() == '\n' || name.back() == ' ')) name.pop_back();
  return name.empty() ? "default" : name;
}

std::string current_pod() {
  if (const char* name = getenv("POD_NAME")) return name;
  if (const char* name = getenv("HOSTNAME")) return name;
  return "unknown";
}

FdStream::~FdStream() { close(fd_); }

Task<Result<std::size_t>> FdStream::read(char* into, std::size_t size, Time deadline) {
  for (;;) {
    const ssize_t got = ::read(fd_, into, size);
    if (got >= 0) co_return static_cast<std::size_t>(got);
    if (errno == EINTR) continue;
    if (errno != EAGAIN) co_return fail_errno("reading from the API server");
    const bool in_time = co_await loop_.readable(fd_, deadline);
    if (!in_time) co_return fail_timeout();
  }
}

Task<Result<void>> FdStream::write(std::string_view bytes, Time deadline) {
  // Write first, wait only after EAGAIN: a guest is told once that a stream became writable.
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd_, bytes.data(), bytes.size());
    if (put >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(put));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) co_return fail_errno("writing to the API server");
    const bool in_time = co_await loop_.writable(fd_, deadline);
    if (!in_time) co_return fail_timeout();
  }
  co_return Result<void>();
}

}  // namespace kubepp
