// SPDX-License-Identifier: Apache-2.0
#pragma once
// Events about objects, for people who run `kubectl describe`. A repeated event becomes a series of one Event object.

#include <map>
#include <string>

#include "kubepp/client.h"

namespace kubepp {

class EventRecorder {
 public:
  struct Options {
    std::string controller;  // "example.com/greeter"
    std::string instance = {};  // This one of several: the pod's name.
  };
  enum class Type { Normal, Warning };

  EventRecorder(Client& client, Options options) : client_(client), options_(std::move(options)) {}

  // `reason` and `action` are CamelCase words ("Greeted", "Reconcile"); `note` is a sentence of up to 1 kB.
  Task<Result<void>> publish(const Resource& resource, Object about, Type type, std::string reason, std::string action,
                             std::string note);

 private:
  static constexpr std::size_t kSeriesMax = 256;  // Remembered; older ones begin anew.
  static constexpr Duration kSeriesLife = std::chrono::minutes(6);

  struct Series {
    ObjectKey event;
    std::int64_t count = 1;
    Time last;
  };

  Client& client_;
  const Options options_;
  std::map<std::string, Series> series_;
};

}  // namespace kubepp
