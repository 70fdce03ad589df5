// SPDX-License-Identifier: Apache-2.0
#include "kubepp/client.h"

#include <algorithm>
#include <charconv>

#include "escape.h"

namespace kubepp {
namespace {

constexpr std::size_t kBodyBytesMax = 64 << 20;  // Of one answer: a page of a list is far below.
constexpr int kAttemptsMax = 4;
constexpr std::chrono::seconds kRetryAfterMax{30};

std::chrono::seconds retry_after_of(const HttpHead& head) {
  const std::string_view text = head.header("retry-after");
  int seconds = 0;
  std::from_chars(text.data(), text.data() + text.size(), seconds);
  return std::clamp(std::chrono::seconds(seconds), std::chrono::seconds(0), kRetryAfterMax);
}

// The whole body, up to a limit.
Task<Result<std::string>> read_body(HttpClient::Exchange& exchange, Time deadline) {
  std::string body;
  for (;;) {
    Result<std::string> some = co_await exchange.read_some(deadline);
    if (!some) co_return fail(some.error());
    if (some->empty()) co_return body;
    body += *some;
    if (body.size() > kBodyBytesMax) co_return fail("Protocol", "an answer of the API server is larger than 64 MiB");
  }
}

// What a Status object, or whatever came instead of one, says.
Error error_of(const HttpHead& head, std::string_view body) {
  Error error;
  error.status = head.status;
  error.retry_after = retry_after_of(head);
  const Result<Json> status = Json::parse(body);
  if (status && (*status)["kind"].as_string() == "Status") {
    error.reason = (*status)["reason"].as_string();
    error.message = (*status)["message"].as_string();
  }
  if (error.reason.empty()) error.reason = "HTTP" + std::to_string(head.status);
  if (error.message.empty()) error.message = std::string(body.substr(0, 200));
  return error;
}

Task<Result<Json>> ready(Json value) { co_return value; }

}  // namespace

Client::Client(Loop& loop, Endpoint endpoint, Options options) : options_(std::move(options)), http_(loop, std::move(endpoint)) {}

Result<std::unique_ptr<Client>> Client::from_environment(Loop& loop, Options options) {
  Result<Endpoint> endpoint = Endpoint::from_environment();
  if (!endpoint) return fail(endpoint.error());
  return std::make_unique<Client>(loop, std::move(*endpoint), std::move(options));
}

HttpRequest Client::request(std::string method, std::string target, const Json& body, std::string_view content_type) const {
  HttpRequest made{std::move(method), std::move(target), {}, {}};
  if (!content_type.empty()) {
    made.headers.emplace_back("Content-Type", content_type);
    made.body = body.dump();
  }
  return made;
}

Task<Result<Json>> Client::get(const Resource& resource, const ObjectKey& key) {
  return send(request("GET", resource.path(key.ns, key.name), {}, {}));
}

Task<Result<Json>> Client::create(const Resource& resource, const Json& object) {
  const std::string target = resource.path(namespace_of(object)) + "?fieldManager=" + escape(options_.field_manager);
  return send(request("POST", target, object, "application/json"));
}

Task<Result<Json>> Client::replace(const Resource& resource, const Json& object) {
  const std::string target =
      resource.path(namespace_of(object), name_of(object)) + "?fieldManager=" + escape(options_.field_manager);
  return send(request("PUT", target, object, "application/json"));
}

Task<Result<Json>> Client::remove(const Resource& resource, const ObjectKey& key) {
  return send(request("DELETE", resource.path(key.ns, key.name), {}, {}));
}

Task<Result<Json>> Client::merge_patch(const Resource& resource, const ObjectKey& key, const Json& patch,
                                       std::string_view subresource) {
  const std::string target =
      resource.path(key.ns, key.name, subresource) + "?fieldManager=" + escape(options_.field_manager);
  return send(request("PATCH", target, patch, "application/merge-patch+json"));
}

Task<Result<Json>> Client::apply(const Resource& resource, const Json& object, std::string_view subresource) {
  const std::string target = resource.path(namespace_of(object), name_of(object), subresource) +
                             "?force=true&fieldManager=" + escape(options_.field_manager);
  return send(request("PATCH", target, object, "application/apply-patch+yaml"));
}

Task<Result<Json>> Client::add_finalizer(const Resource& resource, Object object, std::string finalizer) {
  if (has_finalizer(*object, finalizer)) return ready(*object);
  Json finalizers = (*object)["metadata"]["finalizers"];
  finalizers.push_back(std::move(finalizer));
  return set_finalizers(resource, std::move(object), std::move(finalizers));
}

Task<Result<Json>> Client::remove_finalizer(const Resource& resource, Object object, std::string finalizer) {
  if (!has_finalizer(*object, finalizer)) return ready(*object);
  Json finalizers = Json::array();
  for (const Json& each : (*object)["metadata"]["finalizers"].items()) {
    if (each.as_string() != finalizer) finalizers.push_back(each);
  }
  return set_finalizers(resource, std::move(object), std::move(finalizers));
}

Task<Result<Json>> Client::set_finalizers(const Resource& resource, Object object, Json finalizers) {
  // The resourceVersion makes it fail rather than undo what another did to the list meanwhile.
  const Json patch = Json::object({{"metadata", Json::object({{"resourceVersion", (*object)["metadata"]["resourceVersion"]},
                                                              {"finalizers", std::move(finalizers)}})}});
  return merge_patch(resource, key_of(*object), patch);
}

Task<Result<std::unique_ptr<HttpClient::Exchange>>> Client::open(HttpRequest request) {
  request.headers.emplace_back("Accept", "application/json");
  request.headers.emplace_back("User-Agent", options_.field_manager);
  const Time deadline = Loop::now() + options_.request_timeout;
  Result<std::unique_ptr<HttpClient::Exchange>> exchange = co_await http_.start(std::move(request), deadline);
  if (!exchange) co_return fail(exchange.error());
  const HttpHead& head = (*exchange)->head();
  if (head.status >= 200 && head.status < 300) co_return std::move(*exchange);
  const Result<std::string> body = co_await read_body(**exchange, deadline);
  if (!body) co_return fail(body.error());
  co_return fail(error_of(head, *body));
}

Task<Result<Json>> Client::send(HttpRequest request) {
  for (int attempt = 1;; ++attempt) {
    HttpRequest copy = request;
    Result<std::unique_ptr<HttpClient::Exchange>> exchange = co_await open(std::move(copy));
    if (exchange) {
      const Result<std::string> body = co_await read_body(**exchange, Loop::now() + options_.request_timeout);
      if (!body) co_return fail(body.error());
      co_return Json::parse(*body);
    }
    Error error = exchange.error();
    const bool temporary = (error.status == 429 || error.status == 503) && error.retry_after.count() > 0;
    if (!temporary || attempt == kAttemptsMax) {
      error.message = request.method + " " + request.target.substr(0, request.target.find('?')) + ": " + error.message;
      co_return fail(std::move(error));
    }
    co_await loop().sleep(error.retry_after);
  }
}

}  // namespace kubepp
