// SPDX-License-Identifier: Apache-2.0
#include "watchcache/query.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <map>

#include "base/check.h"

namespace dormouse::watchcache {

namespace {

constexpr std::size_t kParametersMax = 32;

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// As Go's url.QueryUnescape: '+' is a blank.
bool unescape(std::string_view text, std::string& out) {
  out.clear();
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%') {
      if (i + 2 >= text.size()) return false;
      const int high = hex_digit(text[i + 1]), low = hex_digit(text[i + 2]);
      if (high < 0 || low < 0) return false;
      out.push_back(static_cast<char>(high * 16 + low));
      i += 2;
    } else if (text[i] == ';' || text[i] == '#' || static_cast<unsigned char>(text[i]) <= ' ') {
      return false;  // Go drops a pair with a semicolon; the others cannot stand in a request line.
    } else {
      out.push_back(text[i] == '+' ? ' ' : text[i]);
    }
  }
  return out.find('\0') == std::string::npos;
}

// Absent: false. "0" and "false" are false, anything else is true (runtime.Convert_Slice_string_To_bool).
bool truth(std::string_view value) {
  if (value == "0") return false;
  return !(value.size() == 5 && std::ranges::equal(value, std::string_view("false"), [](char a, char b) { return (a | 0x20) == b; }));
}

bool whole_number(std::string_view text, std::uint64_t max, std::uint64_t& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() && number <= max;
}

// "32s", "1m30s": what Go's time.ParseDuration reads, without fractions and signs.
bool is_duration(std::string_view text) {
  if (text == "0") return true;
  bool any = false;
  while (!text.empty()) {
    std::size_t digits = 0;
    while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') ++digits;
    if (digits == 0 || digits > 9) return false;
    text.remove_prefix(digits);
    const std::string_view units[] = {"ms", "us", "ns", "h", "m", "s"};
    const auto unit = std::ranges::find_if(units, [&](std::string_view u) { return text.starts_with(u); });
    if (unit == std::end(units)) return false;
    text.remove_prefix(unit->size());
    any = true;
  }
  return any;
}

}  // namespace

std::string_view to_string(ForwardReason reason) {
  switch (reason) {
    case ForwardReason::None: return "none";
    case ForwardReason::Malformed: return "malformed";
    case ForwardReason::UnknownParameter: return "unknown_parameter";
    case ForwardReason::Exact: return "exact";
    case ForwardReason::Continue: return "continue";
    case ForwardReason::Limit: return "limit";
    case ForwardReason::FieldSelector: return "field_selector";
    case ForwardReason::Pretty: return "pretty";
    case ForwardReason::Probe: return "probe";
  }
  CHECK(false);
}

Query parse_query(bool has_name, std::string_view text) {
  Query query;
  const auto forward = [&query](ForwardReason reason) {
    query.forward = reason;
    return query;
  };
  query.verb = has_name ? Verb::Get : Verb::List;

  std::map<std::string, std::string, std::less<>> parameters;
  while (!text.empty()) {
    const std::size_t end = text.find('&');
    const std::string_view pair = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (pair.empty()) continue;
    const std::size_t equals = pair.find('=');
    std::string key, value;
    if (!unescape(pair.substr(0, equals), key) || !unescape(equals == std::string_view::npos ? "" : pair.substr(equals + 1), value)) return forward(ForwardReason::Malformed);
    if (parameters.size() == kParametersMax || !parameters.emplace(std::move(key), std::move(value)).second) return forward(ForwardReason::Malformed);
  }
  const auto take = [&parameters](std::string_view key) -> std::optional<std::string> {
    const auto found = parameters.find(key);
    if (found == parameters.end()) return std::nullopt;
    std::string value = std::move(found->second);
    parameters.erase(found);
    return value;
  };

  if (const auto pretty = take("pretty"); pretty && truth(*pretty)) return forward(ForwardReason::Pretty);
  if (const auto timeout = take("timeout"); timeout && !is_duration(*timeout)) return forward(ForwardReason::Malformed);
  const std::string version = take("resourceVersion").value_or("");
  if (version == "0") {
    query.from = Query::From::Any;
  } else if (!version.empty()) {
    const auto revision = parse_revision(version);
    if (!revision) return forward(ForwardReason::Malformed);
    query.from = Query::From::Revision;
    query.revision = *revision;
  }
  if (has_name) return parameters.empty() ? query : forward(ForwardReason::UnknownParameter);

  if (const auto watch = take("watch"); watch && truth(*watch)) query.verb = Verb::Watch;
  const bool watching = query.verb == Verb::Watch;
  const std::string match = take("resourceVersionMatch").value_or("");
  if (!take("continue").value_or("").empty()) return forward(ForwardReason::Continue);
  if (const auto limit = take("limit"); limit && !whole_number(*limit, std::numeric_limits<std::int64_t>::max(), query.limit)) return forward(ForwardReason::Malformed);
  const auto initial = take("sendInitialEvents");
  const auto bookmarks = take("allowWatchBookmarks");
  query.bookmarks = watching && bookmarks && truth(*bookmarks);
  if (const auto timeout = take("timeoutSeconds")) {
    std::uint64_t seconds = 0;
    if (!whole_number(*timeout, std::numeric_limits<std::uint32_t>::max(), seconds)) return forward(ForwardReason::Malformed);
    query.timeout_seconds = static_cast<std::uint32_t>(seconds);
  }
  auto labels = LabelSelector::parse(take("labelSelector").value_or(""));
  if (!labels) return forward(ForwardReason::Malformed);
  query.labels = std::move(*labels);
  auto fields = FieldSelector::parse(take("fieldSelector").value_or(""));
  if (!fields) return forward(fields.error().code == ErrorCode::Unsupported ? ForwardReason::FieldSelector : ForwardReason::Malformed);
  query.fields = std::move(*fields);
  if (!parameters.empty()) return forward(ForwardReason::UnknownParameter);

  if (!match.empty() && match != "NotOlderThan" && match != "Exact") return forward(ForwardReason::Malformed);
  if (!watching) {
    if (initial || (!match.empty() && query.from == Query::From::Unset)) return forward(ForwardReason::Malformed);
    // A limit with a revision and no match means exactly that revision, for historical reasons.
    if (match == "Exact" || (match.empty() && query.limit > 0 && query.from == Query::From::Revision)) return forward(ForwardReason::Exact);
    return query;
  }
  if (initial.has_value() != !match.empty() || match == "Exact") return forward(ForwardReason::Malformed);
  // Without sendInitialEvents an unset revision and "0" mean: first the state (internalversion's SetListOptionsDefaults).
  query.initial_events = initial ? truth(*initial) : query.from != Query::From::Revision;
  return query;
}

CacheAnswer decide(const Query& query, std::optional<Revision> server_revision) {
  using Kind = CacheAnswer::Kind;
  if (query.forward != ForwardReason::None) return {.kind = Kind::Forward, .reason = query.forward};
  CacheAnswer answer{.kind = Kind::Serve};
  if (query.from == Query::From::Unset) {
    if (!server_revision) return {.kind = Kind::Probe};
    answer.revision = *server_revision;
    answer.consistent = query.verb != Verb::Watch;
  } else if (query.from == Query::From::Revision) {
    answer.revision = query.revision;
  }
  if (query.verb == Verb::Watch && !query.initial_events) {
    // Events from there on: nothing to wait for.
    if (query.from != Query::From::Any) answer.watch_from = answer.revision;
    answer.revision = 0;
  }
  return answer;
}

}  // namespace dormouse::watchcache
