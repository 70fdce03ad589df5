// SPDX-License-Identifier: Apache-2.0
#pragma once
// The ConfigMaps and Secrets that pods mount or take environment from, followed by the host as a kubelet does.
//
// An object is watched once however many pods want it, from the first follow() to the end of the last.
// Secrets' bytes are held only while somebody follows them.
//
// Ownership: owned by the host; every Follow dies before it. Threads: the loop's.

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/log.h"
#include "base/types.h"
#include "host/environment.h"
#include "kube/upstream.h"

namespace dormouse::host {

class ConfigObjects {
 public:
  struct Key {
    bool secret = false;
    std::string name_space, name;
    auto operator<=>(const Key&) const = default;
  };
  // Ends the wish when it is destroyed.
  class Follow {
   public:
    virtual ~Follow() = default;
    // Whether the server has been asked: before that, a missing object is not yet known to be missing.
    virtual bool known() const = 0;
    // Null if there is no such object. Valid until the next callback.
    virtual const ConfigData* data() const = 0;
    // Why it is not known: "configmaps \"x\" is forbidden: …". Empty if nothing is wrong.
    virtual const std::string& problem() const = 0;
  };
  virtual ~ConfigObjects() = default;
  // `on_change` is called from the loop whenever known(), data() or problem() have changed; never from within follow().
  virtual std::unique_ptr<Follow> follow(Key key, std::function<void()> on_change) = 0;

  static std::unique_ptr<ConfigObjects> create(boost::asio::io_context& loop, const Clock& clock, Log& log, kube::Upstream& upstream);
};

}  // namespace dormouse::host
