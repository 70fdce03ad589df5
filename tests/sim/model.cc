// SPDX-License-Identifier: Apache-2.0
#include "model.h"

#include <algorithm>

#include <fmt/format.h>

#include "watchcache/protobuf.h"

namespace dormouse::sim {

const std::array<Class, 12> kClasses = {{
    {"", "", "", [](auto, auto, int) { return true; }},
    {"", "app=a1", "", [](auto, auto, int app) { return app == 1; }},
    {"", "app in (a1,a2)", "", [](auto, auto, int app) { return app == 1 || app == 2; }},
    {"", "app!=a0", "", [](auto, auto, int app) { return app != 0; }},
    {"n", "", "", [](std::string_view ns, auto, int) { return ns == "n"; }},
    {"n", "app=a2", "", [](std::string_view ns, auto, int app) { return ns == "n" && app == 2; }},
    {"", "", "metadata.name=p3", [](auto, std::string_view name, int) { return name == "p3"; }},
    {"m", "", "metadata.name=p1", [](std::string_view ns, std::string_view name, int) { return ns == "m" && name == "p1"; }},
    {"", "", "metadata.namespace!=n", [](std::string_view ns, auto, int) { return ns != "n"; }},
    {"", "even", "", [](auto, auto, int app) { return app % 2 == 0; }},
    {"", "!even,app notin (a1)", "", [](auto, auto, int app) { return app == 3; }},
    {"n-1", "nobody", "", [](auto, auto, int) { return false; }},
}};

Model::Model(std::size_t keys, Encoding encoding, int upstream_app) : encoding_(encoding), upstream_app_(upstream_app) {
  static constexpr std::string_view kNamespaces[] = {"n", "n-1", "m"};
  for (std::size_t i = 0; i < keys; ++i) {
    const std::string namespace_name(kNamespaces[i % 3]), name = fmt::format("p{}", i / 3);
    keys_.push_back({namespace_name + "/" + name, namespace_name, name, {}});
  }
  std::ranges::sort(keys_, {}, &Key::text);
  writes_.push_back(-1);
  for (auto& sums : sums_) sums.push_back(0);
}

std::optional<std::size_t> Model::find(std::string_view namespace_name, std::string_view name) const {
  const std::string text = fmt::format("{}/{}", namespace_name, name);
  const auto found = std::ranges::lower_bound(keys_, text, {}, &Key::text);
  if (found == keys_.end() || found->text != text) return std::nullopt;
  return static_cast<std::size_t>(found - keys_.begin());
}

State Model::at(std::size_t i, Revision revision) const {
  const auto after = std::ranges::upper_bound(keys_[i].states, revision, {}, &State::revision);
  return after == keys_[i].states.begin() ? State{} : *(after - 1);
}

std::optional<std::size_t> Model::changed(Revision revision) const {
  if (revision >= writes_.size() || writes_[revision] < 0) return std::nullopt;
  return static_cast<std::size_t>(writes_[revision]);
}

void Model::write(std::optional<std::size_t> i) {
  writes_.push_back(i ? static_cast<std::int32_t>(*i) : -1);
  const Revision now = revision();
  for (std::size_t c = 0; c < kClasses.size(); ++c) {
    std::uint64_t sum = sums_[c].back();
    if (i) {
      const State before = at(*i, now - 1), after = at(*i, now);
      if (in_class(c, *i, before)) sum -= term(*i, before.revision);
      if (in_class(c, *i, after)) sum += term(*i, after.revision);
    }
    sums_[c].push_back(sum);
  }
}

void Model::put(std::size_t i, int app) {
  const State before = at(i, revision());
  keys_[i].states.push_back({revision() + 1, before.exists ? before.uid : ++uids_, static_cast<std::uint8_t>(app), true});
  write(i);
}

void Model::remove(std::size_t i) {
  State state = at(i, revision());
  if (!state.exists) return;
  state.revision = revision() + 1;
  state.exists = false;
  keys_[i].states.push_back(state);
  write(i);
}

void Model::write_elsewhere() { write(std::nullopt); }

void Model::restore(Revision to) {
  writes_.resize(to + 1);
  for (auto& sums : sums_) sums.resize(to + 1);
  for (Key& key : keys_) {
    while (!key.states.empty() && key.states.back().revision > to) key.states.pop_back();
  }
}

std::string Model::text(std::size_t i, const State& state, bool managed_fields) const {
  const Key& key = keys_[i];
  if (encoding_ == Encoding::Json) {
    return fmt::format(R"({{"kind":"Pod","apiVersion":"v1","metadata":{{"name":"{}","namespace":"{}","uid":"u{}","resourceVersion":"{}","labels":{{"app":"a{}"{}}}{}}},"spec":{{"x":{}}}}})", key.name,
                       key.namespace_name, state.uid, state.revision, state.app, state.app % 2 == 0 ? R"(,"even":"")" : "", managed_fields ? R"(,"managedFields":[{"manager":"m"}])" : "", state.uid * 7);
  }
  using namespace watchcache;
  std::string meta, pod;
  append_bytes_field(meta, 1, key.name);
  append_bytes_field(meta, 3, key.namespace_name);
  append_bytes_field(meta, 5, fmt::format("u{}", state.uid));
  append_bytes_field(meta, 6, fmt::to_string(state.revision));
  const auto label = [&meta](std::string_view name, std::string_view value) {
    std::string entry;
    append_bytes_field(entry, 1, name);
    append_bytes_field(entry, 2, value);
    append_bytes_field(meta, 11, entry);
  };
  label("app", fmt::format("a{}", state.app));
  if (state.app % 2 == 0) label("even", "");
  if (managed_fields) append_bytes_field(meta, 17, "managed");
  append_bytes_field(pod, 1, meta);
  append_bytes_field(pod, 2, fmt::format("spec{}", state.uid * 7));
  return pod;
}

}  // namespace dormouse::sim
