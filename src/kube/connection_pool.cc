// SPDX-License-Identifier: Apache-2.0
#include "kube/connection_pool.h"

#include <algorithm>
#include <boost/asio/post.hpp>

#include "base/check.h"

namespace dormouse::kube {
using boost::system::error_code;

// --- Link

Link::Link(ConnectionPool& pool, boost::asio::io_context& loop) : pool_(&pool), loop_(loop), session_(http::Http2Client::Options{}), ping_timer_(loop) {}

void Link::start() {
  const Upstream::Options& options = pool_->options();
  http::Connection::Options connection;
  connection.host = options.cluster.host;
  connection.port = options.cluster.port;
  connection.server_name = options.cluster.tls_server_name;
  connection.tls = pool_->tls();
  connection.required_alpn = "h2";
  connection.connect_timeout = options.connect_timeout;
  connection_ = http::Connection::connect(loop_, std::move(connection), *this);
}

void Link::on_connected() {
  connected_ = true;
  // Ready is when the server's SETTINGS are here; a server that never sends them is found out by this timer.
  ping_timer_.expires_after(pool_->options().connect_timeout);
  ping_timer_.async_wait([self = shared_from_this()](error_code error) {
    if (!error && !self->ready_) self->die(Error{ErrorCode::DeadlineExceeded, self->connection_->name() + ": the server does not speak HTTP/2"});
  });
  flush();
}

void Link::on_bytes(std::span<const std::byte> bytes) {
  const auto self = shared_from_this();
  heard_ = true;
  pool_->counters().bytes_in += bytes.size();
  feeding_ = true;
  const auto fed = session_.feed(bytes);
  feeding_ = false;
  if (pool_ == nullptr) return;
  if (!fed) return die(Error{fed.error()}.within(connection_->name()));
  if (!ready_ && session_.ready()) {
    // Otherwise every waiting request would open another connection just like it.
    if (session_.streams_max() == 0) return die(Error{ErrorCode::Unavailable, connection_->name() + ": the server allows no streams"});
    ready_ = true;
    ping_timer_.cancel();
    pool_->link_ready();
    if (pool_ == nullptr) return;
  }
  flush();
}

void Link::on_end() { die(Error{ErrorCode::Unavailable, connection_->name() + ": " + (session_.problem().empty() ? "the server closed the connection" : session_.problem())}); }

void Link::on_failure(const Error& error, int) { die(error); }

void Link::flush_soon() {
  if (pool_ == nullptr || feeding_ || std::exchange(flush_posted_, true)) return;
  boost::asio::post(loop_, [self = shared_from_this()] {
    self->flush_posted_ = false;
    self->flush();
  });
}

void Link::flush() {
  if (pool_ == nullptr || !connected_ || feeding_ || connection_->sending()) return;
  const auto self = shared_from_this();
  feeding_ = true;
  const std::string output = session_.take_output();
  feeding_ = false;
  if (pool_ == nullptr) return;
  if (!output.empty()) {
    pool_->counters().bytes_out += output.size();
    connection_->write(output);
    return;
  }
  if (session_.wants_close()) return on_end();
  if (ready_ && session_.streams_open() == 0 && pool_->can_spare(*this)) die(Error{ErrorCode::Unavailable, "the connection is not needed any more"});
}

Result<http::Http2Client::StreamId> Link::open(const http::Http2Client::Head& head, bool has_body, StreamClient& client) {
  auto id = session_.open(head, has_body, client);
  if (!id) return id;
  ++pool_->counters().streams_open;
  arm_ping();
  flush_soon();
  return id;
}

void Link::stream_ended() {
  if (pool_ == nullptr) return;
  --pool_->counters().streams_open;
  if (session_.streams_open() == 0 && std::exchange(ping_armed_, false)) ping_timer_.cancel();
  flush_soon();
}

bool Link::has_room() const {
  return pool_ != nullptr && ready_ && !session_.draining() &&
         session_.streams_open() < std::min(pool_->options().streams_per_connection_max, session_.streams_max());
}

void Link::note_response() {
  had_response_ = true;
  if (pool_ != nullptr) pool_->failures_ = 0;
}

void Link::arm_ping() {
  if (pool_->options().ping_interval <= Nanoseconds(0) || std::exchange(ping_armed_, true)) return;
  heard_ = true;  // Its first look, one interval from now, asks at the earliest.
  on_ping_timer();
}

// Once an interval while streams are open: a silent server is asked, and one that is still silent two looks later is dead.
// Two, because after a pause of this very process (a suspended machine) the answer may lie unread beside the timer.
void Link::on_ping_timer() {
  if (pool_ == nullptr || !ping_armed_) return;
  if (std::exchange(heard_, false)) {
    silent_looks_ = 0;
  } else if (++silent_looks_ == 1) {
    session_.ping();
    flush_soon();
  } else if (silent_looks_ > 2) {
    return die(Error{ErrorCode::Unavailable, connection_->name() + ": the server has stopped answering"});
  }
  ping_timer_.expires_after(pool_->options().ping_interval);
  ping_timer_.async_wait([self = shared_from_this()](error_code error) {
    if (!error) self->on_ping_timer();
  });
}

void Link::abandon() {
  pool_ = nullptr;
  ping_timer_.cancel();
  connection_.reset();
}

void Link::die(Error error) {
  if (pool_ == nullptr) return;
  const auto self = shared_from_this();
  ConnectionPool& pool = *std::exchange(pool_, nullptr);
  ping_timer_.cancel();
  pool.counters().streams_open -= session_.streams_open();
  // A server that takes the connection but never answers a request is as good as one that cannot be reached.
  const bool failed = !ready_ || (!had_response_ && session_.streams_open() > 0);
  pool.link_gone(*this, error, failed);
  session_.lost(error);
  // Not within a callback of the connection's that still uses it: destroying it there is allowed, and its last words are said.
  connection_.reset();
}

// --- ConnectionPool

ConnectionPool::~ConnectionPool() {
  for (const auto& link : links_) link->abandon();
  for (const auto& link : retired_) link->abandon();
}

void ConnectionPool::use(std::shared_ptr<const http::TlsContext> tls) {
  if (tls_ == tls) return;
  tls_ = std::move(tls);
  retry_at_ = {};
  for (auto& link : links_) {
    link->flush_soon();  // Closes by itself if it is idle.
    retired_.push_back(std::move(link));
  }
  links_.clear();
  if (!waiting_.empty()) connect();
}

bool ConnectionPool::connecting() const {
  return std::ranges::any_of(links_, [](const auto& link) { return !link->ready(); });
}

bool ConnectionPool::can_spare(const Link& link) const {
  if (std::ranges::any_of(retired_, [&](const auto& other) { return other.get() == &link; })) return true;
  return std::ranges::any_of(links_, [&](const auto& other) {
    return other.get() != &link && other->has_room() && other->session().streams_open() < options_.streams_per_connection_max / 2;
  });
}

Result<void> ConnectionPool::acquire(const std::shared_ptr<StreamClient>& client) {
  const auto roomy = std::ranges::find_if(links_, [](const auto& link) { return link->has_room(); });
  if (roomy != links_.end()) {
    client->on_link(*roomy);
    return {};
  }
  if (!connecting()) {
    const Nanoseconds wait = retry_at_ - clock_.monotonic();
    if (wait > Nanoseconds(0)) {
      return fail(ErrorCode::Unavailable, "{} (next try in {:.1f} s)", last_error_.message, std::chrono::duration<double>(wait).count());
    }
    if (links_.size() + retired_.size() >= kConnectionsMax) {
      return fail(ErrorCode::ResourceExhausted, "all {} connections to the API server are full", kConnectionsMax);
    }
  }
  if (waiting_.size() >= kWaitingMax) {
    return fail(ErrorCode::ResourceExhausted, "{} requests already wait for a connection to the API server", kWaitingMax);
  }
  waiting_.push_back(client);
  if (!connecting()) connect();
  return {};
}

void ConnectionPool::connect() {
  auto link = std::make_shared<Link>(*this, loop_);
  links_.push_back(link);
  link->start();
}

void ConnectionPool::link_ready() {
  ++counters_.connections_opened;
  ++counters_.connections_open;
  while (!waiting_.empty()) {
    const auto roomy = std::ranges::find_if(links_, [](const auto& link) { return link->has_room(); });
    if (roomy == links_.end()) break;
    const auto link = *roomy;
    const auto client = waiting_.front().lock();
    waiting_.pop_front();
    if (client != nullptr) client->on_link(link);
  }
  if (!waiting_.empty() && !connecting() && links_.size() + retired_.size() < kConnectionsMax) connect();
}

void ConnectionPool::link_gone(Link& link, const Error& error, bool failed) {
  if (link.ready()) --counters_.connections_open;
  const auto is_it = [&](const auto& other) { return other.get() == &link; };
  const bool current = std::erase_if(links_, is_it) > 0;
  std::erase_if(retired_, is_it);
  if (!current) return;
  if (failed) {
    ++counters_.failures;
    const double doubled = std::min(static_cast<double>(options_.backoff_min.count()) * static_cast<double>(1ULL << std::min(failures_++, 20U)),
                                    static_cast<double>(options_.backoff_max.count()));
    // Between half and all of it, so that many hosts do not come back at once.
    const double share = std::uniform_real_distribution<double>(0.5, 1.0)(random_);
    retry_at_ = clock_.monotonic() + Nanoseconds(static_cast<std::int64_t>(doubled * share));
    last_error_ = error;
  }
  if (connecting()) return;
  auto waiting = std::exchange(waiting_, {});
  for (const auto& waiter : waiting) {
    if (const auto client = waiter.lock()) client->on_no_link(error);
  }
}

}  // namespace dormouse::kube
