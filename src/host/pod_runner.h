// SPDX-License-Identifier: Apache-2.0
#pragma once
// One pod in the host: waits for the ConfigMaps and Secrets it names, runs its containers, keeps its volumes fresh.
//
// Ownership: owned by Host; borrows Services and Cluster. Threads: the loop's.

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "gateway/network.h"
#include "host/config_objects.h"
#include "host/container.h"
#include "host/pod_files.h"
#include "host/status_view.h"
#include "host/wakes_view.h"
#include "kube/service_account_tokens.h"

namespace dormouse::host {

// The API server, as pods reach it; null members where there is none.
struct Cluster {
  kube::Upstream& upstream;
  kube::ServiceAccountTokens& tokens;
  ConfigObjects& objects;
  gateway::SharedCache* cache = nullptr;  // Null: guests' reads are only forwarded.
};

class PodRunner final : Immovable {
 public:
  struct Options {
    pods::Pod pod;
    // A bare module: its own arguments, files, environment and output, instead of what a pod gets.
    std::function<Result<Launch>(std::shared_ptr<MemoryAccount>)> bare_launch;
    unsigned colour_index = 0;
    std::function<void()> on_change;       // A container has ended for good.
  };
  PodRunner(Options options, Services& services, Cluster* cluster);
  ~PodRunner();

  void start();
  void stop();
  void stop_at_once();

  bool ended() const;
  bool stopping() const { return stopping_; }
  // True if no container ever ran, and none can for a reason that waiting does not mend.
  bool hopeless() const;
  const pods::Pod& pod() const { return options_.pod; }
  PodStatus status() const;
  // Whether its start is over, for better or worse, or waits for ConfigMaps and Secrets.
  bool at_rest() const;
  void list_sleepers(std::vector<MemoryWatch::Sleeper>& sleepers) const {
    for (const auto& container : containers_) container->list_sleeper(sleepers);
  }
  PodWakes wakes() const;

 private:
  void on_objects_changed();
  void start_containers();
  Result<Launch> prepare(const pods::Container& container, const std::string& display_name, std::shared_ptr<MemoryAccount> account);
  std::shared_ptr<gateway::Network> make_network(const pods::Container& container, const std::shared_ptr<MemoryAccount>& account, const std::string& display_name,
                                                 std::shared_ptr<gateway::PollOffload> offload);
  const ConfigData* find(bool secret, const std::string& name) const;
  void follow(bool secret, const std::string& name, bool optional);
  void follow_all();

  Options options_;
  Services& services_;
  Cluster* cluster_;
  std::shared_ptr<kube::Identity> identity_;  // Shared with networks of runs that are ending.
  struct Wanted {
    std::unique_ptr<ConfigObjects::Follow> follow;
    bool optional = true;
  };
  std::map<ConfigObjects::Key, Wanted> wanted_;
  std::string waiting_for_;
  PodFiles files_;
  std::vector<std::unique_ptr<Container>> containers_;
  bool started_ = false, stopping_ = false;
};

}  // namespace dormouse::host
