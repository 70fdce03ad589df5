// SPDX-License-Identifier: Apache-2.0
#include "sim.h"

#include <algorithm>

#include <fmt/format.h>

#include "subscriber.h"

namespace dormouse::sim {

using namespace watchcache;
using namespace std::chrono_literals;

namespace {

class Run {
 public:
  explicit Run(const Config& config)
      : config_(config),
        random_(config.seed),
        // Each seed has its own half of the faults, so that some runs are almost calm.
        faults_(config.faults & (static_cast<std::uint32_t>(random_()) | static_cast<std::uint32_t>(random_()))),
        encoding_(random_() % 3 == 0 ? Encoding::Protobuf : Encoding::Json),
        upstream_app_(random_() % 4 == 0 ? 1 : -1),
        // Now and then so many that the store splits its chunks.
        model_(config.seed % 16 == 0 ? config.keys * 8 : config.keys, encoding_, upstream_app_),
        server_(model_, random_, faults_, encoding_),
        cache_(cache_options()),
        reflector_({.seed = random_(), .page_items = 2 + static_cast<std::uint32_t>(random_() % 20)}, cache_) {
    for (std::size_t i = 0; i < config.subscribers; ++i) subscribers_.push_back(std::make_unique<Subscriber>(world_, subscribers_, i));
    for (std::size_t i = 0; i < model_.keys() + 10; ++i) write();
    reflector_.start(world_.now);
  }
  ~Run() {
    waits_.clear();
    lists_.clear();
    for (auto& subscriber : subscribers_) subscriber->stop();
  }

  Totals go() {
    // Many objects take longer to compare: fewer steps then.
    const std::uint64_t steps = config_.seed % 16 == 0 ? config_.steps / 4 : config_.steps;
    for (std::uint64_t step = 0; step < steps; ++step) {
      ++totals_.steps;
      try {
        one_step();
      } catch (const Violation& violation) {
        throw Violation(fmt::format("step {}: {}", step, violation.what()));
      }
    }
    calm_down();
    const auto counters = cache_.counters();
    totals_.runs = 1;
    totals_.relists = counters.replaces;
    totals_.resets = counters.resets;
    totals_.reflector_failures = reflector_.counters().failures;
    return totals_;
  }

 private:
  ResourceCache::Options cache_options() {
    CacheKey key{.group = "", .version = "v1", .resource = "pods", .encoding = encoding_};
    if (upstream_app_ >= 0) key.label_selector = fmt::format("app=a{}", upstream_app_);
    ResourceCache::Options options{.key = key, .zero_on_free = random_() % 4 == 0, .seed = random_()};
    options.log_events_max = world_.log_events_max = 2 + random_() % 100;
    options.log_bytes_max = (faults_ & kBytes) != 0 ? 2'000 + random_() % 30'000 : ~0ULL;
    return options;
  }
  bool has(Fault fault) const { return (faults_ & fault) != 0; }

  void write() {
    ++totals_.writes;
    const std::size_t key = random_() % model_.keys();
    switch (random_() % 8) {
      case 0: return model_.write_elsewhere();
      case 1: case 2: return model_.remove(key);
      default: return model_.put(key, static_cast<int>(random_() % 4));
    }
  }

  void actions() {
    while (const auto action = reflector_.take_action()) server_.perform(*action);
  }

  void advance(Nanoseconds by) {
    world_.now += by;
    for (int i = 0; reflector_.deadline() && *reflector_.deadline() <= world_.now; ++i) {
      if (i > 100) throw Violation("the reflector's deadline does not move");
      reflector_.on_timer(world_.now);
      actions();
    }
    for (int i = 0; cache_.deadline() && *cache_.deadline() <= world_.now; ++i) {
      if (i > 100) throw Violation("the cache's deadline does not move");
      cache_.on_timer(world_.now);
    }
  }

  void one_step() {
    if (!world_.suspect && world_.chance(2)) write();
    server_.pump(reflector_, world_.now);
    actions();
    world_.refresh();
    if (world_.suspect && (cache_.counters().resets != resets_before_restore_ || !cache_.ready())) world_.suspect = false;

    Nanoseconds by = std::chrono::milliseconds(random_() % 200);
    if (world_.chance(200)) by = std::chrono::milliseconds(random_() % 60'000);
    if (has(kClock) && world_.chance(3'000)) by = std::chrono::minutes(random_() % 60);
    if (by > 60s) world_.last_jump = world_.now + by;
    advance(by);
    faults();
    for (const auto& subscriber : subscribers_) subscriber->step();
    subscribers_[random_() % subscribers_.size()]->check_idle();
    if (!world_.suspect && cache_.ready()) other_readers();
  }

  void faults() {
    if (has(kExpire) && world_.chance(1'000)) server_.compact();
    if (has(kRights) && world_.chance(2'000)) {
      reflector_.credentials_changed(world_.now);
      actions();
    }
    if (has(kGone) && world_.chance(4'000) && !world_.suspect) {
      server_.set_gone(true);
      for (std::size_t i = 0; i < model_.keys(); ++i) model_.remove(i);
      gone_until_ = world_.now + std::chrono::seconds(random_() % 90);
    }
    if (gone_until_ && world_.now >= *gone_until_) {
      server_.set_gone(false);
      gone_until_.reset();
    }
    if (has(kRestore) && world_.chance(3'000) && !world_.suspect && model_.revision() > 60) restore();
    if (world_.chance(500) && cache_.ready()) {
      reflector_.observed(model_.revision(), cache_.revision(), world_.now);
      actions();
      world_.refresh();
      if (world_.suspect && cache_.counters().resets != resets_before_restore_) world_.suspect = false;
    }
    if (has(kCompress) && world_.chance(200)) cache_.compress_cold(1 + random_() % 20'000);
  }

  void restore() {
    ++totals_.restores;
    world_.refresh();
    server_.restart(model_.revision() - random_() % 40);
    world_.gaps.clear();
    resets_before_restore_ = cache_.counters().resets;
    world_.suspect = cache_.ready() && cache_.revision() > model_.revision();
    lists_.clear();
    for (const auto& subscriber : subscribers_) {
      // It may have begun at a revision that is no more, and hold what is no more.
      if (!world_.suspect) subscriber->stop();
      subscriber->forget();
    }
  }

  // GETs, slow LISTs, and waits for a revision.
  void other_readers() {
    if (world_.chance(20)) {
      const std::size_t key = random_() % model_.keys();
      const State state = model_.at(key, cache_.revision());
      const ObjectPtr object = cache_.find(model_.namespace_name(key), model_.name(key));
      if ((object != nullptr) != model_.in_upstream(state)) throw Violation(fmt::format("GET of {} at {} finds what is not there, or nothing", model_.key(key), cache_.revision()));
      std::string scratch;
      if (object != nullptr && object->bytes(scratch) != model_.text(key, state, true)) throw Violation("GET yields other bytes");
    }
    if (lists_.size() < 3 && world_.chance(100)) {
      List list{random_() % kClasses.size(), nullptr, {}, 0};
      const Class& one = kClasses[list.which];
      list.stream = cache_.list({.selection = {.namespace_name = std::string(one.namespace_name), .labels = *LabelSelector::parse(one.labels), .fields = *FieldSelector::parse(one.fields)}});
      list.size = list.stream->size();
      lists_.push_back(std::move(list));
    }
    for (List& list : lists_) {
      if (!world_.chance(4)) continue;
      char piece[700];
      list.body.append(piece, list.stream->read(std::span(piece, 1 + random_() % sizeof piece)));
      if (list.stream->over()) check_list(list);
    }
    std::erase_if(lists_, [](const List& list) { return list.stream == nullptr; });
    if (waits_.size() < 4 && world_.chance(100)) {
      const Revision revision = cache_.revision() + 1 + random_() % 10;
      const Nanoseconds until = world_.now + 3s;
      const std::uint64_t resets = cache_.counters().resets;
      waits_.push_back(cache_.wait_for(revision, until, [this, revision, until, resets](bool fresh) {
        if (fresh && (!cache_.ready() || cache_.revision() < revision)) throw Violation("a wait ends before its revision");
        if (!fresh && world_.now < until && cache_.counters().resets == resets) throw Violation("a wait ends before its time");
      }));
    }
    if (waits_.size() == 4) waits_.erase(waits_.begin() + static_cast<std::ptrdiff_t>(random_() % 4));
  }

  struct List {
    std::size_t which;
    std::unique_ptr<ListStream> stream;
    std::string body;
    std::uint64_t size;
  };
  void check_list(List& list) {
    ++totals_.lists;
    if (list.body.size() != list.size) throw Violation("a list is not as long as it said");
    auto parsed = ListBody::parse(encoding_, list.body);
    if (!parsed || parsed->revision != list.stream->revision()) throw Violation("a list is malformed");
    for (std::size_t i = 0; i < model_.keys(); ++i) {
      const State state = model_.at(i, parsed->revision);
      if (!model_.in_class(list.which, i, state)) continue;
      const auto item = parsed->next();
      std::string text = model_.text(i, state, true);
      if (encoding_ == Encoding::Json) text.erase(1, std::string_view(R"("kind":"Pod","apiVersion":"v1",)").size());
      if (!item || !*item || **item != text) throw Violation(fmt::format("a list at {} lacks {} or has it otherwise", parsed->revision, model_.key(i)));
    }
    if (const auto more = parsed->next(); !more || *more) throw Violation("a list has more than there is");
    list.stream.reset();
  }

  // Without faults, the cache must come to be what the server is, and every reader with it.
  void calm_down() {
    server_.set_gone(false);
    server_.set_faults(faults_ & kOldServer);
    world_.faults = faults_ & kBytes;
    faults_ = 0;
    model_.write_elsewhere();
    const Nanoseconds end = world_.now + 20min;
    while (reflector_.state() != Reflector::State::Watching || !cache_.ready() || cache_.revision() != model_.revision()) {
      if (world_.now > end) throw Violation(fmt::format("after 20 calm minutes the cache is at {} and the server at {}: {}", cache_.revision(), model_.revision(), reflector_.last_error()));
      server_.pump(reflector_, world_.now);
      actions();
      world_.refresh();
      advance(100ms);
    }
    world_.suspect = false;
    for (const auto& subscriber : subscribers_) {
      subscriber->step();
      subscriber->read_all();
      subscriber->check_idle();
    }
  }

  const Config config_;
  std::mt19937_64 random_;
  std::uint32_t faults_;
  const Encoding encoding_;
  const int upstream_app_;
  Totals totals_;
  Model model_;
  Server server_;
  World world_{.model = model_, .server = server_, .cache = cache_, .random = random_, .totals = totals_, .faults = faults_, .encoding = encoding_, .now = 1000s};
  ResourceCache cache_;
  Reflector reflector_;
  std::vector<std::unique_ptr<Subscriber>> subscribers_;
  std::vector<List> lists_;
  std::vector<std::unique_ptr<ResourceCache::Wait>> waits_;
  std::optional<Nanoseconds> gone_until_;
  std::uint64_t resets_before_restore_ = 0;
};

}  // namespace

void Totals::add(const Totals& other) {
  runs += other.runs;
  steps += other.steps;
  writes += other.writes;
  events += other.events;
  bookmarks += other.bookmarks;
  expired += other.expired;
  lists += other.lists;
  streams += other.streams;
  relists += other.relists;
  resets += other.resets;
  restores += other.restores;
  reflector_failures += other.reflector_failures;
}

Totals run(const Config& config) { return Run(config).go(); }

}  // namespace dormouse::sim
