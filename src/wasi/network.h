// SPDX-License-Identifier: Apache-2.0
#pragma once
// What stands behind /net in a guest's name space; plugged in by the folders above.
//
// Threads: called on the guest's thread; implementations hand over to the loop.

#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <string_view>

#include "wasi/abi.h"
#include "wasi/channel.h"

namespace dormouse::wasi {

// A bound port inside one guest. Connections queue (bounded) until accepted.
class Listener {
 public:
  virtual ~Listener() = default;  // Unbinds.
  virtual std::shared_ptr<Channel> accept() = 0;  // Null when none waits. Already connected.
  virtual bool pending() const = 0;
};

class Network {
 public:
  virtual ~Network() = default;
  // `target` is the path below /net/: "kube", "tcp/HOST:PORT", "tls/HOST:PORT"; unchecked guest text.
  // Returns at once with a connecting channel. Errors: NoEnt (no such network), Acces (policy), Inval (malformed), MFile (too many streams).
  virtual std::expected<std::shared_ptr<Channel>, Errno> dial(std::string_view target, std::function<void()> waker) = 0;
  // Errors: AddrInUse, Inval, Acces.
  virtual std::expected<std::unique_ptr<Listener>, Errno> listen(std::uint16_t port, std::function<void()> waker) = 0;
};

}  // namespace dormouse::wasi
