// SPDX-License-Identifier: Apache-2.0
#pragma once
// The loop at the heart of an operator: whenever an object, or something that it owns, has changed, reconcile it.
//
//   Controller controller(client, {.resource = kGreeting}, [&](Object greeting) { return reconcile(client, greeting); });
//   controller.owns(kConfigMap);
//   co_await controller.run(stop);
//
// The function gets the newest known state, never twice at once for the same object; an error brings the object back
// after a growing delay. The function is a plain one (or a lambda) that returns the Task of a coroutine.

#include <functional>
#include <memory>
#include <vector>

#include "kubepp/client.h"
#include "kubepp/reflector.h"
#include "kubepp/workqueue.h"

namespace kubepp {

// What a reconcile wants next.
struct Action {
  Duration requeue_after{0};  // Come back then even if nothing changes; 0: only when something does.

  static Action await_change() { return {}; }
  static Action requeue(Duration after) { return {after}; }
};

class Controller {
 public:
  struct Options {
    Resource resource;
    std::string ns = {};                // "" for all.
    std::string label_selector = {};
    int concurrency = 1;                // Objects at the same time.
    bool ignore_status_changes = true;  // Our own status writes need no reconcile.
    Duration shutdown_grace = std::chrono::seconds(20);  // What runs may end; less than a pod's 30 s.
  };
  using Reconcile = std::function<Task<Result<Action>>(Object)>;

  Controller(Client& client, Options options, Reconcile reconcile);
  Controller(const Controller&) = delete;
  Controller& operator=(const Controller&) = delete;

  // Also follow what objects of this kind own (ownerReferences with controller: true).
  Controller& owns(const Resource& resource, std::string label_selector = {});
  // Until `stop` is set; then waits for the reconciles under way.
  Task<> run(Event& stop);

  const Reflector& objects() const { return *objects_; }
  WorkQueue& queue() { return queue_; }

 private:
  Task<> work();

  Client& client_;
  const Options options_;
  const Reconcile reconcile_;
  WorkQueue queue_;
  std::unique_ptr<Reflector> objects_;
  std::vector<std::unique_ptr<Reflector>> owned_;
  std::vector<Task<>> workers_;
  int working_ = 0;
  Event drained_;
};

// Sets the event at SIGTERM or SIGINT. Spawn it: loop.spawn(stop_on_signal(signals, stop)).
Task<> stop_on_signal(Signals& signals, Event& stop);

}  // namespace kubepp
