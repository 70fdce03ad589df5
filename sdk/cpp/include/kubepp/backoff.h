// SPDX-License-Identifier: Apache-2.0
#pragma once
// Exponential back-off with jitter: the time before the next attempt, longer each time until reset.

#include "kubepp/loop.h"

namespace kubepp {

class Backoff {
 public:
  Backoff(Duration first, Duration longest) : first_(first), longest_(longest), next_(first) {}
  // Between half and all of a time that doubles.
  Duration next();
  void reset() { next_ = first_; }

 private:
  Duration first_, longest_, next_;
};

}  // namespace kubepp
