// SPDX-License-Identifier: Apache-2.0
#pragma once
// What is behind /net for one guest: the Kubernetes API, destinations its pod's policy allows, and its own ports.
//
// The guest's thread only makes channels and puts them in a list; everything that happens to them is on the loop,
// told by doorbells that call once however often they are rung.
//
// Ownership: owned by the host's side of the guest; borrows everything in Options, which outlives it.
// Threads: dial() and listen(), and the listeners, on the guest's thread; create, destruction and the rest on the loop.
//   The guest's Process (with its channels and listeners) is destroyed before.
// Invariant: a stream is counted from dial or accept until the loop has torn it down; never more than streams_max.

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include "base/log.h"
#include "base/memory_account.h"
#include "base/result.h"
#include "gateway/doorbell.h"
#include "gateway/egress_policy.h"
#include "gateway/egress_tls.h"
#include "gateway/session.h"
#include "gateway/shared_cache.h"
#include "gateway/socket_stream.h"
#include "wasi/network.h"

namespace dormouse::gateway {

class Network final : public wasi::Network, Immovable {
 public:
  struct Limits {
    std::uint32_t streams_max = 1024;        // Of all kinds together; MFile beyond.
    std::uint32_t dials_pending_max = 64;    // Egress not yet connected; MFile beyond.
    std::uint32_t listeners_max = 64;        // MFile beyond.
    std::uint32_t accept_backlog_max = 128;  // A port's connections that wait; then host ports stop accepting.
    std::uint32_t reports_max = 256;         // Lines in the host's log about what was refused to the guest.
    http::Http1Server::Limits http;
  };
  struct Options {
    std::string guest;                       // For the log.
    boost::asio::io_context& loop;
    Log& log;
    MemoryAccount& account;
    kube::Upstream* upstream = nullptr;      // Null: no /net/kube.
    kube::Identity* identity = nullptr;      // Null with an upstream: see as_host.
    SharedCache* cache = nullptr;            // Null: everything is forwarded.
    bool prune_managed_fields = false;       // Of what comes out of the cache.
    bool as_host = false;                    // Requests carry the host's own credentials: only for a bare module run by its user.
    EgressPolicy egress;
    EgressTls* tls = nullptr;                // Null: no /net/tls.
    std::shared_ptr<PollOffload> offload;    // Null: the guest does all its looks itself. Stopped with the network.
    Limits limits = {};
  };
  // REQUIRES: upstream implies identity or as_host, not both.
  explicit Network(Options options);
  ~Network() override;

  std::expected<std::shared_ptr<wasi::Channel>, wasi::Errno> dial(std::string_view target, std::function<void()> waker) override;
  std::expected<std::unique_ptr<wasi::Listener>, wasi::Errno> listen(std::uint16_t port, std::function<void()> waker) override;

  // A connection to a port of the guest from inside the host (probes, port forwards): the caller has the channel's host
  // end, and ends it with host_end() or host_fail(). It must be let go of before the guest's account is.
  // Errors: Unavailable (nothing listens, or too many wait).
  Result<std::shared_ptr<wasi::Channel>> connect(std::uint16_t port);
  bool listening(std::uint16_t port) const;

  // Joins a port of the machine to a port of the guest for as long as this object lives. Without a listener in the
  // guest, connections are refused. Errors: AlreadyExists (the port is taken), PermissionDenied; it is tried again
  // whenever the guest begins to listen.
  // Yields the port bound, for `host.port()` 0 takes a free one.
  Result<std::uint16_t> bind_host_port(const boost::asio::ip::tcp::endpoint& host, std::uint16_t guest_port);

  struct Counters {
    KubeCounters kube;
    std::uint64_t dials = 0, dials_denied = 0, dials_failed = 0, accepted = 0;
    std::uint32_t streams_open = 0, listeners = 0;
  };
  Counters counters() const;

 private:
  class Stream;
  class KubeStream;
  class SocketPipe;
  class PortListener;
  class HostPort;
  using StreamId = std::uint64_t;

  struct Arrival {  // From the guest's thread to the loop.
    std::shared_ptr<wasi::Channel> channel;
    std::shared_ptr<Doorbell> bell;
    std::unique_ptr<Destination> destination;  // Null: the Kubernetes API.
    bool tls = false;
    std::uint64_t cost_bytes = 0;            // Charged already.
  };
  struct Port {
    std::function<void()> waker;
    std::deque<std::shared_ptr<wasi::Channel>> waiting;
    bool open = true;
  };
  std::expected<Arrival, wasi::Errno> parse_target(std::string_view target);
  Arrival make_channel(std::function<void()> waker, std::uint64_t cost_bytes);
  bool take_slot();
  void give_slot_back();
  void take_arrivals();
  void take_removals();
  void remove_later(StreamId id);
  void update_host_ports();
  bool has_room(std::uint16_t port) const;
  void accept(boost::asio::ip::tcp::socket socket, std::uint16_t port);
  Result<void> enqueue(std::uint16_t port, const std::shared_ptr<wasi::Channel>& channel);
  void report_once(std::string key, std::string_view message, Log::Fields fields);
  void report_forbidden(const RequestInfo& info);

  const Options options_;
  KubeCounters kube_counters_;
  std::optional<Session::Caller> caller_;
  const std::shared_ptr<Doorbell> arrivals_bell_, removals_bell_, ports_bell_;

  std::atomic<std::uint32_t> streams_open_{0}, dials_pending_{0};
  std::atomic<std::uint64_t> dials_{0}, dials_denied_{0}, dials_failed_{0}, accepted_{0};

  mutable std::mutex mutex_;                 // Of the next three; never held when something else is called.
  std::vector<Arrival> arrivals_;
  std::map<std::uint16_t, std::shared_ptr<Port>> ports_;
  std::set<std::string> reported_;

  StreamId next_stream_ = 1;
  std::unordered_map<StreamId, std::unique_ptr<Stream>> streams_;
  std::vector<StreamId> removals_;
  std::vector<std::unique_ptr<HostPort>> host_ports_;
};

}  // namespace dormouse::gateway
