// SPDX-License-Identifier: Apache-2.0
#pragma once
// Follows one named object (a ConfigMap, a Secret) as the host: what volumes and environment variables are made from.
//
//   Listing --> Watching --end of stream--> Watching again from the last resourceVersion
//      ^           `--410 Gone--> Listing
//      `--- Waiting (back-off, the only timer) <-- any failure
//
// Ownership: owned by whoever needs the object; borrows Upstream and the Sink, which outlive it. May be destroyed in a callback.
// Threads:   the loop's.

#include <cstdint>
#include <memory>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/json/object.hpp>

#include "base/clock.h"
#include "base/log.h"
#include "base/result.h"
#include "kube/upstream.h"

namespace dormouse::kube {

class ObjectWatch {
 public:
  class Sink {
   public:
    virtual ~Sink() = default;
    // It is there, or has changed. The same state may be told twice.
    virtual void on_object(const boost::json::object& object) = 0;
    // It is not there, or not any more.
    virtual void on_absent() = 0;
    // What is known may be out of date; the watch goes on trying. Told once for a series of like failures.
    virtual void on_trouble(const Error& error) = 0;
  };
  struct Options {
    std::string collection;  // "/api/v1/namespaces/NS/configmaps"
    std::string name;
    std::size_t object_bytes_max = 8 * 1024 * 1024;  // etcd holds 1.5 MiB; JSON and base64 make more of it.
    Nanoseconds backoff_min = std::chrono::seconds(1), backoff_max = std::chrono::seconds(30);
  };
  // Starts at once; the sink is never called from within. Errors: InvalidArgument (a name that no object can have).
  static Result<std::unique_ptr<ObjectWatch>> create(boost::asio::io_context& loop, const Clock& clock, Upstream& upstream, Options options, Sink& sink);
  virtual ~ObjectWatch() = default;
};

}  // namespace dormouse::kube
