// SPDX-License-Identifier: Apache-2.0
#include "host/wakes_view.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <boost/json.hpp>
#include <cmath>

#include "host/host_answer.h"
#include "host/text_table.h"

namespace dormouse::host {
namespace {

namespace json = boost::json;
using Kind = wasi::WakeCause::Kind;

std::string duration(double seconds) {
  if (seconds < 1e-3) return fmt::format("{:.0f}us", seconds * 1e6);
  if (seconds < 1) return fmt::format("{:.1f}ms", seconds * 1e3);
  if (seconds < 120) return fmt::format("{:.1f}s", seconds);
  if (seconds < 7200) return fmt::format("{:.0f}m", seconds / 60);
  return fmt::format("{:.0f}h", seconds / 3600);
}

std::string moment(double since_1970) {
  const std::int64_t milliseconds = std::llround(since_1970 * 1000);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(static_cast<std::time_t>(milliseconds / 1000)), milliseconds % 1000);
}

json::object to_json(const guest::WakeLog::Wake& wake) {
  return {{"at", to_seconds(wake.at)}, {"cause", wasi::to_string(wake.cause.kind)}, {"what", wake.cause.what ? *wake.cause.what : std::string()}, {"room", wake.cause.room},
          {"text", cause_text(wake.cause)}, {"awakeSeconds", to_seconds(wake.awake)}, {"cpuSeconds", to_seconds(wake.cpu)}, {"active", wake.active}, {"pagedOut", wake.was_paged_out}, {"over", wake.over}};
}

}  // namespace

std::string cause_text(const wasi::WakeCause& cause) {
  std::string text;
  switch (cause.kind) {
    case Kind::Timer: return "timer";
    case Kind::Signal: return "signal";
    case Kind::Watch: text = cause.what ? *cause.what : "watch"; break;
    case Kind::Answer: text = cause.what ? "answer to " + *cause.what : "connection to the Kubernetes API"; break;
    case Kind::Egress: text = cause.what ? *cause.what : "egress"; break;
    case Kind::Inbound: text = cause.what ? "inbound, " + *cause.what : "inbound"; break;
    case Kind::Other: text = "other"; break;
  }
  if (cause.room) text += " (room to write)";
  return text;
}

std::string wakes_json(const PodWakes& wakes, Nanoseconds now) {
  json::array containers;
  for (const ContainerWakes& container : wakes.containers) {
    json::object totals;
    for (std::size_t i = 0; i < wasi::kWakeCauseKinds; ++i) totals[wasi::to_string(static_cast<Kind>(i))] = container.totals.by_cause[i];
    json::array recent;
    for (const auto& wake : container.recent) recent.emplace_back(to_json(wake));
    const json::object offload{{"maxSleepSeconds", to_seconds(container.offload_max_sleep)}, {"looks", container.offload.looks}, {"absorbed", container.offload.absorbed},
                               {"changed", container.offload.changed}, {"failed", container.offload.failed}, {"sleptLongest", container.offload.slept_longest}};
    containers.emplace_back(json::object{{"offload", offload}, {"name", container.name}, {"wakeups", std::move(totals)}, {"idleWakeups", container.totals.idle},
                                         {"timerSlackMaxSeconds", to_seconds(container.timer_slack_max)}, {"recent", std::move(recent)}});
  }
  return json::serialize(json::object{{"now", to_seconds(now)}, {"namespace", wakes.name_space}, {"name", wakes.name}, {"containers", std::move(containers)}});
}

Result<std::string> wakes_table(std::string_view text) {
  return table_of(text, "why", [](const json::value& value) -> Result<std::string> {
    std::string out;
    const double now = value.at("now").to_number<double>();
    for (const json::value& container : value.at("containers").as_array()) {
      std::uint64_t all = 0;
      std::string causes;
      for (const auto& [cause, count] : container.at("wakeups").as_object()) {
        all += count.to_number<std::uint64_t>();
        if (count.to_number<std::uint64_t>() > 0) causes += fmt::format("{}{} {}", causes.empty() ? "" : ", ", std::string_view(cause), count.to_number<std::uint64_t>());
      }
      const double slack = container.at("timerSlackMaxSeconds").to_number<double>();
      if (!out.empty()) out += "\n";
      out += fmt::format("{}/{} {}: woke {} times{}; {} did nothing; timers {}\n", std::string_view(value.at("namespace").as_string()), std::string_view(value.at("name").as_string()),
                         std::string_view(container.at("name").as_string()), all, causes.empty() ? "" : " (" + causes + ")", container.at("idleWakeups").to_number<std::uint64_t>(),
                         slack > 0 ? fmt::format("that do nothing may be {} late", duration(slack)) : "are exact");
      const json::value& offload = container.at("offload");
      if (offload.at("maxSleepSeconds").to_number<double>() > 0) {
        const auto count = [&](const char* key) { return offload.at(key).to_number<std::uint64_t>(); };
        out += fmt::format("looks done for it: {} ({} wake-ups spared); woken for {} changes, {} failures, {} longest sleeps\n", count("looks"), count("absorbed"), count("changed"), count("failed"),
                           count("sleptLongest"));
      }
      std::vector<std::vector<std::string>> rows{{"AT", "AGO", "AWAKE", "CPU", "DID", "FROM", "CAUSE"}};
      const json::array& recent = container.at("recent").as_array();
      for (std::size_t i = recent.size(); i-- > 0;) {
        const json::value& wake = recent[i];
        const bool over = wake.at("over").as_bool();
        const double at = wake.at("at").to_number<double>();
        rows.push_back({moment(at), duration(std::max(0.0, now - at)), over ? duration(wake.at("awakeSeconds").to_number<double>()) : "now", over ? duration(wake.at("cpuSeconds").to_number<double>()) : "-",
                        !over ? "-" : wake.at("active").as_bool() ? "I/O" : "nothing", wake.at("pagedOut").as_bool() ? "disk" : "ram", std::string(wake.at("text").as_string())});
      }
      if (rows.size() > 1) out += text_table(rows);
    }
    return out;
  });
}

}  // namespace dormouse::host
