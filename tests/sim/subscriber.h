// SPDX-License-Identifier: Apache-2.0
#pragma once
// A reader of the cache as an informer is one, and the oracle that watches over it.
//
// Ownership: owned by a run; borrows its World.
// Threads: one.

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "model.h"
#include "server.h"
#include "sim.h"
#include "watchcache/frames.h"
#include "watchcache/resource_cache.h"

namespace dormouse::sim {

// What readers and the run share.
struct World {
  Model& model;
  Server& server;
  watchcache::ResourceCache& cache;
  std::mt19937_64& random;
  Totals& totals;
  std::uint32_t faults = 0;
  Encoding encoding = Encoding::Json;
  std::size_t log_events_max = 0;
  Nanoseconds now{}, last_jump{};
  bool suspect = false;  // The server was restored below the cache's revision, and the cache cannot know it yet.

  // Revisions that the cache has learned by lists alone: within (from, to) states in between may be missing.
  struct Gap { Revision from, to; };
  std::vector<Gap> gaps;
  Revision floor = 0;           // Of the last list,
  std::uint64_t floor_of = 0;   // which was this one.
  std::uint64_t replaces = 0, resets = 0;
  Revision last_revision = 0;
  // Notes what the reflector has done to the cache; to be called before anything is judged.
  void refresh();
  bool in_gap(Revision revision) const;
  bool chance(unsigned one_in) const { return random() % one_in == 0; }
  bool has(Fault fault) const { return (faults & fault) != 0; }
};

class Subscriber final : public watchcache::Watch::Listener {
 public:
  Subscriber(World& world, std::vector<std::unique_ptr<Subscriber>>& others, std::size_t index);

  void step();
  // Judges without reading: who has been told of nothing must miss nothing.
  void check_idle() const;
  // Reads all there is. False: it has no stream.
  bool read_all();
  void stop() { watch_.reset(); }
  // The server's history has been replaced: whatever this reader holds is of another world, and its stream must end.
  void forget();
  bool forgotten() const { return forgotten_; }
  bool open() const { return watch_ != nullptr; }

 private:
  enum class Mode : std::uint8_t { Initial, Live };
  void on_watch_pending(watchcache::Watch& watch, watchcache::Watch::Pending pending) override;
  void start();
  void list();
  void read(std::size_t bytes_max);
  void on_event(const watchcache::WatchEvent& event);
  void on_error(const watchcache::WatchEvent& event);
  void on_over();
  void set(std::size_t key, const State& state);
  void live(Revision revision);
  void check_sum(Revision revision, std::string_view where) const;
  void check_caught_up() const;
  [[noreturn]] void violated(std::string_view what) const;
  std::uint64_t events_after(Revision from) const;
  watchcache::Selection selection() const;

  World& world_;
  std::vector<std::unique_ptr<Subscriber>>& others_;
  const std::size_t index_, class_;
  const bool slow_, prune_;
  std::unique_ptr<watchcache::Watch> watch_;
  watchcache::WatchDecoder decoder_;
  bool told_ = false, bookmarks_ = false, forgotten_ = false, have_view_ = false, reading_ = false;
  Mode mode_ = Mode::Live;
  std::vector<State> view_;
  std::uint64_t sum_ = 0;
  Revision position_ = 0, from_ = 0;
  std::size_t next_key_ = 0;  // With Initial: the lowest that may come.
  Nanoseconds started_{}, timeout_{}, last_bookmark_{};
  std::uint64_t replaces_at_start_ = 0, resets_at_start_ = 0;
};

}  // namespace dormouse::sim
