// SPDX-License-Identifier: Apache-2.0
#pragma once
// TLS towards destinations outside the cluster: the system's roots (or those given), names verified.
//
// The roots are read at the first use, for most hosts never need them.
//
// Ownership: one for the host; outlives every Network.
// Threads: the loop's.

#include <memory>
#include <string>
#include <utility>

#include "base/result.h"
#include "base/types.h"
#include "http/tls.h"

namespace dormouse::gateway {

class EgressTls final : Immovable {
 public:
  explicit EgressTls(std::string roots_pem = {}) : roots_pem_(std::move(roots_pem)) {}

  Result<std::shared_ptr<const http::TlsContext>> context() {
    if (context_ == nullptr) {
      auto created = http::TlsContext::create(http::TlsContext::Role::Client, {.ca_pem = roots_pem_});
      if (!created) return created;
      context_ = std::move(*created);
    }
    return context_;
  }

 private:
  const std::string roots_pem_;
  std::shared_ptr<const http::TlsContext> context_;
};

}  // namespace dormouse::gateway
