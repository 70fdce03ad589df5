// SPDX-License-Identifier: Apache-2.0
// A guest whose looks are offloaded and its twin whose looks are not come to the same state on the same history, as soon.
//
// The history: objects that others write and delete, rights that come and go, an API server that is away for a while, and
// events that wake the guest. The guest: looks at some objects every so often and writes what it makes of them, with
// conflicts; it may have an idle tick, and a heartbeat behind its looks. Each twin has a server of its own.

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "gateway/answer_digest.h"
#include "gateway/offload_detector.h"

namespace dormouse::gateway {
namespace {

using namespace std::chrono_literals;
using Random = std::mt19937_64;

struct Event {
  enum class Kind { Write, Delete, Revoke, Grant, Down, Up, Wake };
  Nanoseconds at{};
  Kind kind = Kind::Write;
  std::string key, value;
};

class Server {
 public:
  void apply(const Event& event) {
    switch (event.kind) {
      case Event::Kind::Write: put(event.key, event.value); break;
      case Event::Kind::Delete: revision_ += objects_.erase(event.key); break;
      case Event::Kind::Revoke: denied_.insert(event.key); break;
      case Event::Kind::Grant: denied_.erase(event.key); break;
      case Event::Kind::Down: down_ = true; break;
      case Event::Kind::Up: down_ = false; break;
      case Event::Kind::Wake: break;
    }
  }
  struct Reply {
    int status = 200;
    std::string body;
  };
  // "/KEY", or "/" for the list of all that is not a status.
  Reply get(const std::string& target) const {
    if (down_) return {503, "away"};
    const std::string key = target.substr(1);
    if (denied_.contains(key)) return {403, "forbidden"};
    if (key.empty()) {
      std::string items;
      for (const auto& [name, object] : objects_) {
        if (!name.starts_with("status-")) items += (items.empty() ? "" : ",") + json(name, object);
      }
      return {200, fmt::format(R"({{"kind":"List","metadata":{{"resourceVersion":"{}"}},"items":[{}]}})", revision_, items)};
    }
    const auto found = objects_.find(key);
    return found == objects_.end() ? Reply{404, "none"} : Reply{200, json(key, found->second)};
  }
  // False: a conflict, or away.
  bool write(const std::string& key, const std::string& value, std::uint64_t expected_revision) {
    if (down_) return false;
    const auto found = objects_.find(key);
    if ((found == objects_.end() ? 0 : found->second.revision) != expected_revision) return false;
    put(key, value);
    return true;
  }
  bool is_down() const { return down_; }
  std::uint64_t revision_of(const std::string& key) const {
    const auto found = objects_.find(key);
    return found == objects_.end() ? 0 : found->second.revision;
  }
  std::string value_of(const std::string& key) const {
    const auto found = objects_.find(key);
    return found == objects_.end() ? "" : found->second.value;
  }
  std::map<std::string, std::string> values() const {
    std::map<std::string, std::string> values;
    for (const auto& [key, object] : objects_) values[key] = object.value;
    return values;
  }

 private:
  struct Object {
    std::string value;
    std::uint64_t revision = 0;
  };
  void put(const std::string& key, const std::string& value) { objects_[key] = {value, ++revision_}; }
  static std::string json(const std::string& name, const Object& object) {
    return fmt::format(R"({{"metadata":{{"name":"{}","resourceVersion":"{}"}},"data":"{}"}})", name, object.revision, object.value);
  }
  std::map<std::string, Object> objects_;
  std::set<std::string> denied_;
  std::uint64_t revision_ = 0;
  bool down_ = false;
};

struct Shape {
  Nanoseconds period = 5s, tick{}, heartbeat{}, max_sleep = 60s;
  std::vector<std::string> looks;      // Targets.
  bool side_by_side = false;
};

class Guest {
 public:
  Guest(const Shape& shape, Server& server, bool offload, Random::result_type seed) : shape_(shape), server_(server), order_(seed) {
    if (offload) detector_.emplace(shape.max_sleep);
    look_at_ = shape.period;
    tick_at_ = shape.tick;
    heartbeat_at_ = shape.heartbeat;
  }
  // When it, or its host, has something to do.
  Nanoseconds next() const {
    if (detector_ && detector_->offloading()) return std::min(detector_->plan()->next_look, detector_->plan()->until);
    return deadline();
  }
  void advance(Nanoseconds now) {
    if (detector_ && detector_->offloading() && now < detector_->plan()->until) {
      host_looks(now);
      if (detector_->offloading()) return;
    }
    if (detector_ && detector_->deadline(now)) return;
    wake(now, true);
  }
  // Something that has nothing to do with its looks wakes it: it looks after everything at once.
  void event(Nanoseconds now) {
    wake(now, false);
  }
  std::uint64_t own_rounds = 0, host_rounds = 0;
  std::map<std::string, std::string> seen;  // What it last saw of each target: its state.

 private:
  Nanoseconds deadline() const {
    Nanoseconds at = look_at_;
    if (shape_.tick.count() > 0) at = std::min(at, tick_at_);
    if (shape_.heartbeat.count() > 0) at = std::min(at, heartbeat_at_);
    return at;
  }
  static OffloadDetector::Answer digest(const std::string& target, const Server::Reply& reply) {
    AnswerDigest digest(target == "/", reply.status, {{"content-type", "application/json"}});
    digest.add(std::as_bytes(std::span(reply.body)));
    return digest.finish();
  }
  void host_looks(Nanoseconds now) {
    ++host_rounds;
    for (std::size_t i = 0; i < detector_->looks().size(); ++i) {
      const std::string target = detector_->looks()[i].request.target;
      const Server::Reply reply = server_.get(target);
      if (reply.status == 503) return detector_->failed();
      if (!detector_->same(i, digest(target, reply))) return;
    }
    detector_->round_over(now);
  }
  void wake(Nanoseconds now, bool timer) {
    if (detector_) detector_->woke(timer, timer, now);
    bool did = false;
    if (!timer || now >= look_at_) {
      did = true;
      ++own_rounds;
      std::vector<std::string> targets = shape_.looks;
      if (shape_.side_by_side) std::ranges::shuffle(targets, order_);
      for (const std::string& target : targets) look(target);
      look_at_ = now + shape_.period;
    }
    if (shape_.heartbeat.count() > 0 && now >= heartbeat_at_) {
      did = true;
      write("status-heart", "beats");
      heartbeat_at_ = now + shape_.heartbeat;
    }
    if (shape_.tick.count() > 0 && now >= tick_at_) tick_at_ = now + shape_.tick;
    if (detector_) detector_->parked(did, false);
  }
  void look(const std::string& target) {
    const Server::Reply reply = server_.get(target);
    if (detector_) detector_->answered(detector_->request({.method = "GET", .target = target}, true), digest(target, reply));
    if (reply.status == 503) return;  // Next time.
    // What it makes of what it sees: not of revisions, in which the twins' servers differ.
    std::string gist = std::to_string(reply.status);
    for (std::size_t at = 0; (at = reply.body.find("\"data\":\"", at)) != std::string::npos; ++at) gist += reply.body.substr(at, reply.body.find('}', at) - at);
    seen[target] = gist;
    const std::string key = "status-" + (target == "/" ? "all" : target.substr(1));
    if (server_.value_of(key) != gist) write(key, gist);
  }
  void write(const std::string& key, const std::string& value) {
    if (detector_) detector_->answered(detector_->request({.method = "PUT", .target = "/" + key, .has_body = true}, false), {.status = 200});
    server_.write(key, value, server_.revision_of(key));
  }

  const Shape shape_;
  Server& server_;
  Random order_;
  std::optional<OffloadDetector> detector_;
  Nanoseconds look_at_{}, tick_at_{}, heartbeat_at_{};
};

struct State {
  std::map<std::string, std::string> objects, seen;
  bool operator==(const State&) const = default;
};
struct Outcome {
  std::vector<State> calm;             // Whenever nothing but looks had happened for three looks' time, and at the end.
  std::uint64_t own_rounds = 0, host_rounds = 0;
};

Outcome live(const Shape& shape, const std::vector<Event>& history, Nanoseconds end, bool offload, Random::result_type seed) {
  Server server;
  Guest guest(shape, server, offload, seed);
  std::size_t at = 0;
  Outcome outcome;
  const auto calm = [&](bool at_end) {
    State state{server.values(), guest.seen};
    if (!at_end) state.objects.erase("status-heart");  // Late by design.
    outcome.calm.push_back(std::move(state));
  };
  while (true) {
    const Nanoseconds now = std::min(guest.next(), at < history.size() ? history[at].at : end);
    if (now >= end) break;
    if (at < history.size() && history[at].at <= now) {
      if (at > 0 && history[at].at - history[at - 1].at > 3 * shape.period && !server.is_down()) calm(false);
      server.apply(history[at]);
      if (history[at].kind == Event::Kind::Wake) guest.event(now);
      ++at;
    } else {
      guest.advance(now);
    }
  }
  calm(true);
  outcome.own_rounds = guest.own_rounds;
  outcome.host_rounds = guest.host_rounds;
  return outcome;
}

TEST(OffloadTwins, AreInTheSameStateWheneverTheWorldHasBeenCalm) {
  std::uint64_t own = 0, host = 0, plain = 0;
  for (Random::result_type seed = 1; seed <= 1000; ++seed) {
    Random random(seed);
    const auto below = [&](std::uint64_t bound) { return random() % bound; };
    Shape shape;
    shape.period = 100ms * (5 + below(100));
    if (below(3) == 0) shape.tick = 500ms;
    if (below(4) == 0) shape.heartbeat = 1s * (1 + below(60));
    shape.max_sleep = 1s * (1 + below(300));
    shape.side_by_side = below(2) == 0;
    const std::vector<std::string> keys = {"a", "b", "c"};
    for (const std::string& key : keys) {
      if (below(3) > 0) shape.looks.push_back("/" + key);
    }
    if (below(2) == 0 || shape.looks.empty()) shape.looks.push_back("/");

    std::vector<Event> history;
    Nanoseconds at{};
    bool down = false;
    const std::uint64_t events = below(25);
    for (std::uint64_t i = 0; i < events; ++i) {
      at += below(4) == 0 ? 1ms * below(300) : 1s * below(100);
      Event event{.at = at, .kind = static_cast<Event::Kind>(below(7)), .key = keys[below(3)], .value = std::to_string(below(3))};
      if (event.kind == Event::Kind::Revoke && below(5) == 0) event.key = "";
      if (event.kind == Event::Kind::Grant && below(2) == 0) event.key = "";
      if (event.kind == Event::Kind::Down) down = true;
      if (event.kind == Event::Kind::Up) down = false;
      history.push_back(event);
    }
    if (down) history.push_back({.at = at, .kind = Event::Kind::Up});
    // Whatever happened last is noticed after the longest sleep and a look or two, and a heart beats once at least.
    const Nanoseconds end = at + shape.max_sleep + 3 * shape.period + 2 * shape.heartbeat + 10s;
    const Outcome with = live(shape, history, end, true, seed), without = live(shape, history, end, false, seed);
    ASSERT_EQ(with.calm.size(), without.calm.size());
    for (std::size_t i = 0; i < with.calm.size(); ++i) {
      ASSERT_EQ(with.calm[i].objects, without.calm[i].objects) << "seed " << seed << ", calm " << i << " of " << with.calm.size();
      ASSERT_EQ(with.calm[i].seen, without.calm[i].seen) << "seed " << seed << ", calm " << i << " of " << with.calm.size();
    }
    own += with.own_rounds;
    host += with.host_rounds;
    plain += without.own_rounds;
  }
  // And it was worth it: the guest was spared most of its rounds, in a world that is far from quiet.
  EXPECT_LT(own, plain * 2 / 3);
  EXPECT_GT(host, plain / 4);
}

TEST(OffloadTwins, AQuietWorldLeavesAGuestAsleepForAtLeastNineteenLooksOfTwenty) {
  const Shape shape{.period = 5s, .tick = 500ms, .max_sleep = 5min, .looks = {"/a", "/"}};
  const std::vector<Event> history = {{.at = 0s, .kind = Event::Kind::Write, .key = "a", .value = "1"}};
  const Outcome hour = live(shape, history, 1h, true, 1), first = live(shape, history, 5min, true, 1);
  const std::uint64_t own = hour.own_rounds - first.own_rounds, host = hour.host_rounds - first.host_rounds;
  EXPECT_GE(host, 19 * own);
  EXPECT_GE(host + own, 600u);
}

TEST(AnswerDigest, OnlyTheRevisionOfAListItselfDoesNotCount) {
  const auto digest = [](std::string_view body, bool is_list = true, kube::Headers headers = {{"content-type", "application/json"}}, int status = 200, std::size_t piece = 1000) {
    AnswerDigest of(is_list, status, headers);
    for (std::size_t at = 0; at < body.size(); at += piece) of.add(std::as_bytes(std::span(body.substr(at, piece))));
    return of.finish();
  };
  const std::string one = R"({"kind":"PodList","metadata":{"resourceVersion":"1"},"items":[{"metadata":{"name":"a","resourceVersion":"7"}}]})";
  const std::string later = R"({"kind":"PodList","metadata":{"resourceVersion":"23"},"items":[{"metadata":{"name":"a","resourceVersion":"7"}}]})";
  const std::string touched = R"({"kind":"PodList","metadata":{"resourceVersion":"1"},"items":[{"metadata":{"name":"a","resourceVersion":"8"}}]})";
  const std::string more = R"({"kind":"PodList","metadata":{"resourceVersion":"1","continue":"x"},"items":[{"metadata":{"name":"a","resourceVersion":"7"}}]})";
  EXPECT_EQ(digest(one), digest(later));
  EXPECT_NE(digest(one), digest(touched));
  EXPECT_NE(digest(one), digest(more));
  EXPECT_NE(digest(one, false), digest(later, false));
  EXPECT_NE(digest(one, true, {{"content-type", "application/json"}, {"content-encoding", "gzip"}}), digest(later, true, {{"content-type", "application/json"}, {"content-encoding", "gzip"}}));
  EXPECT_NE(digest(one), digest(one, true, {{"content-type", "application/yaml"}}));
  EXPECT_NE(digest(one), digest(one, true, {{"content-type", "application/json"}}, 203));
  // Objects of custom resources come with their keys in order, and a list's metadata behind its items.
  const std::string custom = R"({"apiVersion":"v1","items":[{"metadata":{"resourceVersion":"7"},"spec":{"metadata":{"resourceVersion":"9"}}}],"metadata":{"continue":"","resourceVersion":")";
  EXPECT_EQ(digest(custom + "1\"}}"), digest(custom + "2222\"}}"));
  // However the bytes are cut.
  for (std::size_t piece = 1; piece < 60; ++piece) {
    EXPECT_EQ(digest(later, true, {{"content-type", "application/json"}}, 200, piece), digest(one));
    EXPECT_NE(digest(touched, true, {{"content-type", "application/json"}}, 200, piece), digest(one));
  }
  // What a string holds is no structure.
  EXPECT_NE(digest(R"({"metadata":{"a\"}:{":"resourceVersion","x":1}})"), digest(R"({"metadata":{"a\"}:{":"resourceVersion","x":2}})"));
  EXPECT_NE(digest(R"({"metadata":{"resourceVersion":"a,\"b"},"x":1})"), digest(R"({"metadata":{"resourceVersion":"a,\"b"},"x":2})"));
}

}  // namespace
}  // namespace dormouse::gateway
