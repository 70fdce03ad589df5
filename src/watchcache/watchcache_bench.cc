// SPDX-License-Identifier: Apache-2.0
// What the shared watch cache does in process, on one core: prints one JSON object.
//
//   watchcache_bench [FILE]   FILE: a PodList in JSON (kubectl get --raw /api/v1/pods), whose pods are taken as patterns
//                             for the 10,000; without it, pods are written here (14.5 kB, 36 % managedFields).
//
// A delivery is one event's bytes copied into one subscriber's own buffer of 64 KiB.

#include <malloc.h>

#include <chrono>
#include <fstream>
#include <iostream>
#include <random>
#include <sstream>

#include <fmt/format.h>

#include "watchcache/frames.h"
#include "watchcache/metadata.h"
#include "watchcache/test_support.h"

using namespace dormouse;
using namespace dormouse::watchcache;
using Steady = std::chrono::steady_clock;

namespace {

constexpr std::size_t kPods = 10'000;
constexpr std::size_t kReaders = 100;

// Bytes that the process has from malloc and holds.
std::uint64_t allocated() {
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}
double seconds_since(Steady::time_point start) { return std::chrono::duration<double>(Steady::now() - start).count(); }

std::string random_text(std::mt19937_64& random, std::size_t size) {
  static constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz0123456789";
  std::string text;
  for (std::size_t i = 0; i < size; ++i) text += kLetters[random() % kLetters.size()];
  return text;
}

// About what a Deployment's pod with a few containers looks like: much text that repeats within it, some that is its own.
std::string written_pod(std::size_t i, Revision revision) {
  std::mt19937_64 random(i);
  std::string managed, containers, statuses;
  for (int m = 0; m < 3; ++m) {
    std::string fields;
    for (int f = 0; f < 36; ++f) fields += fmt::format(R"({}"f:field{}":{{".":{{}},"f:name":{{}},"k:{{\"type\":\"t{}\"}}":{{}}}})", f == 0 ? "" : ",", f, f);
    managed += fmt::format(R"({}{{"manager":"manager-{}","operation":"Update","apiVersion":"v1","time":"2026-11-24T10:{:02}:{:02}Z","fieldsType":"FieldsV1","fieldsV1":{{{}}}}})", m == 0 ? "" : ",", m,
                           random() % 60, random() % 60, fields);
  }
  for (int c = 0; c < 4; ++c) {
    std::string env;
    for (int e = 0; e < 18; ++e) env += fmt::format(R"({}{{"name":"SETTING_{}_OF_THIS","value":"value-{}"}})", e == 0 ? "" : ",", e, e % 5 == 0 ? random_text(random, 20) : "usual");
    containers += fmt::format(
        R"({}{{"name":"container-{}","image":"registry.example.com/team/service-{}:v1.{}","env":[{}],"resources":{{"limits":{{"cpu":"500m","memory":"256Mi"}},"requests":{{"cpu":"100m","memory":"128Mi"}}}},"volumeMounts":[{{"name":"kube-api-access-{}","readOnly":true,"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"}}],"terminationMessagePath":"/dev/termination-log","imagePullPolicy":"IfNotPresent"}})",
        c == 0 ? "" : ",", c, c, i % 7, env, random_text(random, 5));
    statuses += fmt::format(
        R"({}{{"name":"container-{}","state":{{"running":{{"startedAt":"2026-11-24T10:{:02}:{:02}Z"}}}},"ready":true,"restartCount":0,"imageID":"registry.example.com/team/service@sha256:{}","containerID":"containerd://{}","started":true}})",
        c == 0 ? "" : ",", c, random() % 60, random() % 60, random_text(random, 64), random_text(random, 64));
  }
  return fmt::format(
      R"({{"kind":"Pod","apiVersion":"v1","metadata":{{"name":"service-{}-{:05}","generateName":"service-","namespace":"team-{}","uid":"{}","resourceVersion":"{}","creationTimestamp":"2026-11-24T10:00:00Z","labels":{{"app":"service-{}","pod-template-hash":"{}","tier":"{}"}},"ownerReferences":[{{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"service-{}","uid":"{}","controller":true}}],"managedFields":[{}]}},"spec":{{"containers":[{}],"restartPolicy":"Always","nodeName":"node-{}"}},"status":{{"phase":"Running","podIP":"10.{}.{}.{}","containerStatuses":[{}]}}}})",
      random_text(random, 5), i, i % 50, random_text(random, 36), revision, i % 200, random_text(random, 9), i % 2 == 0 ? "front" : "back", i % 200, random_text(random, 36), managed, containers, i % 100, i % 250,
      i / 250, i % 200, statuses);
}

struct Pods {
  std::vector<ObjectPtr> patterns;
  std::shared_ptr<ObjectPool> pool = std::make_shared<ObjectPool>(Encoding::Json, false);
  std::string text(std::size_t i, Revision revision) const {
    if (patterns.empty()) return written_pod(i, revision);
    // Another name of the same length as the pattern's, within the same object.
    const Object& pattern = *patterns[i % patterns.size()];
    std::string scratch;
    std::string text(pattern.with_revision(revision)->bytes(scratch));
    const std::size_t at = text.find(fmt::format("\"name\":\"{}\"", pattern.name()));
    if (at != std::string::npos) text.insert(at + 8, fmt::format("p{:05}-", i));
    return text;
  }
};

struct Subscriber final : Watch::Listener {
  std::unique_ptr<Watch> watch;
  std::vector<char> buffer = std::vector<char>(64 * 1024);
  bool ready = false;
  std::vector<Subscriber*>* queue = nullptr;
  void on_watch_pending(Watch&, Watch::Pending) override {
    if (!ready) queue->push_back(this);
    ready = true;
  }
};

std::string deliveries(const std::string& name, std::size_t subscribers, const std::function<std::string(Revision)>& object) {
  ResourceCache cache({.key = testing::pods()});
  cache.learn_type("Pod", "v1");
  cache.replace({}, 1);
  std::vector<Subscriber*> queue;
  std::vector<Subscriber> all(subscribers);
  for (Subscriber& one : all) {
    one.queue = &queue;
    one.watch = cache.watch({.from = 1}, {}, one);
  }
  // Upstream's bytes are read beforehand: here the fan-out is measured. Its own time is measured below.
  constexpr std::size_t kEvents = 1'000;
  const std::size_t rounds = std::clamp<std::size_t>(500'000 / (kEvents * subscribers), 1, 20);
  std::uint64_t delivered = 0, bytes = 0;
  double busy = 0;
  Revision revision = 1;
  for (std::size_t round = 0; round < rounds; ++round) {
    std::vector<ObjectPtr> events;
    for (std::size_t i = 0; i < kEvents; ++i) events.push_back(*Object::create(cache.pool(), object(++revision), "", ""));
    const auto start = Steady::now();
    for (ObjectPtr& one : events) {
      if (!cache.put(std::move(one))) std::abort();
      for (Subscriber* subscriber : queue) {
        subscriber->ready = false;
        while (const std::size_t size = subscriber->watch->read(subscriber->buffer)) bytes += size;
        ++delivered;
      }
      queue.clear();
    }
    busy += seconds_since(start);
  }
  if (delivered != rounds * kEvents * subscribers) std::abort();
  return fmt::format(R"({{"objects":"{}","subscribers":{},"deliveries_per_second":{:.0f},"megabytes_per_second":{:.0f}}})", name, subscribers, static_cast<double>(delivered) / busy,
                     static_cast<double>(bytes) / busy / 1e6);
}

}  // namespace

int main(int argc, char** argv) {
  Pods pods;
  if (argc > 1) {
    std::ifstream file(argv[1]);
    std::stringstream text;
    text << file.rdbuf();
    const std::string body = text.str();
    auto list = ListBody::parse(Encoding::Json, body);
    if (!list) {
      std::cerr << argv[1] << ": " << list.error().message << "\n";
      return 2;
    }
    for (auto item = list->next(); item && *item; item = list->next()) {
      if (auto object = Object::create(pods.pool, **item, "Pod", "v1")) pods.patterns.push_back(std::move(*object));
    }
  }

  std::string fan_out;
  const std::string small(200, 'x');
  for (const std::size_t subscribers : {1, 10, 100, 1000}) {
    fan_out += deliveries("400 B", subscribers, [&](Revision r) { return testing::json_pod("n", "a", r, "", "u", true, small); }) + ",";
    fan_out += deliveries("pod", subscribers, [&](Revision r) { return pods.text(7, r); }) + (subscribers == 1000 ? "" : ",");
  }

  // Reading upstream's events: framing, metadata, storing.
  double read_seconds = 0;
  std::uint64_t read_bytes = 0;
  {
    ResourceCache cache({.key = testing::pods()});
    cache.learn_type("Pod", "v1");
    cache.replace({}, 1);
    std::string stream;
    for (Revision r = 2; r < 2'002; ++r) stream += R"({"type":"MODIFIED","object":)" + pods.text(r % 100, r) + "}\n";
    read_bytes = stream.size();
    WatchDecoder decoder(Encoding::Json);
    const auto start = Steady::now();
    for (std::size_t at = 0; at < stream.size(); at += 16'384) {
      decoder.feed(std::string_view(stream).substr(at, 16'384));
      for (auto event = decoder.next(); event && *event; event = decoder.next()) {
        if (!cache.put(*Object::create(cache.pool(), (*event)->object, "Pod", "v1"))) std::abort();
      }
    }
    read_seconds = seconds_since(start);
  }

  std::uint64_t json_bytes = 0;
  const std::uint64_t before = allocated();
  ResourceCache cache({.key = testing::pods()});
  cache.learn_type("Pod", "v1");
  {
    std::vector<ObjectPtr> objects;
    objects.reserve(kPods);
    for (std::size_t i = 0; i < kPods; ++i) {
      const std::string text = pods.text(i, i + 1);
      json_bytes += text.size();
      auto object = Object::create(cache.pool(), text, "Pod", "v1");
      if (!object) {
        std::cerr << "pod " << i << ": " << object.error().message << "\n";
        return 1;
      }
      objects.push_back(std::move(*object));
    }
    cache.replace(std::move(objects), kPods + 1);
  }
  const std::uint64_t warm = allocated() - before;

  const auto list_start = Steady::now();
  const std::uint64_t before_readers = allocated();
  std::vector<std::unique_ptr<ListStream>> readers;
  std::vector<char> buffer(64 * 1024);
  for (std::size_t i = 0; i < kReaders; ++i) readers.push_back(cache.list({}));
  std::uint64_t most = 0, listed = 0;
  for (bool more = true; more;) {
    more = false;
    for (const auto& reader : readers) {
      const std::size_t size = reader->read(buffer);
      listed += size;
      more = more || size > 0;
    }
    most = std::max(most, allocated() - std::min(allocated(), before_readers));
  }
  const double list_seconds = seconds_since(list_start);
  readers.clear();

  const auto compress_start = Steady::now();
  cache.compress_cold(~0ULL);
  const double compress_seconds = seconds_since(compress_start);
  const std::uint64_t cold = allocated() - before;
  const auto cold_start = Steady::now();
  const auto cold_list = cache.list({});
  while (cold_list->read(buffer) > 0) {}
  const double cold_seconds = seconds_since(cold_start);

  fmt::print(
      R"({{"fan_out":[{}],"upstream_events_per_second":{:.0f},"upstream_megabytes_per_second":{:.0f},"pods":{},"pods_from":"{}","json_bytes":{},"warm_bytes":{},"warm_ratio":{:.3f},"cold_bytes":{},"cold_ratio":{:.3f},"compress_seconds":{:.2f},"list_readers":{},"list_extra_bytes_per_reader":{},"list_seconds_all":{:.2f},"list_megabytes_per_second":{:.0f},"list_seconds_cold":{:.2f}}})"
      "\n",
      fan_out, 2'000 / read_seconds, static_cast<double>(read_bytes) / read_seconds / 1e6, kPods, pods.patterns.empty() ? "written" : "file", json_bytes, warm,
      static_cast<double>(warm) / static_cast<double>(json_bytes), cold, static_cast<double>(cold) / static_cast<double>(json_bytes), compress_seconds, kReaders, most / kReaders, list_seconds,
      static_cast<double>(listed) / list_seconds / 1e6, cold_seconds);
}
