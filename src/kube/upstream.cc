// SPDX-License-Identifier: Apache-2.0
#include "kube/upstream.h"

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <unordered_set>
#include <utility>

#include "base/check.h"
#include "kube/connection_pool.h"
#include "kube/host_credentials.h"

namespace dormouse::kube {
namespace {

constexpr int kRetriesMax = 3;  // Of a request that the server has certainly not processed.
constexpr std::string_view kUserAgent = "dormouse";

class UpstreamOverHttp2;

// The life of one exchange; kept alive by its handle, and by callbacks under way.
//
//   Waiting (for credentials or a connection) --on_link--> Open --> Done
class Stream final : public StreamClient, public std::enable_shared_from_this<Stream> {
 public:
  Stream(UpstreamOverHttp2& upstream, Request request, ExchangeSink& sink) : upstream_(upstream), request_(std::move(request)), sink_(&sink) {}

  void begin();
  // The handle has gone: nobody hears anything any more.
  void abandon();
  std::size_t write(std::span<const std::byte> bytes);
  void finish_body();
  void consumed(std::size_t bytes);
  // The server answered 401 to the host's own credentials, and there may be better ones now.
  bool unauthorized_but_renewable() const { return renewable_; }

  void on_link(std::shared_ptr<Link> link) override;
  void on_no_link(const Error& error) override { fail(error, true); }
  void on_response(int status, Headers headers) override;
  void on_data(std::span<const std::byte> bytes) override { sink_->on_data(bytes); }
  void on_end() override;
  void on_failure(const Error& error, bool not_processed) override;
  void on_writable() override;

 private:
  void acquire(ConnectionPool& pool);
  void with_credentials(const Result<std::shared_ptr<const HostCredentials::Current>>& current);
  void fail_later(Error error);
  void fail(const Error& error, bool before_response);
  std::shared_ptr<Link> leave_link();

  UpstreamOverHttp2& upstream_;
  Request request_;     // But for has_body, until the response begins.
  ExchangeSink* sink_;  // Null once Done.
  ConnectionPool* pool_ = nullptr;
  std::shared_ptr<Link> link_;
  http::Http2Client::StreamId id_ = 0;
  std::shared_ptr<const HostCredentials::Current> credentials_;
  // Body that came before there was a stream.
  std::string early_body_;
  bool early_short_ = false;
  bool body_finished_ = false;
  bool responded_ = false;
  bool renewable_ = false;
  int retries_ = 0;
};

class Handle final : public Exchange {
 public:
  explicit Handle(std::shared_ptr<Stream> stream) : stream_(std::move(stream)) {}
  ~Handle() override { stream_->abandon(); }
  std::size_t write(std::span<const std::byte> bytes) override { return stream_->write(bytes); }
  void finish_body() override { stream_->finish_body(); }
  void consumed(std::size_t bytes) override { stream_->consumed(bytes); }

 private:
  std::shared_ptr<Stream> stream_;
};

// A whole small request. Owned by Upstream until it is done.
class Call final : public ExchangeSink, public std::enable_shared_from_this<Call> {
 public:
  Call(UpstreamOverHttp2& upstream, Request request, std::string body, std::size_t body_bytes_max, Upstream::Done done);
  void begin();
  void on_response(int status, Headers headers) override;
  void on_data(std::span<const std::byte> bytes) override;
  void on_end() override;
  void on_failure(const Error& error, bool) override { finish(dormouse::fail(error)); }
  void on_writable() override { send_body(); }

 private:
  void start();
  void send_body();
  void finish(Result<Response> result);

  UpstreamOverHttp2& upstream_;
  const Request request_;
  const std::string body_;
  const std::size_t body_bytes_max_;
  Upstream::Done done_;
  boost::asio::steady_timer deadline_;
  std::shared_ptr<Stream> stream_;
  std::unique_ptr<Exchange> exchange_;
  std::size_t sent_ = 0;
  Response response_;
  bool tried_again_ = false;
};

class UpstreamOverHttp2 final : public Upstream {
 public:
  UpstreamOverHttp2(boost::asio::io_context& loop, const Clock& clock, Options options)
      : loop_(loop), options_(std::move(options)), credentials_(loop, clock, options_.cluster, options_.credentials),
        host_pool_(loop, clock, options_, counters_), guest_pool_(loop, clock, options_, counters_) {}
  Result<void> prepare(Log& log);
  ~UpstreamOverHttp2() override { calls_.clear(); }

  std::unique_ptr<Exchange> start(Request request, ExchangeSink& sink) override {
    return std::make_unique<Handle>(start_stream(std::move(request), sink));
  }
  void call(Request request, std::string body, std::size_t body_bytes_max, Done done) override {
    const auto made = std::make_shared<Call>(*this, std::move(request), std::move(body), body_bytes_max, std::move(done));
    calls_.insert(made);
    made->begin();
  }
  Counters counters() const override { return counters_; }

  std::shared_ptr<Stream> start_stream(Request request, ExchangeSink& sink) {
    ++counters_.requests;
    const auto stream = std::make_shared<Stream>(*this, std::move(request), sink);
    stream->begin();
    return stream;
  }
  void forget(const std::shared_ptr<Call>& call) { calls_.erase(call); }
  // The host's connections, with the certificate that `current` has.
  Result<ConnectionPool*> host_pool(const std::shared_ptr<const HostCredentials::Current>& current);
  ConnectionPool& guest_pool() { return guest_pool_; }
  HostCredentials& credentials() { return credentials_; }
  const Options& options() const { return options_; }
  const std::string& authority() const { return authority_; }
  boost::asio::io_context& loop() { return loop_; }

 private:
  Result<std::shared_ptr<const http::TlsContext>> tls_with(const std::string& certificate_pem, const std::string& key_pem) const;

  boost::asio::io_context& loop_;
  const Options options_;
  std::string authority_;
  Counters counters_;
  HostCredentials credentials_;
  std::shared_ptr<const HostCredentials::Current> tls_made_for_;
  ConnectionPool host_pool_, guest_pool_;
  std::unordered_set<std::shared_ptr<Call>> calls_;
};

// --- Stream

void Stream::begin() {
  if (request_.bearer) return acquire(upstream_.guest_pool());
  upstream_.credentials().with_current([weak = weak_from_this()](const Result<std::shared_ptr<const HostCredentials::Current>>& current) {
    if (const auto self = weak.lock()) self->with_credentials(current);
  });
}

void Stream::with_credentials(const Result<std::shared_ptr<const HostCredentials::Current>>& current) {
  if (sink_ == nullptr) return;
  if (!current) return fail_later(current.error());
  credentials_ = *current;
  auto pool = upstream_.host_pool(credentials_);
  if (!pool) return fail_later(std::move(pool.error()));
  acquire(**pool);
}

void Stream::acquire(ConnectionPool& pool) {
  pool_ = &pool;
  if (auto acquired = pool.acquire(shared_from_this()); !acquired) fail_later(std::move(acquired.error()));
}

void Stream::on_link(std::shared_ptr<Link> link) {
  if (sink_ == nullptr) return;
  Headers headers = request_.headers;
  const auto& credentials = upstream_.options().credentials;
  if (request_.bearer) {
    headers.emplace_back("authorization", "Bearer " + *request_.bearer);
  } else {
    if (!credentials_->token.empty()) headers.emplace_back("authorization", "Bearer " + credentials_->token);
    const Impersonation& as = credentials.impersonation;
    if (!as.user.empty()) headers.emplace_back("impersonate-user", as.user);
    if (!as.uid.empty()) headers.emplace_back("impersonate-uid", as.uid);
    for (const std::string& group : as.groups) headers.emplace_back("impersonate-group", group);
    for (const auto& [key, values] : as.extra) {
      for (const std::string& value : values) headers.emplace_back("impersonate-extra-" + key, value);
    }
    headers.emplace_back("user-agent", kUserAgent);
  }
  const std::string path = upstream_.options().cluster.path_prefix + request_.target;
  const auto id = link->open({request_.method, "https", upstream_.authority(), path, &headers}, request_.has_body, *this);
  if (!id) return fail_later(id.error());
  link_ = std::move(link);
  id_ = *id;
  if (!request_.has_body) return;
  if (!early_body_.empty()) link_->session().write(id_, std::as_bytes(std::span(early_body_)));
  early_body_ = {};
  if (body_finished_) link_->session().finish_body(id_);
  if (std::exchange(early_short_, false)) {
    boost::asio::post(upstream_.loop(), [self = shared_from_this()] { self->on_writable(); });
  }
}

void Stream::on_response(int status, Headers headers) {
  responded_ = true;
  link_->note_response();
  if (status == 401 && !request_.bearer) renewable_ = upstream_.credentials().rejected(*credentials_);
  // It is not made again; its token alone is a kilobyte, and a watch may last for an hour.
  const bool has_body = request_.has_body;
  (void)std::exchange(request_, {});
  request_.has_body = has_body;
  sink_->on_response(status, std::move(headers));
}

void Stream::on_end() {
  leave_link();
  std::exchange(sink_, nullptr)->on_end();
}

void Stream::on_failure(const Error& error, bool not_processed) {
  const auto self = shared_from_this();
  leave_link();
  if (not_processed && !request_.has_body && !responded_ && retries_++ < kRetriesMax) return acquire(*pool_);
  fail(error, !responded_);
}

void Stream::on_writable() {
  if (sink_ != nullptr && !body_finished_) sink_->on_writable();
}

void Stream::fail_later(Error error) {
  boost::asio::post(upstream_.loop(), [self = shared_from_this(), error = std::move(error)] { self->fail(error, true); });
}

void Stream::fail(const Error& error, bool before_response) {
  if (ExchangeSink* const sink = std::exchange(sink_, nullptr)) sink->on_failure(error, before_response);
}

std::shared_ptr<Link> Stream::leave_link() {
  auto link = std::move(link_);
  if (link != nullptr) link->stream_ended();
  return link;
}

void Stream::abandon() {
  sink_ = nullptr;
  if (link_ == nullptr) return;
  link_->session().reset(id_);
  leave_link();
}

std::size_t Stream::write(std::span<const std::byte> bytes) {
  CHECK(request_.has_body && !body_finished_);
  if (sink_ == nullptr) return bytes.size();
  if (link_ == nullptr) {
    const std::size_t limit = http::Http2Client::Options{}.send_buffer_bytes;
    const std::size_t taken = std::min(bytes.size(), limit - early_body_.size());
    early_body_.append(reinterpret_cast<const char*>(bytes.data()), taken);
    early_short_ = taken < bytes.size();
    return taken;
  }
  const std::size_t taken = link_->session().write(id_, bytes);
  if (taken > 0) link_->flush_soon();
  return taken;
}

void Stream::finish_body() {
  CHECK(request_.has_body);
  body_finished_ = true;
  if (link_ == nullptr) return;
  link_->session().finish_body(id_);
  link_->flush_soon();
}

void Stream::consumed(std::size_t bytes) {
  if (link_ == nullptr) return;
  link_->session().consumed(id_, bytes);
  link_->flush_soon();
}

// --- Call

Call::Call(UpstreamOverHttp2& upstream, Request request, std::string body, std::size_t body_bytes_max, Upstream::Done done)
    : upstream_(upstream), request_([&] {
        request.has_body = !body.empty();
        return std::move(request);
      }()),
      body_(std::move(body)), body_bytes_max_(body_bytes_max), done_(std::move(done)), deadline_(upstream.loop()) {}

void Call::begin() {
  deadline_.expires_after(upstream_.options().call_timeout);
  deadline_.async_wait([weak = weak_from_this()](boost::system::error_code error) {
    const auto self = weak.lock();
    if (error || self == nullptr) return;
    self->finish(dormouse::fail(ErrorCode::DeadlineExceeded, "the API server {} did not answer within {} s", self->upstream_.authority(),
                                std::chrono::duration<double>(self->upstream_.options().call_timeout).count()));
  });
  start();
}

void Call::start() {
  sent_ = 0;
  stream_ = upstream_.start_stream(request_, *this);
  exchange_ = std::make_unique<Handle>(stream_);
  send_body();
}

void Call::send_body() {
  if (!request_.has_body) return;
  sent_ += exchange_->write(std::as_bytes(std::span(body_)).subspan(sent_));
  if (sent_ == body_.size()) exchange_->finish_body();
}

void Call::on_response(int status, Headers headers) {
  if (stream_->unauthorized_but_renewable() && !std::exchange(tried_again_, true)) return start();
  response_.status = status;
  response_.headers = std::move(headers);
}

void Call::on_data(std::span<const std::byte> bytes) {
  if (bytes.size() > body_bytes_max_ - response_.body.size()) {
    return finish(dormouse::fail(ErrorCode::ResourceExhausted, "the response to {} {} is longer than {} bytes", request_.method, request_.target, body_bytes_max_));
  }
  response_.body.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  exchange_->consumed(bytes.size());
}

void Call::on_end() { finish(std::move(response_)); }

void Call::finish(Result<Response> result) {
  if (!done_) return;
  const auto self = shared_from_this();
  const Upstream::Done done = std::exchange(done_, nullptr);
  deadline_.cancel();
  exchange_.reset();
  stream_.reset();
  upstream_.forget(self);
  done(std::move(result));
}

// --- UpstreamOverHttp2

Result<void> UpstreamOverHttp2::prepare(Log& log) {
  const Cluster& cluster = options_.cluster;
  authority_ = cluster.port == 443 && cluster.host.find(':') == std::string::npos ? cluster.host : http::join_host_port(cluster.host, cluster.port);
  if (cluster.insecure_skip_tls_verify) {
    log.warning("the API server's certificate is not verified, because the kubeconfig says insecure-skip-tls-verify", {{"server", cluster.server}});
  }
  auto guests = tls_with("", "");
  if (!guests) return fail(std::move(guests.error()).within(fmt::format("cluster \"{}\"", cluster.name)));
  guest_pool_.use(std::move(*guests));
  // A broken certificate is to be told now, not at the first request.
  auto host = tls_with(options_.credentials.client_certificate_pem, options_.credentials.client_key_pem);
  if (!host) return fail(std::move(host.error()).within(fmt::format("user \"{}\"", options_.credentials.name)));
  return {};
}

Result<std::shared_ptr<const http::TlsContext>> UpstreamOverHttp2::tls_with(const std::string& certificate_pem, const std::string& key_pem) const {
  http::TlsContext::Options options;
  options.ca_pem = options_.cluster.ca_pem;
  options.insecure_skip_verify = options_.cluster.insecure_skip_tls_verify;
  options.certificate_pem = certificate_pem;
  options.key_pem = key_pem;
  options.alpn = {"h2"};
  return http::TlsContext::create(http::TlsContext::Role::Client, options);
}

Result<ConnectionPool*> UpstreamOverHttp2::host_pool(const std::shared_ptr<const HostCredentials::Current>& current) {
  const bool same = tls_made_for_ != nullptr && tls_made_for_->client_certificate_pem == current->client_certificate_pem &&
                    tls_made_for_->client_key_pem == current->client_key_pem;
  if (!same) {
    auto tls = tls_with(current->client_certificate_pem, current->client_key_pem);
    if (!tls) return fail(std::move(tls.error()).within(fmt::format("user \"{}\"", options_.credentials.name)));
    host_pool_.use(std::move(*tls));
    tls_made_for_ = current;
  }
  return &host_pool_;
}

}  // namespace

Result<std::unique_ptr<Upstream>> Upstream::create(boost::asio::io_context& loop, const Clock& clock, Log& log, Options options) {
  auto made = std::make_unique<UpstreamOverHttp2>(loop, clock, std::move(options));
  if (auto prepared = made->prepare(log); !prepared) return fail(std::move(prepared.error()));
  return made;
}

}  // namespace dormouse::kube
