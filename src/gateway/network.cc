// SPDX-License-Identifier: Apache-2.0
#include "gateway/network.h"

#include <utility>

#include <boost/asio/ip/v6_only.hpp>

#include <fmt/format.h>

#include "base/check.h"

namespace dormouse::gateway {

using wasi::Errno;
using Tcp = boost::asio::ip::tcp;

// --- Streams, on the loop ---

class Network::Stream : Immovable {
 public:
  Stream(Network& network, StreamId id, Arrival arrival) : network_(network), id_(id), arrival_(std::move(arrival)) {
    arrival_.bell->answer_with([this] { on_channel(); });
  }
  virtual ~Stream() {
    arrival_.bell->silence();
    network_.options_.account.release(arrival_.cost_bytes);
    network_.give_slot_back();
  }
  virtual void on_channel() = 0;

 protected:
  Network& network_;
  const StreamId id_;
  const Arrival arrival_;
};

class Network::KubeStream final : public Stream, Session::Owner {
 public:
  KubeStream(Network& network, StreamId id, Arrival arrival)
      : Stream(network, id, std::move(arrival)), session_(*network.caller_, arrival_.channel, *this, network.options_.limits.http) {}
  void on_channel() override { session_.on_channel(); }

 private:
  void on_session_closed() override { network_.remove_later(id_); }
  void on_session_wants_turn() override { arrival_.bell->ring(); }
  Session session_;
};

class Network::SocketPipe final : public Stream {
 public:
  SocketPipe(Network& network, StreamId id, Arrival arrival)
      : Stream(network, id, std::move(arrival)), socket_(std::make_shared<SocketStream>(network.options_.loop, arrival_.channel, hooks())) {}
  ~SocketPipe() override {
    socket_->stop();
    dial_over();
  }
  void on_channel() override { socket_->on_channel(); }
  void dial() { socket_->dial(*arrival_.destination, network_.options_.egress, arrival_.tls ? network_.options_.tls : nullptr); }
  bool enqueue_for(std::uint16_t port) { return network_.enqueue(port, arrival_.channel).has_value(); }
  void adopt(Tcp::socket socket) { socket_->adopt(std::move(socket)); }

 private:
  SocketStream::Hooks hooks() {
    return {.on_stopped = [this] { network_.remove_later(id_); },
            .on_dialled = [this] { dial_over(); },
            .on_dial_failed = [this](const std::string& what) { report(what); }};
  }
  void dial_over() {
    if (arrival_.destination && !std::exchange(dial_over_, true)) network_.dials_pending_.fetch_sub(1);
  }
  void report(const std::string& what) {
    ++network_.dials_failed_;
    const std::string to = fmt::format("{}:{}", arrival_.destination->host, arrival_.destination->port);
    network_.report_once("failed " + to, "a guest could not connect; said once for each destination",
                         {{"guest", network_.options_.guest}, {"destination", to}, {"error", what}});
  }
  bool dial_over_ = false;
  const std::shared_ptr<SocketStream> socket_;
};

// --- A port of the machine ---

class Network::HostPort final : Immovable {
 public:
  HostPort(Network& network, Tcp::endpoint endpoint, std::uint16_t guest_port)
      : network_(network), endpoint_(std::move(endpoint)), guest_port_(guest_port), acceptor_(network.options_.loop) {}
  ~HostPort() { close(); }

  // Takes the port without listening, so that the kernel refuses connections until the guest wants them.
  Result<std::uint16_t> bind() {
    boost::system::error_code error;
    acceptor_.open(endpoint_.protocol(), error);
    if (!error) acceptor_.set_option(Tcp::acceptor::reuse_address(true), error);
    if (!error && endpoint_.address().is_v6()) acceptor_.set_option(boost::asio::ip::v6_only(true), error);
    if (!error) acceptor_.bind(endpoint_, error);
    if (!error) endpoint_ = acceptor_.local_endpoint(error);
    if (error) {
      close();
      return fail_errno(error.value(), fmt::format("listen on {}:{}", endpoint_.address().to_string(), endpoint_.port()));
    }
    return endpoint_.port();
  }

  // The guest has begun or ceased to listen, or there is room again.
  void update() {
    if (!network_.listening(guest_port_)) {
      if (!listening_) return;
      close();
      if (const Result<std::uint16_t> bound = bind(); !bound) report(bound.error().message);
      return;
    }
    if (!acceptor_.is_open()) {
      if (const Result<std::uint16_t> bound = bind(); !bound) return report(bound.error().message);
    }
    if (!listening_) {
      boost::system::error_code error;
      acceptor_.listen(static_cast<int>(network_.options_.limits.accept_backlog_max), error);
      if (error) return report(error.message());
      listening_ = true;
    }
    accept();
  }

 private:
  void report(const std::string& error) {
    network_.report_once(fmt::format("host port {}", endpoint_.port()), "a host port cannot be listened on now; two guests may name the same",
                         {{"guest", network_.options_.guest}, {"port", endpoint_.port()}, {"error", error}});
  }
  void accept() {
    if (accepting_ || !listening_ || !network_.has_room(guest_port_)) return;
    accepting_ = true;
    acceptor_.async_accept([this, alive = std::weak_ptr<bool>(alive_)](boost::system::error_code error, Tcp::socket socket) {
      if (alive.expired()) return;
      accepting_ = false;
      if (error == boost::asio::error::operation_aborted) return;
      if (!error) return network_.accept(std::move(socket), guest_port_), accept();
      // Out of descriptors, most likely: whoever frees one rings.
      network_.report_once("accept", "a connection to a host port could not be accepted", {{"guest", network_.options_.guest}, {"error", error.message()}});
    });
  }
  void close() {
    boost::system::error_code ignored;
    alive_ = std::make_shared<bool>(true);  // Nothing of the old socket's is heard any more.
    acceptor_.close(ignored);
    accepting_ = listening_ = false;
  }

  Network& network_;
  Tcp::endpoint endpoint_;
  const std::uint16_t guest_port_;
  Tcp::acceptor acceptor_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  bool accepting_ = false, listening_ = false;
};

// --- A port of the guest, on the guest's thread ---

class Network::PortListener final : public wasi::Listener {
 public:
  PortListener(Network& network, std::uint16_t number, std::shared_ptr<Port> port) : network_(network), number_(number), port_(std::move(port)) {}
  ~PortListener() override {
    std::deque<std::shared_ptr<wasi::Channel>> waiting;
    {
      const std::scoped_lock lock(network_.mutex_);
      port_->open = false;
      waiting.swap(port_->waiting);
      network_.ports_.erase(number_);
    }
    for (const auto& channel : waiting) channel->guest_close();
    network_.ports_bell_->ring();
  }
  std::shared_ptr<wasi::Channel> accept() override {
    std::shared_ptr<wasi::Channel> channel;
    bool was_full = false;
    {
      const std::scoped_lock lock(network_.mutex_);
      if (port_->waiting.empty()) return nullptr;
      was_full = port_->waiting.size() >= network_.options_.limits.accept_backlog_max;
      channel = std::move(port_->waiting.front());
      port_->waiting.pop_front();
    }
    if (was_full) network_.ports_bell_->ring();
    return channel;
  }
  bool pending() const override {
    const std::scoped_lock lock(network_.mutex_);
    return !port_->waiting.empty();
  }

 private:
  Network& network_;
  const std::uint16_t number_;
  const std::shared_ptr<Port> port_;
};

// --- Network ---

Network::Network(Options options)
    : options_(std::move(options)),
      arrivals_bell_(Doorbell::create(options_.loop)),
      removals_bell_(Doorbell::create(options_.loop)),
      ports_bell_(Doorbell::create(options_.loop)) {
  if (options_.upstream != nullptr) {
    CHECK((options_.identity != nullptr) != options_.as_host);
    caller_.emplace(Session::Caller{*options_.upstream, options_.identity, options_.account, kube_counters_,
                                    [this](const RequestInfo& info) { report_forbidden(info); }, options_.offload.get()});
    if (options_.cache != nullptr && options_.identity != nullptr) {
      auto client = std::make_shared<ApiClient>();
      client->name = fmt::format("{}/{}", options_.identity->namespace_name(), options_.identity->service_account());
      client->identity = options_.identity;
      client->may_sleep = client->lists_before_watching = true;
      client->prune_managed_fields = options_.prune_managed_fields;
      caller_->front = options_.cache;
      caller_->client = std::move(client);
    }
  }
  arrivals_bell_->answer_with([this] { take_arrivals(); });
  removals_bell_->answer_with([this] { take_removals(); });
  ports_bell_->answer_with([this] { update_host_ports(); });
}

Network::~Network() {
  if (options_.offload) options_.offload->stop();
  arrivals_bell_->silence();
  removals_bell_->silence();
  ports_bell_->silence();
  host_ports_.clear();
  streams_.clear();
  if (caller_ && caller_->client != nullptr) options_.cache->client_gone(*caller_->client);
  for (Arrival& arrival : arrivals_) options_.account.release(arrival.cost_bytes);
  CHECK(ports_.empty());  // The guest's listeners are gone before.
}

bool Network::take_slot() {
  std::uint32_t open = streams_open_.load();
  do {
    if (open >= options_.limits.streams_max) return false;
  } while (!streams_open_.compare_exchange_weak(open, open + 1));
  return true;
}

void Network::give_slot_back() {
  streams_open_.fetch_sub(1);
  if (!host_ports_.empty()) ports_bell_->ring();
}

Network::Arrival Network::make_channel(std::function<void()> waker, std::uint64_t cost_bytes) {
  Arrival arrival{.channel = std::make_shared<wasi::Channel>(options_.account), .bell = Doorbell::create(options_.loop), .cost_bytes = cost_bytes};
  arrival.channel->set_guest_waker(std::move(waker));
  arrival.channel->set_host_notify([bell = arrival.bell] { bell->ring(); });
  return arrival;
}

std::expected<Network::Arrival, Errno> Network::parse_target(std::string_view target) {
  Arrival arrival;
  if (target == "kube") {
    if (!caller_) return std::unexpected(Errno::NoEnt);
    return arrival;
  }
  const std::size_t slash = target.find('/');
  const std::string_view kind = target.substr(0, slash);
  if (slash == std::string_view::npos || (kind != "tcp" && kind != "tls")) return std::unexpected(Errno::NoEnt);
  arrival.tls = kind == "tls";
  auto destination = parse_destination(target.substr(slash + 1));
  if (!destination) return std::unexpected(Errno::Inval);
  arrival.destination = std::make_unique<Destination>(std::move(*destination));
  const std::string& host = arrival.destination->host;
  // The API's own names mean the gateway, whatever DNS would say.
  if (caller_ && !arrival.tls && (host == "kube" || host == "kubernetes.default.svc" || host == "kubernetes.default.svc.cluster.local")) {
    arrival.destination.reset();
    return arrival;
  }
  if (!options_.egress.allows(*arrival.destination) || (arrival.tls && options_.tls == nullptr)) {
    ++dials_denied_;
    const std::string to = fmt::format("{}:{}", host, arrival.destination->port);
    report_once("denied " + to, "a guest may not connect there: its pod's annotation dormouse.io/allow-egress does not name it",
                {{"guest", options_.guest}, {"destination", to}});
    return std::unexpected(Errno::Acces);
  }
  arrival.cost_bytes = arrival.tls ? SocketStream::kTlsCostBytes : SocketStream::kCostBytes;
  return arrival;
}

std::expected<std::shared_ptr<wasi::Channel>, Errno> Network::dial(std::string_view target, std::function<void()> waker) {
  ++dials_;
  std::expected<Arrival, Errno> wanted = parse_target(target);
  if (!wanted) return std::unexpected(wanted.error());
  const bool egress = wanted->destination != nullptr;
  if (!take_slot()) {
    report_once("streams", "a guest has opened as many streams as it may; the next fails with EMFILE", {{"guest", options_.guest}, {"limit", options_.limits.streams_max}});
    return std::unexpected(Errno::MFile);
  }
  if (egress && dials_pending_.fetch_add(1) >= options_.limits.dials_pending_max) {
    dials_pending_.fetch_sub(1);
    give_slot_back();
    return std::unexpected(Errno::MFile);
  }
  if (!options_.account.try_charge(wanted->cost_bytes)) {
    if (egress) dials_pending_.fetch_sub(1);
    give_slot_back();
    return std::unexpected(Errno::NoMem);
  }
  Arrival arrival = make_channel(std::move(waker), wanted->cost_bytes);
  arrival.destination = std::move(wanted->destination);
  arrival.tls = wanted->tls;
  // Before the guest has it, for what the guest then does to it is counted by kind.
  if (egress) {
    arrival.channel->set_purpose(wasi::WakeCause::Kind::Egress, std::make_shared<const std::string>(fmt::format("{} {}:{}", arrival.tls ? "tls" : "tcp", arrival.destination->host, arrival.destination->port)));
  } else {
    arrival.channel->set_purpose(wasi::WakeCause::Kind::Answer, nullptr);
  }
  std::shared_ptr<wasi::Channel> channel = arrival.channel;
  {
    const std::scoped_lock lock(mutex_);
    arrivals_.push_back(std::move(arrival));
  }
  arrivals_bell_->ring();
  return channel;
}

void Network::take_arrivals() {
  std::vector<Arrival> arrivals;
  {
    const std::scoped_lock lock(mutex_);
    arrivals.swap(arrivals_);
  }
  for (Arrival& arrival : arrivals) {
    const StreamId id = next_stream_++;
    if (!arrival.destination) {
      auto stream = std::make_unique<KubeStream>(*this, id, std::move(arrival));
      KubeStream& kube = *stream;
      streams_.emplace(id, std::move(stream));
      kube.on_channel();
    } else {
      auto stream = std::make_unique<SocketPipe>(*this, id, std::move(arrival));
      SocketPipe& pipe = *stream;
      streams_.emplace(id, std::move(stream));
      pipe.dial();
    }
  }
}

void Network::remove_later(StreamId id) {
  removals_.push_back(id);
  removals_bell_->ring();
}

void Network::take_removals() {
  for (const StreamId id : std::exchange(removals_, {})) streams_.erase(id);
}

std::expected<std::unique_ptr<wasi::Listener>, Errno> Network::listen(std::uint16_t port, std::function<void()> waker) {
  if (port == 0) return std::unexpected(Errno::Inval);
  auto entry = std::make_shared<Port>();
  entry->waker = std::move(waker);
  {
    const std::scoped_lock lock(mutex_);
    if (ports_.contains(port)) return std::unexpected(Errno::AddrInUse);
    if (ports_.size() >= options_.limits.listeners_max) return std::unexpected(Errno::MFile);
    ports_.emplace(port, entry);
  }
  ports_bell_->ring();
  return std::make_unique<PortListener>(*this, port, std::move(entry));
}

bool Network::listening(std::uint16_t port) const {
  const std::scoped_lock lock(mutex_);
  return ports_.contains(port);
}

bool Network::has_room(std::uint16_t port) const {
  if (streams_open_.load() >= options_.limits.streams_max) return false;
  const std::scoped_lock lock(mutex_);
  const auto entry = ports_.find(port);
  return entry != ports_.end() && entry->second->waiting.size() < options_.limits.accept_backlog_max;
}

// Puts a connection where the guest accepts it, and wakes the guest.
Result<void> Network::enqueue(std::uint16_t port, const std::shared_ptr<wasi::Channel>& channel) {
  std::function<void()> waker;
  {
    const std::scoped_lock lock(mutex_);
    const auto entry = ports_.find(port);
    if (entry == ports_.end()) return fail(ErrorCode::Unavailable, "{} does not listen on port {}", options_.guest, port);
    if (entry->second->waiting.size() >= options_.limits.accept_backlog_max) {
      return fail(ErrorCode::Unavailable, "{} connections to port {} of {} wait to be accepted", options_.limits.accept_backlog_max, port, options_.guest);
    }
    channel->set_guest_waker(entry->second->waker);
    channel->set_purpose(wasi::WakeCause::Kind::Inbound, std::make_shared<const std::string>(fmt::format("port {}", port)));
    entry->second->waiting.push_back(channel);
    waker = entry->second->waker;
  }
  ++accepted_;
  if (waker) waker();
  return {};
}

Result<std::shared_ptr<wasi::Channel>> Network::connect(std::uint16_t port) {
  auto channel = std::make_shared<wasi::Channel>(options_.account);
  channel->host_connected();
  const Result<void> queued = enqueue(port, channel);
  if (!queued) return fail(queued.error());
  return channel;
}

void Network::accept(Tcp::socket socket, std::uint16_t port) {
  if (!take_slot()) return;
  if (!options_.account.try_charge(SocketStream::kCostBytes)) return give_slot_back();
  const StreamId id = next_stream_++;
  auto stream = std::make_unique<SocketPipe>(*this, id, make_channel(nullptr, SocketStream::kCostBytes));
  SocketPipe& pipe = *stream;
  streams_.emplace(id, std::move(stream));
  if (!pipe.enqueue_for(port)) return remove_later(id);
  pipe.adopt(std::move(socket));
}

void Network::update_host_ports() {
  for (const auto& port : host_ports_) port->update();
}

Result<std::uint16_t> Network::bind_host_port(const Tcp::endpoint& host, std::uint16_t guest_port) {
  auto port = std::make_unique<HostPort>(*this, host, guest_port);
  const Result<std::uint16_t> bound = port->bind();
  host_ports_.push_back(std::move(port));
  ports_bell_->ring();
  return bound;
}

void Network::report_once(std::string key, std::string_view message, Log::Fields fields) {
  {
    const std::scoped_lock lock(mutex_);
    if (reported_.size() >= options_.limits.reports_max || !reported_.insert(std::move(key)).second) return;
  }
  options_.log.warning(message, fields);
}

void Network::report_forbidden(const RequestInfo& info) {
  const std::string account = options_.identity == nullptr ? std::string("the host's own user")
                                                            : fmt::format("{}/{}", options_.identity->namespace_name(), options_.identity->service_account());
  report_once(fmt::format("forbidden {} {}", info.verb, info.what()), "a guest may not do this: its ServiceAccount lacks the right; said once for each verb and resource",
              {{"guest", options_.guest}, {"verb", info.verb}, {"resource", info.what()}, {"namespace", info.namespace_name}, {"service_account", account}});
}

Network::Counters Network::counters() const {
  Counters counters{.kube = kube_counters_, .dials = dials_, .dials_denied = dials_denied_, .dials_failed = dials_failed_, .accepted = accepted_};
  counters.streams_open = streams_open_;
  const std::scoped_lock lock(mutex_);
  counters.listeners = static_cast<std::uint32_t>(ports_.size());
  return counters;
}

}  // namespace dormouse::gateway
