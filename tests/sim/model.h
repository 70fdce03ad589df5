// SPDX-License-Identifier: Apache-2.0
#pragma once
// The truth that the simulator compares with: every state that a resource of an API server has ever had, at every revision.
//
// Deliberately simple and written apart from src/watchcache/: predicates are plain code, states are found by search, texts
// are made from what they say. A restore from an older etcd snapshot begins another epoch: revisions are given out again.
//
// Ownership: values.
// Threads: one.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "watchcache/cache_key.h"
#include "watchcache/revision.h"

namespace dormouse::sim {

using watchcache::Encoding;
using watchcache::Revision;

// A state of an object. Its text follows from it.
struct State {
  Revision revision = 0;
  std::uint32_t uid = 0;
  std::uint8_t app = 0;
  bool exists = false;
  bool operator==(const State&) const = default;
};

// What readers select, twice: as the API's text, and as plain code.
struct Class {
  std::string_view namespace_name, labels, fields;
  bool (*matches)(std::string_view namespace_name, std::string_view name, int app);
};
extern const std::array<Class, 12> kClasses;

class Model {
 public:
  // `upstream_app`: the cache's own watch selects app=aN; negative: everything.
  Model(std::size_t keys, Encoding encoding, int upstream_app);

  std::size_t keys() const { return keys_.size(); }
  std::string_view key(std::size_t i) const { return keys_[i].text; }  // "namespace/name", in ascending order.
  std::string_view namespace_name(std::size_t i) const { return keys_[i].namespace_name; }
  std::string_view name(std::size_t i) const { return keys_[i].name; }
  std::optional<std::size_t> find(std::string_view namespace_name, std::string_view name) const;

  Revision revision() const { return writes_.size() - 1; }
  // Of the API server: creates, changes or deletes.
  void put(std::size_t i, int app);
  void remove(std::size_t i);
  void write_elsewhere();          // Another resource takes a revision.
  void restore(Revision to);       // Everything above is forgotten.

  State at(std::size_t i, Revision revision) const;
  // Which key this revision changed; unset: none of this resource.
  std::optional<std::size_t> changed(Revision revision) const;
  bool in_upstream(const State& state) const { return state.exists && (upstream_app_ < 0 || state.app == upstream_app_); }
  bool in_class(std::size_t c, std::size_t i, const State& state) const { return in_upstream(state) && kClasses[c].matches(namespace_name(i), name(i), state.app); }
  std::string text(std::size_t i, const State& state, bool managed_fields) const;

  // A sum over (key, revision) of what a class holds at a revision; add or take away one of them.
  std::uint64_t sum(std::size_t c, Revision revision) const { return sums_[c][revision]; }
  static std::uint64_t term(std::size_t i, Revision revision) {
    std::uint64_t x = (revision << 12 | i) * 0x9E3779B97F4A7C15ULL;
    x ^= x >> 29;
    return x * 0xBF58476D1CE4E5B9ULL;
  }

 private:
  struct Key {
    std::string text, namespace_name, name;
    std::vector<State> states;  // Ascending.
  };
  void write(std::optional<std::size_t> i);

  std::vector<Key> keys_;
  const Encoding encoding_;
  const int upstream_app_;
  std::vector<std::int32_t> writes_;  // By revision: the key, or -1.
  std::array<std::vector<std::uint64_t>, 12> sums_;
  std::uint32_t uids_ = 0;
};

}  // namespace dormouse::sim
