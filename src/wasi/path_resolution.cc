// SPDX-License-Identifier: Apache-2.0
#include "wasi/path_resolution.h"

#include <utility>
#include <vector>

#include "base/utf8.h"

namespace dormouse::wasi {
namespace {

// Cuts the first component off `rest`, with the slashes after it. `slash` tells whether there were any.
std::string_view take_component(std::string_view& rest, bool& slash) {
  const std::size_t length = std::min(rest.find('/'), rest.size());
  const std::string_view component = rest.substr(0, length);
  const std::size_t next = rest.find_first_not_of('/', length);
  slash = length < rest.size();
  rest.remove_prefix(std::min(next, rest.size()));
  return component;
}

class Walk {
 public:
  explicit Walk(const PathStart& start) {
    folders_.reserve(8);
    folders_.push_back(start);
  }

  std::expected<Resolved, Errno> run(std::string_view path, LastLink last_link) {
    rest_ = path;
    for (;;) {
      if (here().directory->is_network()) {
        auto target = into_network();
        if (!target || target->network || rest_.empty()) return target;
        continue;
      }
      bool slash = false;
      const std::string_view name = take_component(rest_, slash);
      const bool last = rest_.empty();
      if (name == "." || name == "..") {
        if (name == ".." && !up()) return std::unexpected(Errno::NotCapable);
        if (last) return ends_here();
        continue;
      }
      if (name.size() > Directory::kNameBytesMax) return std::unexpected(Errno::NameTooLong);
      Directory::Found found = here().directory->lookup(name);
      const bool read_only = here().read_only || found.read_only || (found.inode != nullptr && found.inode->volume().read_only());
      if (const Symlink* link = as_symlink(found.inode.get()); link != nullptr && (!last || last_link == LastLink::Follow || (slash && last_link == LastLink::Keep))) {
        if (const Errno error = expand(*link, slash); error != Errno::Success) return std::unexpected(error);
        continue;
      }
      Directory* const directory = as_directory(found.inode.get());
      if (!last) {
        if (found.inode == nullptr) return std::unexpected(Errno::NoEnt);
        if (directory == nullptr) return std::unexpected(Errno::NotDir);
        folders_.push_back({directory->shared_from_this(), read_only});
        continue;
      }
      if (slash && found.inode != nullptr && directory == nullptr) return std::unexpected(Errno::NotDir);
      Resolved resolved;
      resolved.read_only = found.inode != nullptr ? read_only : here().read_only || here().directory->volume().read_only();
      resolved.inode = std::move(found.inode);
      resolved.parent = here().directory;
      resolved.name = name;
      resolved.trailing_slash = slash;
      return resolved;
    }
  }

 private:
  PathStart& here() { return folders_.back(); }

  bool up() {
    if (folders_.size() == 1) return false;
    folders_.pop_back();
    return true;
  }

  Resolved ends_here() {
    Resolved resolved;
    resolved.inode = here().directory;
    resolved.read_only = here().read_only || here().directory->volume().read_only();
    return resolved;
  }

  Errno expand(const Symlink& link, bool slash) {
    if (++expansions_ > kSymlinkExpansionsMax) return Errno::Loop;
    if (link.target().empty()) return Errno::NoEnt;
    if (link.target().front() == '/') return Errno::NotCapable;
    if (link.target().size() + rest_.size() + 1 > kExpandedBytesMax) return Errno::NameTooLong;
    std::string expanded = link.target();
    if (slash) expanded += '/';
    expanded += rest_;
    expanded_ = std::move(expanded);
    rest_ = expanded_;
    return Errno::Success;
  }

  // Below a network folder names are destinations, not entries. Nothing is dialled here.
  std::expected<Resolved, Errno> into_network() {
    std::vector<std::string_view> names;
    bool slash = false;
    while (!rest_.empty()) {
      const std::string_view name = take_component(rest_, slash);
      if (name == ".") continue;
      if (name != "..") {
        if (name.size() > Directory::kNameBytesMax) return std::unexpected(Errno::NameTooLong);
        names.push_back(name);
      } else if (!names.empty()) {
        names.pop_back();
      } else {
        if (!up()) return std::unexpected(Errno::NotCapable);
        return ends_here();  // If there is more, the walk goes on from there.
      }
    }
    if (names.empty()) return ends_here();
    const bool takes_two = names[0] == "tcp" || names[0] == "tls" || names[0] == "listen";
    if (names.size() > (takes_two ? 2u : 1u) || (slash && !(takes_two && names.size() == 1))) return std::unexpected(Errno::NotDir);
    Resolved resolved;
    resolved.network = true;
    resolved.read_only = true;
    resolved.name = names[0];
    if (names.size() == 2) (resolved.name += '/') += names[1];
    return resolved;
  }

  std::vector<PathStart> folders_;  // From the start to where the walk is.
  std::string expanded_;            // What `rest_` looks into once a link was expanded.
  std::string_view rest_;
  unsigned expansions_ = 0;
};

}  // namespace

std::expected<Resolved, Errno> resolve(const PathStart& start, std::string_view path, LastLink last_link) {
  if (path.empty()) return std::unexpected(Errno::NoEnt);
  if (path.size() > kPathBytesMax) return std::unexpected(Errno::NameTooLong);
  if (path.find('\0') != std::string_view::npos) return std::unexpected(Errno::Inval);
  if (!is_utf8(path)) return std::unexpected(Errno::IlSeq);
  if (path.front() == '/') return std::unexpected(Errno::NotCapable);
  return Walk(start).run(path, last_link);
}

}  // namespace dormouse::wasi
