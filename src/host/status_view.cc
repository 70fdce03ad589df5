// SPDX-License-Identifier: Apache-2.0
#include "host/status_view.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cstdio>
#include <functional>

#include "host/metrics_text.h"
#include "host/host_answer.h"
#include "host/text_table.h"
#include "host/wakes_view.h"

namespace dormouse::host {
namespace {

namespace json = boost::json;

json::object to_json(const ContainerStatus& container) {
  json::object object{
      {"name", container.name}, {"image", container.image}, {"digest", container.module_digest}, {"state", container.state}, {"reason", container.reason},
      {"ready", container.ready}, {"restarts", container.restarts}, {"startedAt", to_seconds(container.started_at)}, {"memoryBytes", container.usage.memory_bytes},
      {"memoryPeakBytes", container.usage.memory_peak_bytes}, {"memoryLimitBytes", container.memory_limit_bytes}, {"cpuSeconds", to_seconds(container.usage.cpu)},
      {"wakeups", container.usage.wakeups}, {"slices", container.usage.slices}, {"preemptions", container.usage.preemptions}, {"throttles", container.usage.throttles},
      {"lastWake", to_seconds(container.usage.last_wake)}, {"lastWakeCause", container.last_wake ? cause_text(container.last_wake->cause) : std::string()},
      {"idleWakeups", container.wakes.idle}, {"offloadedPolls", container.offload.looks}, {"absorbedWakeups", container.offload.absorbed},
      {"pagedOut", container.usage.paged_out}, {"pageOuts", container.usage.page_outs}, {"residentBytes", container.usage.resident_bytes}, {"pagedBytes", container.usage.paged_bytes}};
  if (container.cpu_limit_millis) object["cpuLimitMillis"] = *container.cpu_limit_millis;
  if (const auto& last = container.last_termination) {
    json::array backtrace;
    for (const std::string& frame : last->backtrace) backtrace.emplace_back(frame);
    object["lastTermination"] = json::object{{"reason", last->reason}, {"exitCode", last->exit_code}, {"message", last->message},
                                             {"startedAt", to_seconds(last->started_at)}, {"finishedAt", to_seconds(last->finished_at)}, {"backtrace", std::move(backtrace)}};
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

}  // namespace

std::string status_json(const HostStatus& status) {
  json::array pods;
  for (const PodStatus& pod : status.pods) {
    json::array containers;
    for (const ContainerStatus& container : pod.containers) containers.emplace_back(to_json(container));
    pods.emplace_back(json::object{{"namespace", pod.name_space}, {"name", pod.name}, {"serviceAccount", pod.service_account}, {"message", pod.message}, {"containers", std::move(containers)}});
  }
  return json::serialize(json::object{{"now", to_seconds(status.now)}, {"pods", std::move(pods)},
                                      {"host", json::object{{"loopWakeups", status.loop_wakeups}, {"workerWakeups", status.workers.worker_wakeups},
                                                            {"slices", status.workers.slices}, {"timerWakeups", status.workers.timer_wakeups},
                                                            {"upstreamConnections", status.upstream.connections_open}, {"upstreamStreams", status.upstream.streams_open}}}});
}

Result<std::string> status_table(std::string_view text) {
  return table_of(text, "ps", [](const json::value& value) -> Result<std::string> {
    std::vector<std::vector<std::string>> rows{{"NAMESPACE", "POD", "CONTAINER", "STATE", "READY", "RESTARTS", "MEMORY", "LIMIT", "CPU", "WAKES", "LAST WAKE", "AGE", "WOKEN BY"}};
    const double now = value.at("now").to_number<double>();
    for (const json::value& pod : value.at("pods").as_array()) {
      for (const json::value& container : pod.at("containers").as_array()) {
        const auto text_of = [](const json::value& from, const char* key) { return std::string(from.at(key).as_string()); };
        const auto number = [&](const char* key) { return container.at(key).to_number<double>(); };
        std::string state = text_of(container, "reason");
        if (const std::string message = text_of(pod, "message"); !message.empty()) state += " (" + message + ")";
        const double limit = number("memoryLimitBytes");
        rows.push_back({text_of(pod, "namespace"), text_of(pod, "name"), text_of(container, "name"), state, container.at("ready").as_bool() ? "yes" : "no", fmt::format("{}", number("restarts")), size_text(number("memoryBytes")),
                        limit >= 4294967296.0 ? "-" : size_text(limit), fmt::format("{:.3f}s", number("cpuSeconds")), fmt::format("{}", number("wakeups")), age(number("lastWake"), now), age(number("startedAt"), now), text_of(container, "lastWakeCause")});
      }
    }
    return text_table(rows);
  });
}

std::string metrics_text(const HostStatus& status) {
  MetricsText metrics;
  const auto labels = [](const PodStatus& pod, const ContainerStatus& container) {
    return fmt::format("namespace=\"{}\",pod=\"{}\",container=\"{}\"", label_value(pod.name_space), label_value(pod.name), label_value(container.name));
  };
  const auto for_each = [&](std::string_view name, std::string_view type, std::string_view help, const std::function<double(const ContainerStatus&)>& value) {
    metrics.family(name, type, help);
    for (const PodStatus& pod : status.pods) {
      for (const ContainerStatus& container : pod.containers) metrics.sample(labels(pod, container), value(container));
    }
  };
  for_each("dormouse_guest_running", "gauge", "1 while the guest runs.", [](const auto& c) { return c.running ? 1.0 : 0.0; });
  for_each("dormouse_guest_ready", "gauge", "1 while the guest runs and its probes hold it ready.", [](const auto& c) { return c.ready ? 1.0 : 0.0; });
  for_each("dormouse_guest_restarts_total", "counter", "Restarts of the guest since the host began to run it.", [](const auto& c) { return double(c.restarts); });
  for_each("dormouse_guest_memory_bytes", "gauge", "Linear memory, tables, stream buffers and files charged to the guest.", [](const auto& c) { return double(c.usage.memory_bytes); });
  for_each("dormouse_guest_memory_limit_bytes", "gauge", "The guest's memory limit.", [](const auto& c) { return double(c.memory_limit_bytes); });
  for_each("dormouse_guest_cpu_seconds_total", "counter", "CPU time of the guest.", [](const auto& c) { return to_seconds(c.usage.cpu); });
  metrics.family("dormouse_guest_wakeups_total", "counter", "Times the guest was resumed from a park, by cause.");
  for (const PodStatus& pod : status.pods) {
    for (const ContainerStatus& container : pod.containers) {
      for (std::size_t i = 0; i < wasi::kWakeCauseKinds; ++i) {
        metrics.sample(fmt::format("{},cause=\"{}\"", labels(pod, container), wasi::to_string(static_cast<wasi::WakeCause::Kind>(i))), double(container.wakes.by_cause[i]));
      }
    }
  }
  for_each("dormouse_guest_idle_wakeups_total", "counter", "Wake-ups after which the guest parked again without having done any I/O.", [](const auto& c) { return double(c.wakes.idle); });
  for_each("dormouse_guest_preemptions_total", "counter", "Slices that ended because the guest ran too long.", [](const auto& c) { return double(c.usage.preemptions); });
  for_each("dormouse_guest_throttled_total", "counter", "Times the guest waited for CPU quota.", [](const auto& c) { return double(c.usage.throttles); });
  for_each("dormouse_guest_last_exit_code", "gauge", "Exit code of the guest's last run; 0 if none has ended.", [](const auto& c) { return c.last_termination ? double(c.last_termination->exit_code) : 0.0; });
  for_each("dormouse_guest_page_outs_total", "counter", "Times the guest left RAM.", [](const auto& c) { return double(c.usage.page_outs); });
  for_each("dormouse_guest_page_outs_failed_total", "counter", "Times the guest was to leave RAM and could not (disk, budget): it stayed.", [](const auto& c) { return double(c.usage.page_outs_failed); });
  for_each("dormouse_guest_paged_out", "gauge", "1 while the guest is out of RAM.", [](const auto& c) { return c.usage.paged_out ? 1.0 : 0.0; });
  for_each("dormouse_guest_resident_bytes", "gauge", "What a page-out would free, more or less; 0 while the guest is out.", [](const auto& c) { return double(c.usage.resident_bytes); });
  for_each("dormouse_guest_paged_bytes", "gauge", "The guest's memory and stack in its page file.", [](const auto& c) { return double(c.usage.paged_bytes); });
  for_each("dormouse_guest_dirty_bytes", "gauge", "What the last page-out had to write.", [](const auto& c) { return double(c.usage.dirty_bytes); });
  for_each("dormouse_guest_offloaded_polls_total", "counter", "Requests that the host made in the guest's stead while it slept.", [](const auto& c) { return double(c.offload.looks); });
  for_each("dormouse_guest_absorbed_wakeups_total", "counter", "Wake-ups that the guest was spared because what it looks at had not changed.", [](const auto& c) { return double(c.offload.absorbed); });
  metrics.family("rest_client_requests_total", "counter", "Requests of the guest's run to the API server that were answered, from the shared cache or by it, by the hundreds of the code.");
  for (const PodStatus& pod : status.pods) {
    for (const ContainerStatus& container : pod.containers) {
      for (std::size_t hundreds = 1; hundreds < std::size(container.api.responses); ++hundreds) {
        if (const auto count = container.api.responses[hundreds]; count > 0) metrics.sample(fmt::format("{},code=\"{}xx\"", labels(pod, container), hundreds), double(count));
      }
    }
  }
  for_each("dormouse_guest_api_watches", "gauge", "Watches that the guest holds open.", [](const auto& c) { return double(c.api.watches_open); });
  for_each("dormouse_guest_api_forbidden_total", "counter", "Requests of the guest's run that the API server answered with 403.", [](const auto& c) { return double(c.api.forbidden); });
  for_each("dormouse_guest_api_received_bytes_total", "counter", "Bytes of the API server's answers that the guest's run has been given.", [](const auto& c) { return double(c.api.bytes_to_guest); });
  metrics.family("dormouse_wake_seconds", "histogram", "From what woke a guest to its first instruction, by where its memory was.");
  guest::DurationHistogram ram, page_cache, disk;
  for (const PodStatus& pod : status.pods) {
    for (const ContainerStatus& container : pod.containers) {
      ram.add(container.wakes.from_ram);
      page_cache.add(container.wakes.from_page_cache);
      disk.add(container.wakes.from_disk);
    }
  }
  const auto wake_bound = [](std::size_t i) { return static_cast<double>(guest::DurationHistogram::kBoundsUs[i]) / 1e6; };
  metrics.histogram("from=\"ram\"", ram.counts, wake_bound, to_seconds(ram.sum));
  metrics.histogram("from=\"page_cache\"", page_cache.counts, wake_bound, to_seconds(page_cache.sum));
  metrics.histogram("from=\"disk\"", disk.counts, wake_bound, to_seconds(disk.sum));
  const auto single = [&](std::string_view name, std::string_view type, std::string_view help, double value) {
    metrics.family(name, type, help);
    metrics.sample("", value);
  };
  if (status.memory.budget_bytes != 0) {
    single("dormouse_memory_budget_bytes", "gauge", "Memory that the host may use before guests must leave RAM.", double(status.memory.budget_bytes));
    single("dormouse_memory_used_bytes", "gauge", "Memory in use that the kernel cannot take back, when it was last looked at.", double(status.memory.used_bytes));
    single("dormouse_memory_cache_compressed_bytes_total", "counter", "Bytes freed by compressing cached objects because memory was short.", double(status.memory.compressed_bytes));
    single("dormouse_memory_page_outs_asked_total", "counter", "Guests asked to leave RAM because memory was short.", double(status.memory.asked));
    single("dormouse_memory_pressure_total", "counter", "Times the kernel told of memory pressure (PSI).", double(status.memory.pressure));
  }
  single("dormouse_loop_wakeups_total", "counter", "Returns of the host's loop from waiting in the kernel.", double(status.loop_wakeups));
  single("dormouse_worker_wakeups_total", "counter", "Returns of guest threads from waiting in the kernel.", double(status.workers.worker_wakeups));
  if (status.pages) {
    const auto& pages = *status.pages;
    single("dormouse_page_file_bytes", "gauge", "Of page files on disk.", double(pages.stored_bytes));
    single("dormouse_page_files", "gauge", "Guests that have a page file.", double(pages.files));
    single("dormouse_page_out_written_bytes_total", "counter", "Written by page-outs.", double(pages.written_bytes));
    single("dormouse_page_outs_refused_total", "counter", "Page-outs that the budget of page files had no room for.", double(pages.page_outs_refused));
    single("dormouse_page_in_cold_total", "counter", "Wake-ups of guests whose page file had left the kernel's cache.", double(pages.cold_wakes));
    single("dormouse_page_in_total", "counter", "Wake-ups of guests that were out of RAM.", double(pages.wakes));
    metrics.family("dormouse_page_out_seconds", "histogram", "How long a page-out took, failed ones too.");
    metrics.histogram("", pages.page_out_times, [](std::size_t i) { return to_seconds(paging::PageStore::kPageOutTimeBounds[i]); }, to_seconds(pages.page_out_time));
  }
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
