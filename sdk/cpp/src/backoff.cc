// SPDX-License-Identifier: Apache-2.0
#include "kubepp/backoff.h"

#include <unistd.h>

#include <algorithm>

namespace kubepp {

Duration Backoff::next() {
  std::uint32_t random = 0;
  if (getentropy(&random, sizeof(random)) != 0) random = 0;
  const Duration time = next_ / 2 + next_ / 2 * (random % 1024) / 1024;
  next_ = std::min(longest_, next_ * 2);
  return time;
}

}  // namespace kubepp
