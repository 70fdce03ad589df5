// SPDX-License-Identifier: Apache-2.0
#include "pods/probe_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace dormouse::pods {
namespace {

constexpr std::uint64_t kSecondsMax = 86'400, kThresholdMax = 1'000'000;

// A number, or the name of one of the container's ports.
std::uint16_t probe_port(Object& action, const std::vector<Port>& ports) {
  const std::string text = action.required_string("port");
  if (text.empty()) return 0;
  unsigned number = 0;
  if (const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number); problem == std::errc() && end == text.data() + text.size()) {
    if (number >= 1 && number <= 65535) return static_cast<std::uint16_t>(number);
    action.error_at("port", fmt::format("{} is not a port: 1 to 65535", text));
    return 0;
  }
  const auto named = std::ranges::find(ports, text, &Port::name);
  if (named != ports.end()) return named->container_port;
  action.error_at("port", fmt::format("\"{}\" is neither a number nor the name of one of the container's ports", text));
  return 0;
}

// "token" of RFC 9110, 5.6.2.
bool is_token(std::string_view name) {
  static constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return !name.empty() && std::ranges::all_of(name, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || kMarks.contains(c); });
}
bool has_controls(std::string_view text) {
  return std::ranges::any_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

void read_http(Object& action, Probe& probe, const std::vector<Port>& ports, std::string& cannot) {
  probe.kind = Probe::Kind::HttpGet;
  probe.port = probe_port(action, ports);
  probe.path = action.string("path", "/");
  if (!probe.path.starts_with('/')) probe.path.insert(0, "/");
  if (has_controls(probe.path) || probe.path.contains(' ')) action.error_at("path", "must not contain spaces or control characters");
  if (const std::string scheme = action.string("scheme", "HTTP"); scheme == "HTTPS") cannot = "with scheme HTTPS";
  else if (scheme != "HTTP") action.error_at("scheme", fmt::format("\"{}\" must be HTTP or HTTPS", scheme));
  action.ignore_with_note("host", "has no effect: a probe goes to the guest itself");
  std::size_t bytes = probe.path.size();
  action.objects("httpHeaders", [&](Object& header) {
    std::string name = header.required_string("name"), value = header.string("value");
    if (!name.empty() && !is_token(name)) header.error_at("name", fmt::format("\"{}\" is not the name of a header", name));
    if (has_controls(value)) header.error_at("value", "must not contain control characters");
    bytes += name.size() + value.size() + 4;
    probe.headers.emplace_back(std::move(name), std::move(value));
  });
  if (bytes > kProbeRequestBytesMax) action.error(fmt::format("{}: path and headers are larger than {} bytes", action.path(), kProbeRequestBytesMax));
}

std::uint32_t number(Object& object, std::string_view field, std::uint64_t max, std::uint32_t fallback) {
  const auto value = object.integer(field, max);
  return value && *value != 0 ? static_cast<std::uint32_t>(*value) : fallback;  // 0 means the default, as in the API.
}

}  // namespace

std::optional<Probe> read_probe(Object& container, std::string_view field, const std::vector<Port>& ports) {
  std::optional<Probe> result;
  std::string cannot;
  container.object(field, [&](Object& object) {
    Probe probe;
    int actions = 0;
    object.object("httpGet", [&](Object& action) { read_http(action, probe, ports, cannot); ++actions; });
    object.object("tcpSocket", [&](Object& action) {
      probe.kind = Probe::Kind::TcpSocket;
      probe.port = probe_port(action, ports);
      action.ignore_with_note("host", "has no effect: a probe goes to the guest itself");
      ++actions;
    });
    object.object("exec", [&](Object& action) { action.ignore({"command"}); cannot = "of kind exec (a guest has no programs to run)"; ++actions; });
    object.object("grpc", [&](Object& action) { action.ignore({"port", "service"}); cannot = "of kind grpc"; ++actions; });
    if (actions != 1) object.error(fmt::format("{} needs exactly one of httpGet, tcpSocket, exec, grpc", object.path()));
    probe.initial_delay_s = number(object, "initialDelaySeconds", kSecondsMax, 0);
    probe.period_s = number(object, "periodSeconds", kSecondsMax, 10);
    probe.timeout_s = number(object, "timeoutSeconds", kSecondsMax, 1);
    probe.failure_threshold = number(object, "failureThreshold", kThresholdMax, 3);
    probe.success_threshold = number(object, "successThreshold", kThresholdMax, 1);
    const bool readiness = field == "readinessProbe";
    if (!readiness && probe.success_threshold != 1) object.error_at("successThreshold", fmt::format("must be 1 for a {}", field));
    if (const auto grace = object.integer("terminationGracePeriodSeconds", kSecondsMax)) {
      if (readiness) object.error_at("terminationGracePeriodSeconds", "has no meaning for a readinessProbe");
      probe.grace_s = static_cast<std::uint32_t>(*grace);
    }
    result = std::move(probe);
  });
  if (cannot.empty()) return result;
  container.ignore_with_note(field, fmt::format("is not called: probes {} are not supported; use httpGet with HTTP, or tcpSocket", cannot));
  return std::nullopt;
}

}  // namespace dormouse::pods
