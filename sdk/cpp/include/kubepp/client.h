// SPDX-License-Identifier: Apache-2.0
#pragma once
// The Kubernetes API as an operator uses it. Every call is a Task that ends with the object or an Error.
//
// Errors that the server declared temporary (429, 503 with Retry-After) are retried a few times here; the rest is the
// caller's to decide, for which a controller's queue with its back-off is the usual place.
//
// Ownership: borrows the loop; outlives all its tasks.

#include <memory>
#include <string>

#include "kubepp/http.h"
#include "kubepp/json.h"
#include "kubepp/object.h"

namespace kubepp {

class Client {
 public:
  struct Options {
    std::string field_manager = "kubepp";  // Who owns the fields that apply() sets; also the user agent.
    Duration request_timeout = std::chrono::seconds(30);
  };

  Client(Loop& loop, Endpoint endpoint, Options options);
  // As the environment says (see Endpoint). Errors: Configuration.
  static Result<std::unique_ptr<Client>> from_environment(Loop& loop, Options options);

  Task<Result<Json>> get(const Resource& resource, const ObjectKey& key);
  Task<Result<Json>> create(const Resource& resource, const Json& object);
  // Only if its resourceVersion is still the server's; else Conflict.
  Task<Result<Json>> replace(const Resource& resource, const Json& object);
  Task<Result<Json>> remove(const Resource& resource, const ObjectKey& key);
  // RFC 7386.
  Task<Result<Json>> merge_patch(const Resource& resource, const ObjectKey& key, const Json& patch, std::string_view subresource = {});
  // Server-side apply: makes the object's fields so, creating it if need be, and takes them over from others.
  Task<Result<Json>> apply(const Resource& resource, const Json& object, std::string_view subresource = {});
  // The same for the status alone.
  Task<Result<Json>> apply_status(const Resource& resource, const Json& object) { return apply(resource, object, "status"); }

  // Adds or removes a finalizer; does nothing when it is so already. Conflict when the object has changed meanwhile.
  Task<Result<Json>> add_finalizer(const Resource& resource, Object object, std::string finalizer);
  Task<Result<Json>> remove_finalizer(const Resource& resource, Object object, std::string finalizer);

  // Any request; the answer parsed.
  Task<Result<Json>> send(HttpRequest request);
  // Any request whose answer is read as it comes: watches, logs. An answer other than 2xx is an Error.
  Task<Result<std::unique_ptr<HttpClient::Exchange>>> open(HttpRequest request);

  Loop& loop() { return http_.loop(); }
  const std::string& field_manager() const { return options_.field_manager; }

 private:
  Task<Result<Json>> set_finalizers(const Resource& resource, Object object, Json finalizers);
  HttpRequest request(std::string method, std::string target, const Json& body, std::string_view content_type) const;

  Options options_;
  HttpClient http_;
};

}  // namespace kubepp
