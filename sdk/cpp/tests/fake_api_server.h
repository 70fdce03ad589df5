// SPDX-License-Identifier: Apache-2.0
#pragma once
// An API server for tests: real sockets, on the same loop as the client, with answers that the test writes.
//
// A request goes to `handle`, which returns the answer's bytes; "" keeps the connection open for send(), as a watch does.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <list>
#include <string>
#include <vector>

#include "fd_stream.h"
#include "kubepp/client.h"

namespace kubepp {

class FakeApiServer {
 public:
  struct Request {
    std::string method, target, head, body;
    int connection = 0;  // Counted from 1.
  };
  using Handle = std::function<std::string(const Request&)>;

  FakeApiServer(Loop& loop, Handle handle) : loop_(loop), handle_(std::move(handle)) {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    if (bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(listener_, 64) != 0) abort();
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    tasks_.push_back(accept_all());
    tasks_.back().start();
  }
  ~FakeApiServer() {
    tasks_.clear();
    close(listener_);
  }

  Endpoint endpoint() const {
    Endpoint endpoint;
    endpoint.host = "kube";
    endpoint.address = "127.0.0.1:" + std::to_string(port_);
    return endpoint;
  }

  static std::string json(std::string_view body, std::string_view status = "200 OK", std::string_view more = {}) {
    return "HTTP/1.1 " + std::string(status) + "\r\nContent-Type: application/json\r\n" + std::string(more) +
           "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
  }
  static std::string status(int code, std::string_view reason, std::string_view more = {}) {
    const Json body = Json::object({{"kind", "Status"}, {"code", code}, {"reason", reason}, {"message", "because"}});
    return json(body.dump(), std::to_string(code) + " X", more);
  }
  static std::string stream_head() { return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"; }
  static std::string chunk(std::string_view bytes) {
    char size[32];
    snprintf(size, sizeof(size), "%zx\r\n", bytes.size());
    return size + std::string(bytes) + "\r\n";
  }
  static std::string event(std::string_view type, const Json& object) {
    return chunk(Json::object({{"type", type}, {"object", object}}).dump() + "\n");
  }

  // To the newest connection that is still there. Small enough for the socket's buffer.
  void send(std::string_view bytes) {
    if (::write(open_.back(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) abort();
  }
  // As a server that dies.
  void cut_all() {
    for (int fd : open_) shutdown(fd, SHUT_RDWR);
  }

  std::vector<Request> requests;
  int connections = 0;
  // Set at each request.
  Event asked;

 private:
  Task<> accept_all() {
    for (;;) {
      const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) {
        co_await loop_.readable(listener_);
        continue;
      }
      ++connections;
      tasks_.push_back(serve(fd, connections));
      tasks_.back().start();
    }
  }

  Task<> serve(int fd, int number) {
    FdStream stream(loop_, fd);
    open_.push_back(fd);
    std::string bytes;
    char some[4096];
    for (;;) {
      const std::size_t head_end = bytes.find("\r\n\r\n");
      std::size_t body_size = 0;
      if (head_end != bytes.npos) {
        const std::size_t at = bytes.find("Content-Length: ");
        if (at < head_end) body_size = static_cast<std::size_t>(atoi(bytes.c_str() + at + 16));
      }
      if (head_end == bytes.npos || bytes.size() < head_end + 4 + body_size) {
        const Result<std::size_t> size = co_await stream.read(some, sizeof(some), kNever);
        if (!size || *size == 0) break;
        bytes.append(some, *size);
        continue;
      }
      Request request;
      request.head = bytes.substr(0, head_end);
      request.body = bytes.substr(head_end + 4, body_size);
      request.method = request.head.substr(0, request.head.find(' '));
      request.target = request.head.substr(request.method.size() + 1);
      request.target.resize(request.target.find(' '));
      request.connection = number;
      bytes.erase(0, head_end + 4 + body_size);
      requests.push_back(request);
      asked.set();
      const std::string answer = handle_(request);
      if (answer == "close") break;
      const Result<void> written = co_await stream.write(answer, kNever);
      if (!written) break;
    }
    std::erase(open_, fd);
  }

  Loop& loop_;
  const Handle handle_;
  int listener_ = -1;
  int port_ = 0;
  std::list<Task<>> tasks_;
  std::vector<int> open_;
};

}  // namespace kubepp
