// SPDX-License-Identifier: Apache-2.0
#include "host/file_watcher.h"

#include <sys/inotify.h>

#include <boost/asio/buffer.hpp>
#include <cerrno>
#include <cstring>
#include <filesystem>

namespace dormouse::host {

namespace fs = std::filesystem;

FileWatcher::FileWatcher(boost::asio::io_context& loop, std::function<void()> on_change) : inotify_(loop), settle_(loop), on_change_(std::move(on_change)) {}

Result<void> FileWatcher::watch(const std::vector<std::string>& paths) {
  if (!inotify_.is_open()) {
    const int fd = ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (fd < 0) return fail_errno(errno, "inotify_init1 (changes of manifests are not seen; use SIGHUP)");
    inotify_.assign(fd);
    read();
  }
  std::map<std::string, std::set<std::string>> wanted;
  for (const std::string& path : paths) {
    std::error_code problem;
    const fs::path absolute = fs::absolute(path, problem);
    if (fs::is_directory(absolute, problem)) wanted[absolute].clear();
    else if (const auto found = wanted.find(absolute.parent_path()); found == wanted.end() || !found->second.empty()) wanted[absolute.parent_path()].insert(absolute.filename());
  }
  for (auto it = folders_.begin(); it != folders_.end();) {
    if (wanted.contains(it->first)) {
      ++it;
      continue;
    }
    ::inotify_rm_watch(inotify_.native_handle(), it->second);
    names_.erase(it->second);
    it = folders_.erase(it);
  }
  for (auto& [folder, names] : wanted) {
    const int id = ::inotify_add_watch(inotify_.native_handle(), folder.c_str(), IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ONLYDIR);
    if (id < 0) return fail_errno(errno, fmt::format("cannot watch {} (use SIGHUP to reload)", folder));
    folders_[folder] = id;
    names_[id] = std::move(names);
  }
  return {};
}

void FileWatcher::read() {
  inotify_.async_read_some(boost::asio::buffer(buffer_), [this](boost::system::error_code problem, std::size_t size) {
    if (problem) return;
    bool ours = false;
    for (std::size_t at = 0; at + sizeof(inotify_event) <= size;) {
      inotify_event event{};
      std::memcpy(&event, buffer_.data() + at, sizeof event);
      const char* name = buffer_.data() + at + sizeof event;
      const auto found = names_.find(event.wd);
      if (found != names_.end() && (found->second.empty() || (event.len > 0 && found->second.contains(name)))) ours = true;
      at += sizeof event + event.len;
    }
    if (ours) {
      settle_.expires_after(kSettleTime);
      settle_.async_wait([this](boost::system::error_code cancelled) {
        if (!cancelled) on_change_();
      });
    }
    read();
  });
}

}  // namespace dormouse::host
