// SPDX-License-Identifier: Apache-2.0
#include "kubepp/controller.h"

#include "kubepp/log.h"

namespace kubepp {
namespace {

// The same numbers everywhere; wasi-libc has no signal.h.
constexpr int kSigInt = 2, kSigTerm = 15;

// Whether anything but status (and what the server counts itself) differs.
bool only_status_differs(const Json& before, const Json& after) {
  // Objects without a generation (ConfigMap, for one) tell of nothing by it.
  if (generation_of(after) == 0 || generation_of(before) != generation_of(after)) return false;
  for (const char* part : {"deletionTimestamp", "finalizers", "labels", "annotations", "ownerReferences"}) {
    if (!(before["metadata"][part] == after["metadata"][part])) return false;
  }
  return true;
}

}  // namespace

Controller::Controller(Client& client, Options options, Reconcile reconcile)
    : client_(client), options_(std::move(options)), reconcile_(std::move(reconcile)), queue_(client.loop()) {
  Reflector::Options watched{options_.resource, options_.ns, options_.label_selector, {}};
  auto on_change = [this](const ObjectKey& key, const Object& before, const Object& after) {
    if (!after) {
      queue_.forget(key);
      return;
    }
    if (before && options_.ignore_status_changes && only_status_differs(*before, *after)) return;
    queue_.add(key);
  };
  objects_ = std::make_unique<Reflector>(client_, std::move(watched), on_change);
}

Controller& Controller::owns(const Resource& resource, std::string label_selector) {
  auto on_change = [this](const ObjectKey& key, const Object& before, const Object& after) {
    for (const Object& state : {before, after}) {
      if (!state) continue;
      for (const Json& owner : (*state)["metadata"]["ownerReferences"].items()) {
        const std::string_view version = owner["apiVersion"].as_string();
        const bool same_group = options_.resource.group == version.substr(0, options_.resource.group.size()) &&
                                (options_.resource.group.empty() ? version.find('/') == version.npos
                                                                 : version.substr(options_.resource.group.size()).starts_with('/'));
        if (owner["controller"].as_bool() && same_group && owner["kind"].as_string() == options_.resource.kind) {
          queue_.add({options_.resource.namespaced ? key.ns : "", std::string(owner["name"].as_string())});
        }
      }
    }
  };
  Reflector::Options watched{resource, options_.ns, std::move(label_selector), {}};
  owned_.push_back(std::make_unique<Reflector>(client_, std::move(watched), on_change));
  return *this;
}

Task<> Controller::run(Event& stop) {
  objects_->start();
  for (auto& each : owned_) each->start();
  // Working before everything is known would make things that are there already.
  std::vector<Reflector*> all{objects_.get()};
  for (auto& each : owned_) all.push_back(each.get());
  for (Reflector* each : all) {
    while (!stop.is_set() && !each->synced().is_set()) {
      // Either may come first.
      co_await client_.loop().any_event(each->synced(), stop);
    }
  }
  if (!stop.is_set()) {
    log::info("controller is working", {{"kind", options_.resource.kind}, {"objects", objects_->objects().size()}});
    for (int i = 0; i < options_.concurrency; ++i) {
      ++working_;
      workers_.push_back(work());
      workers_.back().start();
    }
    co_await client_.loop().event(stop);
  }
  queue_.shut_down();
  if (working_ > 0) {
    const bool all_done = co_await client_.loop().event(drained_, Loop::now() + options_.shutdown_grace);
    if (!all_done) log::warn("reconciles cut off by the end of the program", {{"workers", working_}});
  }
  log::info("controller has stopped", {{"kind", options_.resource.kind}});
}

Task<> Controller::work() {
  for (;;) {
    const std::optional<ObjectKey> key = co_await queue_.get();
    if (!key) break;
    const Object object = objects_->find(*key);
    if (object) {
      const Result<Action> action = co_await reconcile_(object);
      if (action) {
        queue_.forget(*key);
        if (action->requeue_after > Duration::zero()) queue_.add_after(*key, action->requeue_after);
      } else {
        const Error& error = action.error();
        // Somebody else was faster: ordinary, and the watch will tell.
        if (error.conflict()) {
          log::debug("conflict, will try again", {{"object", key->text()}, {"error", error.message}});
        } else {
          log::warn("reconcile failed, will try again",
                    {{"object", key->text()}, {"status", error.status}, {"reason", error.reason}, {"error", error.message}});
        }
        queue_.add_rate_limited(*key);
      }
    }
    queue_.done(*key);
  }
  if (--working_ == 0) drained_.set();
}

Task<> stop_on_signal(Signals& signals, Event& stop) {
  for (;;) {
    const int number = co_await signals.next();
    if (number == kSigTerm || number == kSigInt) {
      log::info("stopping", {{"signal", number}});
      stop.set();
    }
  }
}

}  // namespace kubepp
