// SPDX-License-Identifier: Apache-2.0
#pragma once
// One who asks the Kubernetes API through the gateway (a guest, or a native client's token), and who answers him.
//
// Ownership: shared by the sessions and exchanges of one client.
// Threads: the loop's.

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "kube/service_account_tokens.h"
#include "kube/upstream.h"
#include "watchcache/revision.h"

namespace dormouse::gateway {

// What a client has written, so that it never reads anything older from a cache.
class WriteLedger {
 public:
  static constexpr std::size_t kResourcesMax = 256;  // Written by one client; beyond, nothing is read from a cache any more.

  // `resource`: "deployments.apps". Until done() nothing of it may be read from a cache.
  using Ticket = std::uint64_t;
  Ticket begin(const std::string& resource);
  // Unset: it was written at a revision that nobody told.
  void done(const std::string& resource, Ticket ticket, std::optional<watchcache::Revision> revision);
  void failed(const std::string& resource);
  // A state read must be at least this old (0: any); unset: only the API server can tell.
  std::optional<watchcache::Revision> floor(std::string_view resource) const;

 private:
  struct Record {
    watchcache::Revision floor = 0;
    unsigned under_way = 0;
    Ticket unknown = 0;  // Writes up to this one ended at a revision that nobody told. 0: none.
  };
  std::map<std::string, Record, std::less<>> records_;
  Ticket last_ticket_ = 0;
  bool overflown_ = false;
};

struct ApiClient {
  // Names the subject: those of one name share what is known about their rights.
  std::string name;
  // Whose token goes along. Null once its owner has gone, and for requests with the host's own credentials: those are only forwarded.
  kube::Identity* identity = nullptr;
  std::unique_ptr<kube::Identity> owned_identity;  // Where it is nobody else's.
  bool may_sleep = false;              // Is not woken for a bookmark alone, nor for the end of a watch that nobody waits for.
  bool lists_before_watching = false;  // A list of his is followed by a watch, as an operator's is.
  bool prune_managed_fields = false;
  WriteLedger writes;
};

// Performs requests that carry the client's token: by the API server, or out of a cache.
class ApiFront {
 public:
  virtual ~ApiFront() = default;
  // As kube::Upstream::start().
  virtual std::unique_ptr<kube::Exchange> start(kube::Request request, std::shared_ptr<ApiClient> client, kube::ExchangeSink& sink) = 0;
};

}  // namespace dormouse::gateway
