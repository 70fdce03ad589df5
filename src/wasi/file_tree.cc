// SPDX-License-Identifier: Apache-2.0
#include "wasi/file_tree.h"

#include <algorithm>
#include <bit>
#include <utility>
#include <vector>

#include "base/check.h"

namespace dormouse::wasi {
namespace {

class Signals final : public Inode {
 public:
  explicit Signals(std::shared_ptr<Volume> volume) : Inode(std::move(volume), Kind::Signals) {}
};

}  // namespace

// --- Volume, Mount ---

std::shared_ptr<Volume> Volume::create(Options options) { return std::shared_ptr<Volume>(new Volume(std::move(options))); }

Volume::Volume(Options options) : options_(std::move(options)), made_at_(now()) {
  if (options_.outline == nullptr) return;
  const std::size_t items = options_.outline->items().size();
  CHECK(items > 0 && items <= Outline::kItemsMax);
  unmade_ = ~std::uint64_t{0} >> (Outline::kItemsMax - items);
}

std::shared_ptr<Directory> Volume::make_root() {
  const auto root = std::make_shared<Directory>(Inode::Key(), shared_from_this());
  const std::lock_guard lock(mutex_);
  if (last_inode_ == 0 && unmade_ != 0) {
    root->begin_outline_locked(0);
    last_inode_ = options_.outline->items().size();
    return root;
  }
  // The host makes roots, not the guest: an account that is full does not refuse this one.
  root->begin_locked(charge(Inode::kInodeBytes) ? Inode::kInodeBytes : 0);
  return root;
}

std::shared_ptr<Inode> Mount::content() const {
  const std::lock_guard lock(mutex_);
  return content_;
}

void Mount::replace(std::shared_ptr<Inode> content) {
  CHECK(content != nullptr);
  {
    const std::lock_guard lock(mutex_);
    content_.swap(content);
  }
  // The old tree is taken apart here, without the lock, if nobody has it open.
}

// --- Inode ---

Inode::Inode(std::shared_ptr<Volume> volume, Kind kind)
    : volume_(std::move(volume)), kind_(kind), accessed_(volume_->now()), modified_(accessed_), changed_(accessed_) {}

Inode::~Inode() { volume_->release(charged_bytes_); }

void Inode::begin_locked(std::size_t charged_bytes) {
  number_ = ++volume_->last_inode_;
  charged_bytes_ = charged_bytes;
}

void Inode::begin_outlined_locked(std::size_t item) {
  number_ = item + 1;
  accessed_ = modified_ = changed_ = volume_->made_at_;
  volume_->unmade_ &= ~(std::uint64_t{1} << item);
}

Filetype Inode::filetype() const {
  switch (kind_) {
    case Kind::File: return Filetype::RegularFile;
    case Kind::Directory: return Filetype::Directory;
    case Kind::Symlink: return Filetype::SymbolicLink;
    case Kind::Signals: return Filetype::SocketStream;
  }
  return Filetype::Unknown;
}

Filestat Inode::stat() const {
  const std::lock_guard lock(volume_->mutex_);
  Filestat stat;
  stat.device = volume_->options_.device;
  stat.inode = number_;
  stat.filetype = filetype();
  stat.links = links_;
  stat.size = size_locked();
  stat.accessed = accessed_;
  stat.modified = modified_;
  stat.changed = changed_;
  return stat;
}

void Inode::set_times(const Timestamp* accessed, const Timestamp* modified) {
  const std::lock_guard lock(volume_->mutex_);
  if (accessed != nullptr) accessed_ = *accessed;
  if (modified != nullptr) modified_ = *modified;
  changed_ = volume_->now();
}

// --- File ---

std::size_t File::read(std::uint64_t offset, std::span<std::byte> into) {
  const std::lock_guard lock(volume_->mutex_);
  const std::size_t bytes = data_.read(offset, into);
  if (bytes > 0 && !volume_->read_only()) accessed_ = volume_->now();
  return bytes;
}

FileData::Written File::write(std::uint64_t offset, std::span<const std::byte> from) {
  const std::lock_guard lock(volume_->mutex_);
  const FileData::Written written = data_.write(offset, from);
  if (written.bytes > 0) touch_locked();
  return written;
}

FileData::Written File::append(std::span<const std::byte> from, std::uint64_t& end) {
  const std::lock_guard lock(volume_->mutex_);
  const FileData::Written written = data_.write(data_.size_bytes(), from);
  if (written.bytes > 0) touch_locked();
  end = data_.size_bytes();
  return written;
}

Errno File::resize(std::uint64_t size_bytes) {
  const std::lock_guard lock(volume_->mutex_);
  const Errno error = data_.resize(size_bytes);
  if (error == Errno::Success) touch_locked();
  return error;
}

Errno File::allocate(std::uint64_t offset, std::uint64_t length) {
  const std::lock_guard lock(volume_->mutex_);
  const Errno error = data_.allocate(offset, length);
  if (error == Errno::Success) touch_locked();
  return error;
}

std::uint64_t File::size_bytes() const {
  const std::lock_guard lock(volume_->mutex_);
  return data_.size_bytes();
}

// --- Directory ---

Directory::~Directory() {
  // A guest can nest folders as deep as its memory allows: taken apart in a loop, for recursion has a stack's depth only.
  // All of it dies without the lock, which each needs for its own end.
  std::vector<std::shared_ptr<Inode>> doomed;
  std::vector<std::shared_ptr<Mount>> mounts;
  const auto surrender = [&](Directory& directory) {
    const std::lock_guard lock(directory.volume_->mutex_);
    directory.in_order_.reset();
    for (auto& [name, entry] : directory.entries_) {
      if (entry.charged) directory.volume_->release(kEntryBytes + name.size());
      if (entry.mount != nullptr) mounts.push_back(std::move(entry.mount));
      if (entry.inode == nullptr) continue;
      if (Directory* child = as_directory(entry.inode.get())) child->parent_ = nullptr;
      doomed.push_back(std::move(entry.inode));
    }
    directory.entries_.clear();
  };
  surrender(*this);
  while (!doomed.empty()) {
    const std::shared_ptr<Inode> inode = std::move(doomed.back());
    doomed.pop_back();
    if (Directory* directory = as_directory(inode.get()); directory != nullptr && inode.use_count() == 1) surrender(*directory);
  }
}

// Its places in the order of making are taken, and its subfolders count, though nobody has looked at them.
void Directory::begin_outline_locked(std::size_t item) {
  begin_outlined_locked(item);
  const auto items = volume_->options_.outline->items();
  network_ = items[item].network;
  for (const Outline::Item& child : items.subspan(item + 1)) {
    if (child.folder != item) continue;
    ++last_cookie_;
    if (child.kind == Kind::Directory) ++links_;
  }
}

std::uint64_t Directory::outlined_locked() const {
  std::uint64_t outlined = 0;
  for (std::uint64_t rest = volume_->unmade_; rest != 0; rest &= rest - 1) {
    const int item = std::countr_zero(rest);
    if (volume_->options_.outline->items()[static_cast<std::size_t>(item)].folder + 1U == number_) outlined |= std::uint64_t{1} << item;
  }
  return outlined;
}

Directory::Entries::iterator Directory::find_locked(std::string_view name) {
  const auto at = entries_.find(name);
  if (at != entries_.end() || volume_->unmade_ == 0) return at;
  for (std::uint64_t rest = outlined_locked(); rest != 0; rest &= rest - 1) {
    const auto item = static_cast<std::size_t>(std::countr_zero(rest));
    if (volume_->options_.outline->items()[item].name == name) return make_outlined_locked(item);
  }
  return at;
}

Directory::Entries::iterator Directory::make_outlined_locked(std::size_t item) {
  const auto items = volume_->options_.outline->items();
  std::shared_ptr<Inode> inode;
  switch (items[item].kind) {
    case Kind::File: inode = std::make_shared<File>(Key(), volume_, volume_->options_.outline->text(item)); break;
    case Kind::Directory: {
      const auto directory = std::make_shared<Directory>(Key(), volume_);
      directory->parent_ = this;
      directory->begin_outline_locked(item);
      inode = directory;
      break;
    }
    case Kind::Signals: inode = std::make_shared<Signals>(volume_); break;
    case Kind::Symlink: CHECK(false);
  }
  if (items[item].kind != Kind::Directory) inode->begin_outlined_locked(item);
  std::uint64_t cookie = kFirstCookie;
  for (std::size_t i = 1; i < item; ++i) cookie += items[i].folder + 1U == number_;
  const auto at = entries_.try_emplace(std::string(items[item].name)).first;
  at->second.inode = std::move(inode);
  at->second.charged = false;
  put_in_order_locked(at, cookie);
  return at;
}

Directory::Found Directory::lookup(std::string_view name) {
  std::shared_ptr<Mount> mount;
  {
    const std::lock_guard lock(volume_->mutex_);
    const auto at = find_locked(name);
    if (at == entries_.end()) return {};
    if (at->second.mount == nullptr) return {at->second.inode, false, false};
    mount = at->second.mount;
  }
  return {mount->content(), true, mount->read_only()};
}

Errno Directory::check_new_locked(std::string_view name) {
  if (removed_) return Errno::NoEnt;
  return find_locked(name) != entries_.end() ? Errno::Exist : Errno::Success;
}

Directory::Entry& Directory::insert_locked(std::string_view name, std::shared_ptr<Inode> inode) {
  const auto at = entries_.try_emplace(std::string(name)).first;
  at->second.inode = std::move(inode);
  put_in_order_locked(at, ++last_cookie_);
  touch_locked();
  return at->second;
}

void Directory::erase_locked(Entries::iterator at) {
  if (at->second.charged) volume_->release(kEntryBytes + at->first.size());
  if (in_order_ != nullptr) in_order_->erase(at->second.cookie);
  entries_.erase(at);
  touch_locked();
}

void Directory::put_in_order_locked(Entries::iterator at, std::uint64_t cookie) {
  at->second.cookie = cookie;
  if (in_order_ != nullptr) {
    in_order_->emplace(cookie, at);
  } else if (entries_.size() > kFewEntries) {
    in_order_ = std::make_unique<std::map<std::uint64_t, Entries::iterator>>();
    for (auto each = entries_.begin(); each != entries_.end(); ++each) in_order_->emplace(each->second.cookie, each);
  }
}

std::expected<std::shared_ptr<File>, Errno> Directory::create_file(std::string_view name) {
  std::shared_ptr<File> file;
  const std::lock_guard lock(volume_->mutex_);
  if (const Errno error = check_new_locked(name); error != Errno::Success) return std::unexpected(error);
  if (!volume_->charge(kInodeBytes + kEntryBytes + name.size())) return std::unexpected(Errno::NoSpc);
  file = std::make_shared<File>(Key(), volume_);
  file->begin_locked(kInodeBytes);
  insert_locked(name, file);
  return file;
}

std::expected<std::shared_ptr<Directory>, Errno> Directory::create_directory(std::string_view name) {
  std::shared_ptr<Directory> directory;
  const std::lock_guard lock(volume_->mutex_);
  if (const Errno error = check_new_locked(name); error != Errno::Success) return std::unexpected(error);
  if (!volume_->charge(kInodeBytes + kEntryBytes + name.size())) return std::unexpected(Errno::NoSpc);
  directory = std::make_shared<Directory>(Key(), volume_);
  directory->begin_locked(kInodeBytes);
  directory->parent_ = this;
  insert_locked(name, directory);
  ++links_;
  return directory;
}

Errno Directory::create_symlink(std::string_view name, std::string_view target) {
  const std::lock_guard lock(volume_->mutex_);
  if (const Errno error = check_new_locked(name); error != Errno::Success) return error;
  if (!volume_->charge(kInodeBytes + target.size() + kEntryBytes + name.size())) return Errno::NoSpc;
  const auto symlink = std::make_shared<Symlink>(Key(), volume_, target);
  symlink->begin_locked(kInodeBytes + target.size());
  insert_locked(name, symlink);
  return Errno::Success;
}

Errno Directory::link(std::string_view name, const std::shared_ptr<Inode>& inode) {
  if (inode->kind() == Kind::Directory || inode->kind() == Kind::Signals) return Errno::Perm;
  if (inode->volume_ != volume_) return Errno::XDev;
  const std::lock_guard lock(volume_->mutex_);
  if (const Errno error = check_new_locked(name); error != Errno::Success) return error;
  if (inode->links_ == 0) return Errno::NoEnt;
  if (!volume_->charge(kEntryBytes + name.size())) return Errno::NoSpc;
  ++inode->links_;
  inode->changed_ = volume_->now();
  insert_locked(name, inode);
  return Errno::Success;
}

Errno Directory::unlink(std::string_view name) {
  std::shared_ptr<Inode> doomed;  // Dies after the lock is gone: its end takes it again.
  const std::lock_guard lock(volume_->mutex_);
  const auto at = find_locked(name);
  if (at == entries_.end()) return Errno::NoEnt;
  if (at->second.mount != nullptr) return Errno::Busy;
  if (at->second.inode->kind() == Kind::Directory) return Errno::IsDir;
  if (at->second.inode->kind() == Kind::Signals) return Errno::Perm;
  doomed = std::move(at->second.inode);
  --doomed->links_;
  doomed->changed_ = volume_->now();
  erase_locked(at);
  return Errno::Success;
}

Errno Directory::remove_directory(std::string_view name) {
  std::shared_ptr<Inode> doomed;
  const std::lock_guard lock(volume_->mutex_);
  const auto at = find_locked(name);
  if (at == entries_.end()) return Errno::NoEnt;
  if (at->second.mount != nullptr) return Errno::Busy;
  Directory* directory = as_directory(at->second.inode.get());
  if (directory == nullptr) return Errno::NotDir;
  if (directory->network_) return Errno::Busy;
  if (!directory->empty_locked()) return Errno::NotEmpty;
  doomed = std::move(at->second.inode);
  directory->detach_locked();
  erase_locked(at);
  --links_;
  return Errno::Success;
}

void Directory::detach_locked() {
  removed_ = true;
  links_ = 0;
  parent_ = nullptr;
}

bool Directory::lies_in_locked(const Directory& other) const {
  for (const Directory* above = this; above != nullptr; above = above->parent_) {
    if (above == &other) return true;
  }
  return false;
}

Errno Directory::rename(Directory& from, std::string_view name, Directory& to, std::string_view new_name, bool must_be_directory) {
  if (from.volume_ != to.volume_) return Errno::XDev;
  std::shared_ptr<Inode> replaced;  // Dies after the lock is gone.
  const std::lock_guard lock(from.volume_->mutex_);
  const auto at = from.find_locked(name);
  if (at == from.entries_.end() || to.removed_) return Errno::NoEnt;
  if (at->second.mount != nullptr || at->second.inode->kind() == Kind::Signals) return Errno::Busy;
  const std::shared_ptr<Inode> moved = at->second.inode;
  Directory* const directory = as_directory(moved.get());
  if (directory == nullptr && must_be_directory) return Errno::NotDir;
  if (directory != nullptr && directory->network_) return Errno::Busy;
  if (directory != nullptr && to.lies_in_locked(*directory)) return Errno::Inval;
  const auto over = to.find_locked(new_name);
  if (over != to.entries_.end()) {
    if (over->second.inode == moved) return Errno::Success;
    if (over->second.mount != nullptr || over->second.inode->kind() == Kind::Signals) return Errno::Busy;
    Directory* const target = as_directory(over->second.inode.get());
    if (target != nullptr) {
      if (directory == nullptr) return Errno::IsDir;
      if (target->network_) return Errno::Busy;
      if (!target->empty_locked()) return Errno::NotEmpty;
    } else if (directory != nullptr) {
      return Errno::NotDir;
    }
    replaced = std::move(over->second.inode);
    if (target != nullptr) {
      target->detach_locked();
      --to.links_;
    } else {
      --replaced->links_;
      replaced->changed_ = to.volume_->now();
    }
    // The entry stays, and with it what it costs.
    if (to.in_order_ != nullptr) to.in_order_->erase(over->second.cookie);
    over->second.inode = moved;
    to.put_in_order_locked(over, ++to.last_cookie_);
    to.touch_locked();
  } else {
    if (!to.volume_->charge(kEntryBytes + new_name.size())) return Errno::NoSpc;
    to.insert_locked(new_name, moved);
  }
  from.erase_locked(at);
  moved->changed_ = to.volume_->now();
  if (directory != nullptr) {
    --from.links_;
    ++to.links_;
    directory->parent_ = &to;
  }
  return Errno::Success;
}

void Directory::list(std::uint64_t cookie, const std::function<bool(const Listed&)>& visit) {
  std::vector<std::shared_ptr<Inode>> mounted;  // Held until the lock is gone: it may be the last that holds them.
  const std::lock_guard lock(volume_->mutex_);
  for (std::uint64_t rest = outlined_locked(); rest != 0; rest &= rest - 1) make_outlined_locked(static_cast<std::size_t>(std::countr_zero(rest)));
  const auto visit_entry = [&](const Entries::value_type& at) {
    const auto& [name, entry] = at;
    if (entry.mount != nullptr) mounted.push_back(entry.mount->content());
    const Inode& inode = entry.mount != nullptr ? *mounted.back() : *entry.inode;
    return visit({entry.cookie + 1, inode.number(), inode.filetype(), name});
  };
  if (in_order_ != nullptr) {
    for (auto at = in_order_->lower_bound(cookie); at != in_order_->end() && visit_entry(*at->second);) ++at;
    return;
  }
  std::vector<const Entries::value_type*> few;
  for (const auto& at : entries_) {
    if (at.second.cookie >= cookie) few.push_back(&at);
  }
  std::ranges::sort(few, {}, [](const auto* at) { return at->second.cookie; });
  for (auto at = few.begin(); at != few.end() && visit_entry(**at);) ++at;
}

std::uint64_t Directory::parent_number() const {
  const std::lock_guard lock(volume_->mutex_);
  return parent_ != nullptr ? parent_->number() : number();
}

Errno Directory::mount(std::string_view name, std::shared_ptr<Mount> mount) {
  const std::lock_guard lock(volume_->mutex_);
  if (const auto at = find_locked(name); at != entries_.end()) {
    at->second.mount.swap(mount);
    return Errno::Success;
  }
  if (!volume_->charge(kEntryBytes + name.size())) return Errno::NoSpc;
  insert_locked(name, nullptr).mount = std::move(mount);
  return Errno::Success;
}

Errno Directory::add_signals(std::string_view name) {
  const std::lock_guard lock(volume_->mutex_);
  if (find_locked(name) != entries_.end()) return Errno::Exist;
  if (!volume_->charge(kInodeBytes + kEntryBytes + name.size())) return Errno::NoSpc;
  const auto signals = std::make_shared<Signals>(volume_);
  static_cast<Inode&>(*signals).begin_locked(kInodeBytes);
  insert_locked(name, signals);
  return Errno::Success;
}

}  // namespace dormouse::wasi
