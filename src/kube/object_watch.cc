// SPDX-License-Identifier: Apache-2.0
#include "kube/object_watch.h"

#include <boost/asio/steady_timer.hpp>
#include <boost/json.hpp>
#include <random>

#include "kube/api_status.h"

namespace dormouse::kube {
namespace json = boost::json;
namespace {

constexpr std::size_t kJsonDepthMax = 128;             // managedFields nest deeply.
constexpr auto kHealthyAge = std::chrono::seconds(5);  // A watch that lived as long is forgiven what failed before.

Result<json::object> parse_object(std::string_view text) {
  json::parse_options options;
  options.max_depth = kJsonDepthMax;
  boost::system::error_code error;
  json::value parsed = json::parse(text, error, {}, options);
  if (error || !parsed.is_object()) return fail(ErrorCode::Corrupt, "the API server sent something else than a JSON object ({})", error.message());
  return std::move(parsed.get_object());
}

const json::object* object_field(const json::object& object, std::string_view name) {
  const json::value* const value = object.if_contains(name);
  return value == nullptr ? nullptr : value->if_object();
}

std::string metadata_field(const json::object& object, std::string_view name) {
  const json::object* const metadata = object_field(object, "metadata");
  const json::value* const value = metadata == nullptr ? nullptr : metadata->if_contains(name);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

// Shared with callbacks under way; `sink_` is null once the owner has gone.
class Watch final : public ExchangeSink, public std::enable_shared_from_this<Watch> {
 public:
  Watch(boost::asio::io_context& loop, const Clock& clock, Upstream& upstream, ObjectWatch::Options options, ObjectWatch::Sink& sink)
      : clock_(clock), upstream_(upstream), options_(std::move(options)), sink_(&sink), timer_(loop), random_(std::random_device{}()) {}

  void list();
  void stop() {
    sink_ = nullptr;
    timer_.cancel();
    exchange_.reset();
  }

  void on_response(int status, Headers) override { status_ = status; }
  void on_data(std::span<const std::byte> bytes) override;
  void on_end() override;
  void on_failure(const Error& error, bool) override { again_after_failure(error); }
  void on_writable() override {}

 private:
  Request request(std::string_view more) const {
    return Request{"GET", fmt::format("{}?fieldSelector=metadata.name%3D{}{}", options_.collection, options_.name, more), {{"accept", "application/json"}}};
  }
  void listed(const Result<Response>& response);
  void watch();
  void list_again();
  bool on_line(std::string_view line);  // False: leave the stream.
  void again_after_failure(const Error& error);
  void tell_trouble(const Error& error);
  Error within(Error error) const { return std::move(error).within(options_.collection + "/" + options_.name); }

  const Clock& clock_;
  Upstream& upstream_;
  const ObjectWatch::Options options_;
  ObjectWatch::Sink* sink_;
  boost::asio::steady_timer timer_;
  std::minstd_rand random_;
  std::unique_ptr<Exchange> exchange_;
  std::string resource_version_;  // Empty: list first.
  std::string line_;              // What has come of an unfinished line, or of a response that is no watch.
  int status_ = 0;
  unsigned failures_ = 0;
  Nanoseconds watching_since_{};
  std::string told_trouble_;
};

void Watch::list() {
  upstream_.call(request(""), "", options_.object_bytes_max, [weak = weak_from_this()](const Result<Response>& response) {
    if (const auto self = weak.lock()) self->listed(response);
  });
}

void Watch::listed(const Result<Response>& response) {
  if (sink_ == nullptr) return;
  if (!response) return again_after_failure(response.error());
  if (response->status != 200) {
    return again_after_failure(Error{code_of_http_status(response->status), parse_api_status(response->status, response->body).message});
  }
  const auto list = parse_object(response->body);
  if (!list) return again_after_failure(list.error());
  const json::value* const items = list->if_contains("items");
  resource_version_ = metadata_field(*list, "resourceVersion");
  if (resource_version_.empty() || items == nullptr || !(items->is_array() || items->is_null())) {
    return again_after_failure(Error{ErrorCode::Corrupt, "the API server's answer is not a list"});
  }
  told_trouble_.clear();
  const json::object* found = nullptr;
  if (items->is_array()) {
    for (const json::value& item : items->get_array()) {
      if (item.is_object() && metadata_field(item.get_object(), "name") == options_.name) found = &item.get_object();
    }
  }
  if (found != nullptr) {
    sink_->on_object(*found);
  } else {
    sink_->on_absent();
  }
  if (sink_ != nullptr) watch();
}

void Watch::watch() {
  line_.clear();
  status_ = 0;
  watching_since_ = clock_.monotonic();
  exchange_ = upstream_.start(request("&watch=true&allowWatchBookmarks=true&resourceVersion=" + resource_version_), *this);
}

void Watch::on_data(std::span<const std::byte> bytes) {
  const auto self = shared_from_this();
  exchange_->consumed(bytes.size());
  line_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (status_ == 200) {
    std::size_t from = 0;
    for (std::size_t end = line_.find('\n'); end != std::string::npos; end = line_.find('\n', from)) {
      const std::string line = line_.substr(from, end - from);
      from = end + 1;
      if (!line.empty() && !on_line(line)) return;
    }
    line_.erase(0, from);
  }
  if (line_.size() > options_.object_bytes_max) {
    again_after_failure(Error{ErrorCode::ResourceExhausted, fmt::format("an event is longer than {} bytes", options_.object_bytes_max)});
  }
}

bool Watch::on_line(std::string_view line) {
  const auto event = parse_object(line);
  const json::object* const object = event ? object_field(*event, "object") : nullptr;
  const json::value* const type_value = event ? event->if_contains("type") : nullptr;
  if (object == nullptr || type_value == nullptr || !type_value->is_string()) {
    again_after_failure(event ? Error{ErrorCode::Corrupt, "the API server sent an event without type or object"} : event.error());
    return false;
  }
  const std::string_view type = type_value->get_string();
  if (type == "ERROR") {
    const ApiStatus status = parse_api_status(500, json::serialize(*object));
    if (status.code == 410) {
      list_again();
    } else {
      resource_version_.clear();
      again_after_failure(Error{code_of_http_status(status.code), status.message});
    }
    return false;
  }
  if (const std::string version = metadata_field(*object, "resourceVersion"); !version.empty()) resource_version_ = version;
  told_trouble_.clear();
  if (type == "BOOKMARK" || metadata_field(*object, "name") != options_.name) return true;
  if (type == "ADDED" || type == "MODIFIED") sink_->on_object(*object);
  if (type == "DELETED") sink_->on_absent();
  return sink_ != nullptr;
}

void Watch::on_end() {
  if (status_ == 200) {
    // An API server ends each watch after half an hour or so; one that ends them at once is failing.
    if (clock_.monotonic() - watching_since_ > kHealthyAge) {
      failures_ = 0;
      return watch();
    }
    return again_after_failure(Error{ErrorCode::Unavailable, "the API server ended the watch at once"});
  }
  if (status_ == 410) return list_again();
  const std::string body = std::exchange(line_, {});
  again_after_failure(Error{code_of_http_status(status_), parse_api_status(status_, body).message});
}

// 410 Gone: what we have seen is too old for the server. One that says so of a list it has just given is failing.
void Watch::list_again() {
  resource_version_.clear();
  if (clock_.monotonic() - watching_since_ <= kHealthyAge) return again_after_failure(Error{ErrorCode::Unavailable, "the API server has forgotten the revision it has just given"});
  exchange_.reset();
  list();
}

void Watch::again_after_failure(const Error& error) {
  const auto self = shared_from_this();
  if (status_ == 200 && clock_.monotonic() - watching_since_ > kHealthyAge) failures_ = 0;
  exchange_.reset();
  const double doubled = std::min(static_cast<double>(options_.backoff_min.count()) * static_cast<double>(1ULL << std::min(failures_++, 20U)),
                                  static_cast<double>(options_.backoff_max.count()));
  timer_.expires_after(Nanoseconds(static_cast<std::int64_t>(doubled * std::uniform_real_distribution<double>(0.5, 1.0)(random_))));
  timer_.async_wait([weak = weak_from_this()](boost::system::error_code cancelled) {
    const auto still = weak.lock();
    if (cancelled || still == nullptr || still->sink_ == nullptr) return;
    still->resource_version_.empty() ? still->list() : still->watch();
  });
  tell_trouble(within(error));
}

void Watch::tell_trouble(const Error& error) {
  if (sink_ == nullptr || told_trouble_ == error.message) return;
  told_trouble_ = error.message;
  sink_->on_trouble(error);
}

class OwnedWatch final : public ObjectWatch {
 public:
  explicit OwnedWatch(std::shared_ptr<Watch> watch) : watch_(std::move(watch)) { watch_->list(); }
  ~OwnedWatch() override { watch_->stop(); }

 private:
  std::shared_ptr<Watch> watch_;
};

}  // namespace

Result<std::unique_ptr<ObjectWatch>> ObjectWatch::create(boost::asio::io_context& loop, const Clock& clock, Upstream& upstream, Options options, Sink& sink) {
  if (!is_plain_name(options.name)) return fail(ErrorCode::InvalidArgument, "\"{}\" is not the name of a Kubernetes object", options.name);
  return std::make_unique<OwnedWatch>(std::make_shared<Watch>(loop, clock, upstream, std::move(options), sink));
}

}  // namespace dormouse::kube
