// SPDX-License-Identifier: Apache-2.0
#pragma once
// Files, folders and symbolic links in memory: what a guest's paths lead to. No host file system is behind them.
//
// A Volume is one file system (a tmpfs, as it were); its inodes share a lock, an account and a device number.
// A Mount puts what lies elsewhere at a name in a folder; the host can replace it at any moment, which is how a
// ConfigMap changes: build a new tree, replace(); guests with open files keep the old one until they close them.
//
// Ownership: a folder owns its entries, descriptors share what they have open. A volume lives as long as any inode.
// Threads: any (containers of a pod share volumes); each call is atomic under the volume's lock.
// Invariant: inodes, entries and file blocks are charged to the volume's account, which outlives all inodes.

#include <cstdint>
#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/memory_account.h"
#include "base/types.h"
#include "wasi/abi.h"
#include "wasi/file_data.h"

namespace dormouse::wasi {

class Directory;
class File;
class Mount;
class Outline;

class Volume final : public std::enable_shared_from_this<Volume>, Immovable {
 public:
  struct Options {
    const Clock& clock;                // Outlives the volume.
    MemoryAccount* account = nullptr;  // Null: nothing is charged (what the host has put there).
    bool read_only = false;            // Guests cannot change anything in it; host code can.
    std::uint64_t device = 1;          // st_dev: different for each volume of a guest.
    std::shared_ptr<const Outline> outline = nullptr;  // What the first root holds; null: nothing.
  };
  static std::shared_ptr<Volume> create(Options options);
  // An empty folder of this volume that lies in no other.
  std::shared_ptr<Directory> make_root();

  bool read_only() const { return options_.read_only; }
  MemoryAccount* account() const { return options_.account; }

 private:
  friend class Inode;
  friend class File;
  friend class Directory;
  explicit Volume(Options options);
  Timestamp now() const { return static_cast<Timestamp>(options_.clock.realtime().count()); }
  bool charge(std::uint64_t bytes) { return options_.account == nullptr || options_.account->try_charge(bytes); }
  void release(std::uint64_t bytes) {
    if (options_.account != nullptr) options_.account->release(bytes);
  }

  const Options options_;
  const Timestamp made_at_;
  std::mutex mutex_;
  std::uint64_t unmade_ = 0;  // Of the outline: a bit for each inode that nobody has looked at.
  std::uint64_t last_inode_ = 0;
};

class Inode : Immovable {
 public:
  enum class Kind : std::uint8_t { File, Directory, Symlink, Signals };
  static constexpr std::size_t kInodeBytes = 256;  // Charged for each; near what the largest takes.

  virtual ~Inode();
  Kind kind() const { return kind_; }
  Filetype filetype() const;
  std::uint64_t number() const { return number_; }
  Volume& volume() const { return *volume_; }
  Filestat stat() const;
  // Sets what is not null.
  void set_times(const Timestamp* accessed, const Timestamp* modified);

 protected:
  friend class Directory;
  friend class Volume;
  struct Key {  // Only a folder or a volume makes inodes.
    explicit Key() = default;
  };
  Inode(std::shared_ptr<Volume> volume, Kind kind);
  // Under the lock.
  virtual std::uint64_t size_locked() const { return 0; }
  // It has its place now; `charged_bytes` are released at its end.
  void begin_locked(std::size_t charged_bytes);
  // The same of the outline's, which is charged to nobody.
  void begin_outlined_locked(std::size_t item);
  void touch_locked() { modified_ = changed_ = volume_->now(); }

  const std::shared_ptr<Volume> volume_;
  const Kind kind_;
  std::uint64_t number_ = 0;
  std::uint64_t links_ = 1;
  Timestamp accessed_ = 0, modified_ = 0, changed_ = 0;

 private:
  std::size_t charged_bytes_ = 0;
};

// What a root holds from the beginning, as the host describes it. An inode of it is made when somebody first looks at it: most
// guests look at few of the files and folders that a pod has.
class Outline {
 public:
  static constexpr std::size_t kItemsMax = 64;
  struct Item {
    std::string_view name;
    std::uint8_t folder = 0;           // The item that it is in, which comes before it.
    Inode::Kind kind = Inode::Kind::Directory;
    bool network = false;              // See Directory::become_network().
  };
  virtual ~Outline() = default;
  // [0] is the root. No symbolic links. The same for as long as the outline lives.
  virtual std::span<const Item> items() const = 0;
  // What a file holds.
  virtual std::string text(std::size_t item) const = 0;
};

class File final : public Inode {
 public:
  explicit File(Key, std::shared_ptr<Volume> volume, std::string given = {}) : Inode(volume, Kind::File), data_(volume->account(), std::move(given)) {}
  std::size_t read(std::uint64_t offset, std::span<std::byte> into);
  FileData::Written write(std::uint64_t offset, std::span<const std::byte> from);
  // At the end, wherever that is now; `end` becomes the offset behind it.
  FileData::Written append(std::span<const std::byte> from, std::uint64_t& end);
  Errno resize(std::uint64_t size_bytes);
  Errno allocate(std::uint64_t offset, std::uint64_t length);
  std::uint64_t size_bytes() const;

 private:
  std::uint64_t size_locked() const override { return data_.size_bytes(); }
  FileData data_;
};

class Symlink final : public Inode {
 public:
  Symlink(Key, std::shared_ptr<Volume> volume, std::string_view target) : Inode(std::move(volume), Kind::Symlink), target_(target) {}
  const std::string& target() const { return target_; }

 private:
  std::uint64_t size_locked() const override { return target_.size(); }
  const std::string target_;
};

class Directory final : public Inode, public std::enable_shared_from_this<Directory> {
 public:
  static constexpr std::size_t kNameBytesMax = 255;
  static constexpr std::size_t kEntryBytes = 224;  // Charged for each entry besides its name: two tree nodes.
  static constexpr std::size_t kFewEntries = 16;   // Are put in order when they are listed.

  explicit Directory(Key, std::shared_ptr<Volume> volume) : Inode(std::move(volume), Kind::Directory) { links_ = 2; }
  ~Directory() override;

  struct Found {
    std::shared_ptr<Inode> inode;  // Null: no such entry.
    bool mounted = false;          // Something lies over it: it can be neither removed nor renamed.
    bool read_only = false;        // Mounted so.
  };
  Found lookup(std::string_view name);

  // `name` is one path component, not "." or "..". Errors: Exist, NoSpc; NoEnt when this folder itself was removed.
  std::expected<std::shared_ptr<File>, Errno> create_file(std::string_view name);
  std::expected<std::shared_ptr<Directory>, Errno> create_directory(std::string_view name);
  Errno create_symlink(std::string_view name, std::string_view target);
  // A further name for `inode`. Errors: as above, Perm (a folder), XDev (of another volume), NoEnt (has no name any more).
  Errno link(std::string_view name, const std::shared_ptr<Inode>& inode);
  // Errors: NoEnt, IsDir, Busy (a mount).
  Errno unlink(std::string_view name);
  // Errors: NoEnt, NotDir, NotEmpty, Busy.
  Errno remove_directory(std::string_view name);
  // Replaces what is at the new name as rename(2) does. Errors: NoEnt, XDev, NotDir, IsDir, NotEmpty, Inval (into itself), Busy, NoSpc.
  static Errno rename(Directory& from, std::string_view name, Directory& to, std::string_view new_name, bool must_be_directory);

  // Calls `visit` for each entry whose cookie is at least `cookie`, in the order of their making, until it says false.
  // Cookies are never used again, so a reader misses or repeats nothing while others add and remove.
  struct Listed {
    std::uint64_t next_cookie;
    std::uint64_t inode;
    Filetype filetype;
    std::string_view name;
  };
  static constexpr std::uint64_t kFirstCookie = 2;  // 0 and 1 are "." and "..".
  void list(std::uint64_t cookie, const std::function<bool(const Listed&)>& visit);
  // The number of the folder above in the same volume; at its root its own.
  std::uint64_t parent_number() const;

  // --- For the host ---
  // Puts `mount` at `name`, over what may be there. Errors: NoSpc.
  Errno mount(std::string_view name, std::shared_ptr<Mount> mount);
  // Adds the stream of signals (see Process) at `name`, unless it is there.
  Errno add_signals(std::string_view name);
  // From now on, names in this folder are destinations of the guest's network.
  void become_network() { network_ = true; }
  bool is_network() const { return network_; }

 private:
  friend class Volume;
  struct Entry {
    std::uint64_t cookie = 0;
    std::shared_ptr<Inode> inode;   // May be null under a mount.
    std::shared_ptr<Mount> mount;
    bool charged = true;
  };
  using Entries = std::map<std::string, Entry, std::less<>>;

  // All under the lock.
  Errno check_new_locked(std::string_view name);
  // Makes it if it is outlined.
  Entries::iterator find_locked(std::string_view name);
  bool empty_locked() const { return entries_.empty() && outlined_locked() == 0; }
  void begin_outline_locked(std::size_t item);
  // The outline's items in this folder that are not made, a bit each.
  std::uint64_t outlined_locked() const;
  Entries::iterator make_outlined_locked(std::size_t item);
  Entry& insert_locked(std::string_view name, std::shared_ptr<Inode> inode);
  void erase_locked(Entries::iterator at);
  // The entry has this cookie from now on.
  void put_in_order_locked(Entries::iterator at, std::uint64_t cookie);
  bool lies_in_locked(const Directory& other) const;
  void detach_locked();

  Entries entries_;
  std::unique_ptr<std::map<std::uint64_t, Entries::iterator>> in_order_;  // By cookie, once there have been more than kFewEntries.
  std::uint64_t last_cookie_ = kFirstCookie - 1;
  Directory* parent_ = nullptr;  // Cleared under the lock before the folder above dies.
  bool removed_ = false;
  bool network_ = false;
};

// What lies at a mount point, and can be replaced as a whole.
class Mount final : Immovable {
 public:
  explicit Mount(std::shared_ptr<Inode> content, bool read_only = false) : read_only_(read_only), content_(std::move(content)) {}
  std::shared_ptr<Inode> content() const;
  // Guests see the new content from their next path on, as a whole.
  void replace(std::shared_ptr<Inode> content);
  bool read_only() const { return read_only_; }

 private:
  const bool read_only_;
  mutable std::mutex mutex_;
  std::shared_ptr<Inode> content_;
};

inline Directory* as_directory(Inode* inode) { return inode != nullptr && inode->kind() == Inode::Kind::Directory ? static_cast<Directory*>(inode) : nullptr; }
inline File* as_file(Inode* inode) { return inode != nullptr && inode->kind() == Inode::Kind::File ? static_cast<File*>(inode) : nullptr; }
inline Symlink* as_symlink(Inode* inode) { return inode != nullptr && inode->kind() == Inode::Kind::Symlink ? static_cast<Symlink*>(inode) : nullptr; }

}  // namespace dormouse::wasi
