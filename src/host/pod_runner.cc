// SPDX-License-Identifier: Apache-2.0
#include "host/pod_runner.h"

#include <boost/asio/post.hpp>

#include <algorithm>

#include "guest/output.h"

namespace dormouse::host {

PodRunner::PodRunner(Options options, Services& services, Cluster* cluster)
    : options_(std::move(options)), services_(services), cluster_(cluster), files_(options_.pod, services.clock) {
  if (cluster_ != nullptr) {
    identity_ = cluster_->tokens.hold({.namespace_name = options_.pod.name_space, .service_account = options_.pod.service_account});
  }
  const bool single = options_.pod.containers.size() == 1;
  for (const pods::Container& spec : options_.pod.containers) {
    std::string display_name = fmt::format("{}/{}", options_.pod.name_space, options_.pod.name);
    if (!single) display_name += "/" + spec.name;
    if (options_.bare_launch) display_name = options_.pod.name;
    const pods::Container* container = &spec;
    containers_.push_back(std::make_unique<Container>(
        Container::Options{
            .spec = spec,
            .display_name = display_name,
            .restart_policy = options_.pod.restart_policy,
            .grace = std::chrono::seconds(options_.pod.grace_seconds),
            .prepare = [this, container, display_name](std::shared_ptr<MemoryAccount> account) { return prepare(*container, display_name, std::move(account)); },
            .timer_slack_max = options_.pod.timer_slack_max,
            .sleep = options_.bare_launch ? pods::SleepMode{pods::SleepMode::Kind::Never} : options_.pod.sleep.value_or(services_.sleep_default),
            .plain_exit = options_.bare_launch != nullptr,
            .on_ended = [this] { options_.on_change(); },
        },
        services_));
  }
}

PodRunner::~PodRunner() = default;

void PodRunner::follow(bool secret, const std::string& name, bool optional) {
  const ConfigObjects::Key key{secret, options_.pod.name_space, name};
  Wanted& wanted = wanted_[key];
  wanted.optional = wanted.optional && optional;
  if (!wanted.follow) wanted.follow = cluster_->objects.follow(key, [this] { on_objects_changed(); });
}

void PodRunner::follow_all() {
  for (const pods::Volume& volume : options_.pod.volumes) {
    const auto source = [&](const auto& part) {
      using Part = std::decay_t<decltype(part)>;
      if constexpr (std::is_same_v<Part, pods::ConfigMapVolume>) follow(false, part.name, part.optional);
      if constexpr (std::is_same_v<Part, pods::SecretVolume>) follow(true, part.name, part.optional);
    };
    std::visit(source, volume.source);
    if (const auto* projected = std::get_if<pods::ProjectedVolume>(&volume.source)) {
      for (const pods::ProjectedSource& part : projected->sources) std::visit(source, part);
    }
  }
  for (const pods::Container& container : options_.pod.containers) {
    for (const pods::EnvFrom& from : container.env_from) follow(from.secret, from.name, from.optional);
    for (const pods::EnvVar& variable : container.env) {
      if (const auto* config = std::get_if<pods::ConfigMapKey>(&variable.value)) follow(false, config->name, config->optional);
      if (const auto* secret = std::get_if<pods::SecretKey>(&variable.value)) follow(true, secret->name, secret->optional);
    }
  }
}

void PodRunner::start() {
  if (cluster_ != nullptr) follow_all();
  start_containers();
}

void PodRunner::on_objects_changed() {
  if (stopping_) return;
  if (!started_) {
    start_containers();
    return;
  }
  files_.refresh([this](bool secret, const std::string& name) { return find(secret, name); });
}

// Containers start when every object that is not optional is there; until then the pod waits, as with the kubelet.
void PodRunner::start_containers() {
  std::string waiting_for;
  for (const auto& [key, wanted] : wanted_) {
    const std::string_view kind = key.secret ? "Secret" : "ConfigMap";
    if (!wanted.follow->known()) {
      const std::string& problem = wanted.follow->problem();
      waiting_for = problem.empty() ? fmt::format("asking for {} {}", kind, key.name) : problem;
      break;
    }
    if (wanted.follow->data() == nullptr && !wanted.optional) {
      waiting_for = fmt::format("{} \"{}\" does not exist in {}", kind, key.name, key.name_space);
      break;
    }
  }
  const bool news = waiting_for != waiting_for_ && !waiting_for.empty() && !waiting_for.starts_with("asking");
  waiting_for_ = std::move(waiting_for);
  if (news) services_.log.warning("pod waits", {{"pod", fmt::format("{}/{}", options_.pod.name_space, options_.pod.name)}, {"for", waiting_for_}});
  if (!waiting_for_.empty()) return;
  started_ = true;
  for (const auto& container : containers_) container->start();
}

const ConfigData* PodRunner::find(bool secret, const std::string& name) const {
  const auto found = wanted_.find({secret, options_.pod.name_space, name});
  return found == wanted_.end() ? nullptr : found->second.follow->data();
}

std::shared_ptr<gateway::Network> PodRunner::make_network(const pods::Container& container, const std::shared_ptr<MemoryAccount>& account, const std::string& display_name,
                                                          std::shared_ptr<gateway::PollOffload> offload) {
  std::string egress_text;
  if (const auto found = options_.pod.annotations.find(pods::kAllowEgressAnnotation); found != options_.pod.annotations.end()) egress_text = found->second;
  auto egress = gateway::EgressPolicy::parse(egress_text);
  if (!egress) {
    services_.log.error("egress policy is not valid, nothing is allowed", {{"guest", display_name}, {"error", egress.error().message}});
    egress = gateway::EgressPolicy{};
  }
  auto network = std::make_unique<gateway::Network>(gateway::Network::Options{
      .guest = display_name,
      .loop = services_.loop,
      .log = services_.log,
      .account = *account,
      .upstream = cluster_ != nullptr ? &cluster_->upstream : nullptr,
      .identity = identity_.get(),
      .cache = cluster_ != nullptr ? cluster_->cache : nullptr,
      .prune_managed_fields = options_.pod.prune_managed_fields,
      .egress = std::move(*egress),
      .tls = services_.egress_tls,
      .offload = std::move(offload),
  });
  for (const pods::Port& port : container.ports) {
    if (port.host_port == 0) continue;
    boost::system::error_code problem;
    const auto address = boost::asio::ip::make_address(port.host_ip.empty() ? "0.0.0.0" : port.host_ip, problem);
    if (problem) {
      services_.log.error("hostIP is not an address", {{"guest", display_name}, {"hostIP", port.host_ip}});
      continue;
    }
    if (const auto bound = network->bind_host_port({address, port.host_port}, port.container_port); !bound) {
      services_.log.error("hostPort cannot be bound", {{"guest", display_name}, {"hostPort", port.host_port}, {"error", bound.error().message}});
    }
  }
  // A run may end on a worker; its network goes on the loop, before what it borrows.
  return {network.release(), [&loop = services_.loop, account, identity = identity_](gateway::Network* ended) {
            boost::asio::post(loop, [account, identity, owned = std::unique_ptr<gateway::Network>(ended)]() mutable { owned.reset(); });
          }};
}

Result<Launch> PodRunner::prepare(const pods::Container& container, const std::string& display_name, std::shared_ptr<MemoryAccount> account) {
  if (options_.bare_launch) return options_.bare_launch(std::move(account));
  const ConfigLookup lookup = [this](bool secret, const std::string& name) { return find(secret, name); };
  auto environment = container_environment(options_.pod, container, lookup, account->limit_bytes());
  if (!environment) return fail(environment.error());
  auto root = files_.make_root(container, lookup, account);
  if (!root) return fail(root.error());
  Launch launch;
  launch.arguments = container_arguments(container, *environment);
  launch.environment = std::move(*environment);
  launch.preopens.push_back({.guest_path = "/", .directory = root->directory});
  launch.resources = root->resources;
  std::shared_ptr<gateway::PollOffload> offload;
  if (options_.pod.poll_offload && cluster_ != nullptr) {
    offload = std::make_shared<gateway::PollOffload>(gateway::PollOffload::Options{
        .loop = services_.loop, .clock = services_.clock, .upstream = cluster_->upstream, .identity = identity_.get(), .max_sleep = options_.pod.poll_offload->max_sleep});
  }
  launch.stand_in = offload;
  launch.network = make_network(container, account, display_name, std::move(offload));
  launch.standard_output = std::make_shared<guest::LineOutput>(services_.log, services_.clock, display_name, "stdout", options_.colour_index);
  launch.standard_error = std::make_shared<guest::LineOutput>(services_.log, services_.clock, display_name, "stderr", options_.colour_index);
  return launch;
}

void PodRunner::stop() {
  stopping_ = true;
  for (const auto& container : containers_) {
    if (started_) container->stop();
    else container->stop_at_once();
  }
}

void PodRunner::stop_at_once() {
  stopping_ = true;
  for (const auto& container : containers_) container->stop_at_once();
}

bool PodRunner::ended() const {
  if (!started_ && stopping_) return true;
  return std::ranges::all_of(containers_, [](const auto& container) { return container->ended(); });
}

bool PodRunner::hopeless() const {
  return std::ranges::all_of(containers_, [](const auto& container) { return container->never_ran_and_failed(); });
}

bool PodRunner::at_rest() const {
  return !started_ || std::ranges::all_of(containers_, [](const auto& container) { return container->at_rest(); });
}

PodStatus PodRunner::status() const {
  PodStatus status{.name_space = options_.pod.name_space, .name = options_.pod.name, .service_account = options_.pod.service_account, .message = waiting_for_};
  for (const auto& container : containers_) status.containers.push_back(container->status());
  return status;
}

PodWakes PodRunner::wakes() const {
  PodWakes wakes{.name_space = options_.pod.name_space, .name = options_.pod.name};
  for (const auto& container : containers_) {
    wakes.containers.push_back({.name = container->spec().name, .totals = container->wakes().totals(), .recent = container->wakes().recent(), .offload = container->offloaded(), .timer_slack_max = options_.pod.timer_slack_max,
                                .offload_max_sleep = options_.pod.poll_offload ? options_.pod.poll_offload->max_sleep : Nanoseconds(0)});
  }
  return wakes;
}

}  // namespace dormouse::host
