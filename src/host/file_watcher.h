// SPDX-License-Identifier: Apache-2.0
#pragma once
// Tells when one of some files or folders has changed, once for a burst of changes.
//
// Watches the folders that hold them (inotify), so that files replaced by rename and files that do not exist yet are
// seen. A host whose inotify limit is reached is told so once and goes on without.
//
// Threads: the loop's. No timer runs but the 200 ms after a change.

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include <array>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace dormouse::host {

class FileWatcher final : Immovable {
 public:
  static constexpr auto kSettleTime = std::chrono::milliseconds(200);  // A build writes a module in many pieces.

  FileWatcher(boost::asio::io_context& loop, std::function<void()> on_change);
  // From now on these. Errors: ResourceExhausted.
  Result<void> watch(const std::vector<std::string>& paths);

 private:
  void read();

  boost::asio::posix::stream_descriptor inotify_;
  boost::asio::steady_timer settle_;
  const std::function<void()> on_change_;
  std::map<int, std::set<std::string>> names_;  // By watch: the file names in that folder; an empty set is the whole folder.
  std::map<std::string, int> folders_;
  alignas(8) std::array<char, 16 * 1024> buffer_{};
};

}  // namespace dormouse::host
