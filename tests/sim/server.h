// SPDX-License-Identifier: Apache-2.0
#pragma once
// The API server as the reflector sees it: one connection at a time, answered from the model, with the faults of real ones.
//
// Ownership: owned by a run; borrows the model and the source of randomness.
// Threads: one.

#include <cstdint>
#include <optional>
#include <random>
#include <string>

#include "model.h"
#include "watchcache/reflector.h"

namespace dormouse::sim {

// Each is a bit of a mask, so that a failing run can be tried without.
enum Fault : std::uint32_t {
  kDrop = 1 << 0,        // The connection breaks, at any byte.
  kDelay = 1 << 1,       // Bytes come late and in pieces.
  kDuplicate = 1 << 2,   // A proxy repeats part of a stream.
  kExpire = 1 << 3,      // etcd is compacted: 410.
  kStale = 1 << 4,       // A replica that lags, and a list from one (time travel).
  kRefuse = 1 << 5,      // 429, 500, 503, 403.
  kRestore = 1 << 6,     // The server comes back from an older snapshot.
  kClock = 1 << 7,       // The clock jumps.
  kSlow = 1 << 8,        // Readers that are slow or vanish.
  kGone = 1 << 9,        // The resource is deleted and created again (a CRD).
  kOldServer = 1 << 10,  // It knows no WatchList.
  kGarbage = 1 << 11,    // Bytes that are no event.
  kRights = 1 << 12,     // Readers and the reflector lose their rights.
  kCompress = 1 << 13,   // Cold objects are compressed.
  kBytes = 1 << 14,      // The log is bounded by bytes too.
};
inline constexpr std::uint32_t kAllFaults = (1 << 15) - 1;

class Server {
 public:
  Server(Model& model, std::mt19937_64& random, std::uint32_t faults, Encoding encoding);

  void perform(const watchcache::Reflector::Action& action);
  // Gives the reflector what is due: at most one piece.
  void pump(watchcache::Reflector& reflector, Nanoseconds now);
  void compact() { compacted_ = model_.revision(); }
  void restart(Revision restored_to);  // Every connection breaks.
  void set_gone(bool gone);
  bool open() const { return kind_ != Kind::None; }
  // Faults happen from now on, or no more.
  void set_faults(std::uint32_t faults) { faults_ = faults; }
  // Whether the server has told this revision: in an event, a list or a bookmark.
  bool told(Revision revision) const { return revision < told_.size() && told_[revision]; }
  // Between the last compaction and now somebody might be told 410.
  std::uint64_t breaks() const { return breaks_; }

 private:
  enum class Kind : std::uint8_t { None, WatchList, Watch, List };
  bool chance(unsigned one_in) { return random_() % one_in == 0; }
  bool has(Fault fault) const { return (faults_ & fault) != 0; }
  void tell(Revision revision);
  void answer();
  void produce();
  void event(std::string_view type, std::string_view object);
  void bookmark(Revision revision, bool end);
  void error(int code, std::string_view reason);
  std::string enveloped(std::string_view kind, std::string_view message) const;

  Model& model_;
  std::mt19937_64& random_;
  std::uint32_t faults_;
  const Encoding encoding_;
  Revision compacted_ = 0;
  bool gone_ = false, broken_ = false;
  std::uint64_t breaks_ = 0;
  std::vector<bool> told_;

  Kind kind_ = Kind::None;
  std::string target_;
  bool answered_ = false, ends_ = false;
  int status_ = 200;
  std::string out_, last_event_;
  std::size_t out_at_ = 0;
  Revision at_ = 0, lag_ = 0;
  std::optional<std::size_t> page_from_;
  Revision page_revision_ = 0;
};

}  // namespace dormouse::sim
