// SPDX-License-Identifier: Apache-2.0
#pragma once
// Keeps a copy of all objects of one resource up to date: LIST once, then WATCH from there for ever.
//
//   List ──► Watch ──(stream ends, fails)──► Watch from the last revision, after a back-off if it failed
//     ▲        └──(410 Gone: that revision is forgotten)──┐
//     └───────────────────────────────────────────────────┘
//
// Bookmarks move the revision on, so that a quiet watch need not begin anew. No time-out is set on the watch: a client
// with nothing to do sleeps until the server has something to say.
//
// Ownership: borrows the client; destroying a Reflector ends its watch.
// Invariant: on_change has been called for exactly what find() shows.

#include <functional>
#include <map>
#include <string>

#include "kubepp/backoff.h"
#include "kubepp/client.h"

namespace kubepp {

// Cuts a watch's stream into its lines. Without I/O.
class LineSplitter {
 public:
  static constexpr std::size_t kLineBytesMax = 16 << 20;  // etcd holds no object above 1.5 MiB; encodings add some.
  // Calls `take` for each whole line. False when a line is longer than any event.
  bool feed(std::string_view bytes, const std::function<void(std::string_view)>& take);

 private:
  std::string rest_;
};

class Reflector {
 public:
  struct Options {
    Resource resource;
    std::string ns = {};  // "" for all.
    std::string label_selector = {};
    std::string field_selector = {};
  };
  // `before` is null for a new object, `after` for one that is gone. Called from the loop; must not block.
  using OnChange = std::function<void(const ObjectKey& key, const Object& before, const Object& after)>;

  Reflector(Client& client, Options options, OnChange on_change);
  Reflector(const Reflector&) = delete;
  Reflector& operator=(const Reflector&) = delete;

  void start();
  // Set after the first complete list.
  Event& synced() { return synced_; }
  // Null if there is none.
  Object find(const ObjectKey& key) const;
  const std::map<ObjectKey, Object>& objects() const { return objects_; }
  const Options& options() const { return options_; }

 private:
  Task<> run();
  Task<Result<void>> list();
  Task<Result<void>> watch();
  // One line of a watch. Errors: what the server's ERROR event said.
  Result<void> take_event(std::string_view line);
  void put(Json object);
  void drop(const ObjectKey& key);
  HttpRequest request(std::string query) const;

  Client& client_;
  const Options options_;
  const OnChange on_change_;
  std::map<ObjectKey, Object> objects_;
  std::string revision_;  // Of the last thing seen; "" before the first list and after 410.
  Event synced_;
  bool gone_before_ = false;
  Backoff backoff_{std::chrono::milliseconds(800), std::chrono::seconds(30)};
  Task<> running_;
};

}  // namespace kubepp
