// SPDX-License-Identifier: Apache-2.0
#include "host/status_view.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cstdio>
#include <functional>

namespace dormouse::host {
namespace {

namespace json = boost::json;

double seconds(Nanoseconds time) { return static_cast<double>(time.count()) / 1e9; }

json::object to_json(const ContainerStatus& container) {
  json::object object{
      {"name", container.name}, {"image", container.image}, {"digest", container.module_digest}, {"state", container.state}, {"reason", container.reason},
      {"restarts", container.restarts}, {"startedAt", seconds(container.started_at)}, {"memoryBytes", container.usage.memory_bytes},
      {"memoryPeakBytes", container.usage.memory_peak_bytes}, {"memoryLimitBytes", container.memory_limit_bytes}, {"cpuSeconds", seconds(container.usage.cpu)},
      {"wakeups", container.usage.wakeups}, {"slices", container.usage.slices}, {"preemptions", container.usage.preemptions}, {"throttles", container.usage.throttles},
      {"lastWake", seconds(container.usage.last_wake)}};
  if (container.cpu_limit_millis) object["cpuLimitMillis"] = *container.cpu_limit_millis;
  if (const auto& last = container.last_termination) {
    json::array backtrace;
    for (const std::string& frame : last->backtrace) backtrace.emplace_back(frame);
    object["lastTermination"] = json::object{{"reason", last->reason}, {"exitCode", last->exit_code}, {"message", last->message},
                                             {"startedAt", seconds(last->started_at)}, {"finishedAt", seconds(last->finished_at)}, {"backtrace", std::move(backtrace)}};
  }
  return object;
}

std::string age(double since, double now) {
  if (since <= 0) return "-";
  const auto elapsed = static_cast<long long>(std::max(0.0, now - since));
  if (elapsed < 120) return fmt::format("{}s", elapsed);
  if (elapsed < 7200) return fmt::format("{}m", elapsed / 60);
  if (elapsed < 48 * 3600) return fmt::format("{}h", elapsed / 3600);
  return fmt::format("{}d", elapsed / 86400);
}

std::string size(double bytes) {
  if (bytes < 1024) return fmt::format("{:.0f}B", bytes);
  if (bytes < 1024 * 1024) return fmt::format("{:.0f}Ki", bytes / 1024);
  return fmt::format("{:.1f}Mi", bytes / 1024 / 1024);
}

std::string label_value(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n') out += "\\n";
    else out += c;
  }
  return out;
}

class Metrics {
 public:
  void family(std::string_view name, std::string_view type, std::string_view help) {
    name_ = name;
    text_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
  }
  void sample(std::string_view labels, double value) { text_ += labels.empty() ? fmt::format("{} {}\n", name_, value) : fmt::format("{}{{{}}} {}\n", name_, labels, value); }
  std::string take() { return std::move(text_); }

 private:
  std::string name_, text_;
};

}  // namespace

std::string status_json(const HostStatus& status) {
  json::array pods;
  for (const PodStatus& pod : status.pods) {
    json::array containers;
    for (const ContainerStatus& container : pod.containers) containers.emplace_back(to_json(container));
    pods.emplace_back(json::object{{"namespace", pod.name_space}, {"name", pod.name}, {"serviceAccount", pod.service_account}, {"message", pod.message}, {"containers", std::move(containers)}});
  }
  return json::serialize(json::object{{"now", seconds(status.now)}, {"pods", std::move(pods)},
                                      {"host", json::object{{"loopWakeups", status.loop_wakeups}, {"workerWakeups", status.workers.worker_wakeups},
                                                            {"slices", status.workers.slices}, {"timerWakeups", status.workers.timer_wakeups},
                                                            {"upstreamConnections", status.upstream.connections_open}, {"upstreamStreams", status.upstream.streams_open}}}});
}

Result<std::string> status_table(std::string_view text) {
  boost::system::error_code problem;
  const json::value value = json::parse(text, problem);
  if (problem) return fail(ErrorCode::Corrupt, "the host's answer is not JSON: {}", problem.message());
  std::vector<std::vector<std::string>> rows{{"NAMESPACE", "POD", "CONTAINER", "STATE", "RESTARTS", "MEMORY", "LIMIT", "CPU", "WAKES", "LAST WAKE", "AGE"}};
  try {
    const double now = value.at("now").to_number<double>();
    for (const json::value& pod : value.at("pods").as_array()) {
      for (const json::value& container : pod.at("containers").as_array()) {
        const auto text_of = [](const json::value& from, const char* key) { return std::string(from.at(key).as_string()); };
        const auto number = [&](const char* key) { return container.at(key).to_number<double>(); };
        std::string state = text_of(container, "reason");
        if (const std::string message = text_of(pod, "message"); !message.empty()) state += " (" + message + ")";
        const double limit = number("memoryLimitBytes");
        rows.push_back({text_of(pod, "namespace"), text_of(pod, "name"), text_of(container, "name"), state, fmt::format("{}", number("restarts")), size(number("memoryBytes")),
                        limit >= 4294967296.0 ? "-" : size(limit), fmt::format("{:.3f}s", number("cpuSeconds")), fmt::format("{}", number("wakeups")), age(number("lastWake"), now), age(number("startedAt"), now)});
      }
    }
  } catch (const std::exception& unexpected) {
    return fail(ErrorCode::Corrupt, "the host's answer lacks a field ({}); are `dormouse ps` and the host of one version?", unexpected.what());
  }
  std::vector<std::size_t> widths(rows[0].size());
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string table;
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) table += i + 1 == row.size() ? row[i] + "\n" : fmt::format("{:<{}}   ", row[i], widths[i]);
  }
  return table;
}

std::string metrics_text(const HostStatus& status) {
  Metrics metrics;
  const auto for_each = [&](std::string_view name, std::string_view type, std::string_view help, const std::function<double(const ContainerStatus&)>& value) {
    metrics.family(name, type, help);
    for (const PodStatus& pod : status.pods) {
      for (const ContainerStatus& container : pod.containers) {
        metrics.sample(fmt::format("namespace=\"{}\",pod=\"{}\",container=\"{}\"", label_value(pod.name_space), label_value(pod.name), label_value(container.name)), value(container));
      }
    }
  };
  for_each("dormouse_guest_running", "gauge", "1 while the guest runs.", [](const auto& c) { return c.running ? 1.0 : 0.0; });
  for_each("dormouse_guest_restarts_total", "counter", "Restarts of the guest since the host began to run it.", [](const auto& c) { return double(c.restarts); });
  for_each("dormouse_guest_memory_bytes", "gauge", "Linear memory, tables, stream buffers and files charged to the guest.", [](const auto& c) { return double(c.usage.memory_bytes); });
  for_each("dormouse_guest_memory_limit_bytes", "gauge", "The guest's memory limit.", [](const auto& c) { return double(c.memory_limit_bytes); });
  for_each("dormouse_guest_cpu_seconds_total", "counter", "CPU time of the guest.", [](const auto& c) { return seconds(c.usage.cpu); });
  for_each("dormouse_guest_wakeups_total", "counter", "Times the guest was resumed from a park.", [](const auto& c) { return double(c.usage.wakeups); });
  for_each("dormouse_guest_preemptions_total", "counter", "Slices that ended because the guest ran too long.", [](const auto& c) { return double(c.usage.preemptions); });
  for_each("dormouse_guest_throttled_total", "counter", "Times the guest waited for CPU quota.", [](const auto& c) { return double(c.usage.throttles); });
  for_each("dormouse_guest_last_exit_code", "gauge", "Exit code of the guest's last run; 0 if none has ended.", [](const auto& c) { return c.last_termination ? double(c.last_termination->exit_code) : 0.0; });
  const auto single = [&](std::string_view name, std::string_view type, std::string_view help, double value) {
    metrics.family(name, type, help);
    metrics.sample("", value);
  };
  single("dormouse_loop_wakeups_total", "counter", "Returns of the host's loop from waiting in the kernel.", double(status.loop_wakeups));
  single("dormouse_worker_wakeups_total", "counter", "Returns of guest threads from waiting in the kernel.", double(status.workers.worker_wakeups));
  single("dormouse_upstream_connections", "gauge", "Open connections to the API server.", double(status.upstream.connections_open));
  single("dormouse_upstream_streams", "gauge", "Requests and watches under way to the API server.", double(status.upstream.streams_open));
  single("dormouse_upstream_requests_total", "counter", "Requests sent to the API server.", double(status.upstream.requests));
  single("dormouse_upstream_failures_total", "counter", "Requests to the API server that failed without an answer.", double(status.upstream.failures));
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  single("process_cpu_seconds_total", "counter", "CPU time of the host process.", double(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + double(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
  return metrics.take();
}

}  // namespace dormouse::host
