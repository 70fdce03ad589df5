// SPDX-License-Identifier: Apache-2.0
#include "wasi/file_tree.h"

#include <gtest/gtest.h>

#include <thread>

#include "wasi/test_guest.h"
#include "wasi/tree_builder.h"

namespace dormouse::wasi {
namespace {

using test::bytes_of;

std::vector<std::string> names(Directory& directory) {
  std::vector<std::string> names;
  directory.list(0, [&](const Directory::Listed& listed) {
    names.emplace_back(listed.name);
    return true;
  });
  return names;
}

class PodLike final : public Outline {
 public:
  std::span<const Item> items() const override {
    using Kind = Inode::Kind;
    static constexpr Item kItems[] = {{}, {.name = "etc"}, {.name = "passwd", .folder = 1, .kind = Kind::File}, {.name = "deep", .folder = 1}, {.name = "deeper", .folder = 3}, {.name = "run"},
                                      {.name = "signals", .folder = 5, .kind = Kind::Signals}, {.name = "net", .network = true}};
    return kItems;
  }
  std::string text(std::size_t item) const override {
    ++texts;
    return item == 2 ? "root" : "";
  }
  mutable int texts = 0;
};

class FileTree : public testing::Test {
 protected:
  ManualClock clock_;
  MemoryAccount account_{1 << 20};
  std::shared_ptr<Volume> volume_ = Volume::create({.clock = clock_, .account = &account_, .device = 5});
  std::shared_ptr<Directory> root_ = volume_->make_root();
};

TEST_F(FileTree, EveryByteIsGivenBack) {
  auto folder = *root_->create_directory("folder");
  auto file = *folder->create_file("file");
  EXPECT_EQ(file->write(0, bytes_of("some text")).bytes, 9u);
  EXPECT_EQ(root_->create_symlink("link", "folder/file"), Errno::Success);
  EXPECT_EQ(root_->link("second", file), Errno::Success);
  EXPECT_GT(account_.used_bytes(), 3 * Inode::kInodeBytes);
  EXPECT_EQ(root_->unlink("second"), Errno::Success);
  EXPECT_EQ(folder->unlink("file"), Errno::Success);
  file.reset();
  EXPECT_EQ(root_->remove_directory("folder"), Errno::Success);
  folder.reset();
  EXPECT_EQ(root_->unlink("link"), Errno::Success);
  EXPECT_EQ(account_.used_bytes(), Inode::kInodeBytes);
  root_.reset();
  EXPECT_EQ(account_.used_bytes(), 0u);
}

class OutlinedTree : public FileTree {
 protected:
  std::string text_of(File& file) {
    std::string text(64, '\0');
    text.resize(file.read(0, std::as_writable_bytes(std::span(text))));
    return text;
  }
  std::shared_ptr<PodLike> outline_ = std::make_shared<PodLike>();
  std::shared_ptr<Directory> outlined_ = Volume::create({.clock = clock_, .account = &account_, .outline = outline_})->make_root();
  std::uint64_t used_before_ = account_.used_bytes();
};

TEST_F(OutlinedTree, IsThereWithoutHavingBeenMade) {
  const Timestamp made = static_cast<Timestamp>(clock_.realtime().count());
  clock_.advance(std::chrono::seconds(1));
  EXPECT_EQ(outlined_->stat().links, 5u);
  auto etc = std::static_pointer_cast<Directory>(outlined_->lookup("etc").inode);
  ASSERT_NE(etc, nullptr);
  EXPECT_EQ(outline_->texts, 0);
  auto passwd = std::static_pointer_cast<File>(etc->lookup("passwd").inode);
  ASSERT_NE(passwd, nullptr);
  EXPECT_EQ(outlined_->lookup("passwd").inode, nullptr);
  EXPECT_EQ(passwd->stat().modified, made);
  EXPECT_EQ(passwd->stat().size, 4u);
  EXPECT_EQ(text_of(*passwd), "root");
  EXPECT_EQ(etc->lookup("passwd").inode, passwd);
  EXPECT_EQ(outline_->texts, 1);
  EXPECT_TRUE(as_directory(outlined_->lookup("net").inode.get())->is_network());
  EXPECT_EQ(etc->parent_number(), outlined_->number());
  EXPECT_EQ(account_.used_bytes(), used_before_);
}

TEST_F(OutlinedTree, IsListedInOneOrderWhateverWasLookedAtFirst) {
  (void)outlined_->lookup("net");
  EXPECT_EQ(names(*outlined_), (std::vector<std::string>{"etc", "run", "net"}));
  std::vector<std::uint64_t> numbers;
  outlined_->list(0, [&](const Directory::Listed& listed) {
    numbers.push_back(listed.inode);
    return true;
  });
  EXPECT_EQ(numbers, (std::vector<std::uint64_t>{2, 6, 8}));
  EXPECT_EQ(outlined_->lookup("run").inode->number(), 6u);
  EXPECT_EQ((*outlined_->create_file("new"))->number(), 9u);
  EXPECT_EQ(names(*outlined_), (std::vector<std::string>{"etc", "run", "net", "new"}));
}

TEST_F(OutlinedTree, IsChangedAsAnyOther) {
  EXPECT_EQ(outlined_->create_file("etc").error(), Errno::Exist);
  EXPECT_EQ(outlined_->add_signals("net"), Errno::Exist);
  EXPECT_EQ(outlined_->unlink("etc"), Errno::IsDir);
  EXPECT_EQ(outlined_->remove_directory("etc"), Errno::NotEmpty);
  auto etc = std::static_pointer_cast<Directory>(outlined_->lookup("etc").inode);
  EXPECT_EQ(etc->remove_directory("deep"), Errno::NotEmpty);
  EXPECT_EQ(Directory::rename(*outlined_, "etc", *outlined_, "moved", true), Errno::Success);
  EXPECT_EQ(names(*etc), (std::vector<std::string>{"passwd", "deep"}));
  auto passwd = std::static_pointer_cast<File>(etc->lookup("passwd").inode);
  EXPECT_EQ(passwd->write(2, bytes_of("am")).bytes, 2u);
  EXPECT_EQ(text_of(*passwd), "roam");
  EXPECT_EQ(etc->unlink("passwd"), Errno::Success);
  EXPECT_EQ(etc->lookup("passwd").inode, nullptr);
  EXPECT_EQ(Directory::rename(*outlined_, "moved", *outlined_, "run", true), Errno::NotEmpty);
  auto run = std::static_pointer_cast<Directory>(outlined_->lookup("run").inode);
  EXPECT_EQ(run->unlink("signals"), Errno::Perm);
  passwd.reset();
  etc.reset();
  run.reset();
  outlined_.reset();
  EXPECT_EQ(account_.used_bytes(), Inode::kInodeBytes);  // Of the other tree.
}

TEST_F(FileTree, ListsMany) {
  std::vector<std::string> expected;
  for (int i = 0; i < 40; ++i) {
    expected.push_back(fmt::format("{}", 97 * i % 41));
    ASSERT_TRUE(root_->create_file(expected.back()));
    EXPECT_EQ(names(*root_), expected);
  }
  for (int i = 30; i > 0; i -= 3) {
    EXPECT_EQ(root_->unlink(expected[static_cast<std::size_t>(i)]), Errno::Success);
    expected.erase(expected.begin() + i);
    EXPECT_EQ(names(*root_), expected);
  }
}

TEST_F(FileTree, TellsDeviceNumberLinksAndTimes) {
  auto file = *root_->create_file("file");
  auto other = *root_->create_file("other");
  const Filestat before = file->stat();
  EXPECT_EQ(before.device, 5u);
  EXPECT_NE(before.inode, other->stat().inode);
  EXPECT_EQ(before.links, 1u);
  EXPECT_EQ(before.modified, static_cast<Timestamp>(clock_.realtime().count()));
  clock_.advance(std::chrono::seconds(1));
  EXPECT_EQ(file->write(0, bytes_of("abc")).bytes, 3u);
  EXPECT_EQ(root_->link("again", file), Errno::Success);
  EXPECT_EQ(file->stat().links, 2u);
  EXPECT_EQ(file->stat().size, 3u);
  EXPECT_EQ(file->stat().modified, before.modified + 1'000'000'000);
  EXPECT_EQ(root_->unlink("again"), Errno::Success);
  EXPECT_EQ(root_->unlink("file"), Errno::Success);
  EXPECT_EQ(file->stat().links, 0u);
  EXPECT_EQ(root_->stat().links, 2u);
  (void)root_->create_directory("folder");
  EXPECT_EQ(root_->stat().links, 3u);
  EXPECT_EQ(root_->remove_directory("folder"), Errno::Success);
  EXPECT_EQ(root_->stat().links, 2u);
}

TEST_F(FileTree, AFileWithoutANameCannotGetOne) {
  auto file = *root_->create_file("file");
  EXPECT_EQ(root_->unlink("file"), Errno::Success);
  EXPECT_EQ(root_->link("again", file), Errno::NoEnt);
}

TEST_F(FileTree, NothingIsMadeInAFolderThatWasRemoved) {
  auto folder = *root_->create_directory("folder");
  EXPECT_EQ(root_->remove_directory("folder"), Errno::Success);
  EXPECT_EQ(folder->create_file("x").error(), Errno::NoEnt);
  EXPECT_EQ(folder->create_directory("x").error(), Errno::NoEnt);
  (void)root_->create_file("file");
  EXPECT_EQ(Directory::rename(*root_, "file", *folder, "x", false), Errno::NoEnt);
}

TEST_F(FileTree, CookiesHoldWhileEntriesComeAndGo) {
  for (const char* name : {"a", "b", "c", "d"}) (void)root_->create_file(name);
  std::uint64_t after_b = 0;
  root_->list(0, [&](const Directory::Listed& listed) {
    after_b = listed.next_cookie;
    return listed.name != "b";
  });
  EXPECT_EQ(root_->unlink("a"), Errno::Success);
  EXPECT_EQ(root_->unlink("c"), Errno::Success);
  (void)root_->create_file("a");
  std::vector<std::string> rest;
  root_->list(after_b, [&](const Directory::Listed& listed) {
    rest.emplace_back(listed.name);
    return true;
  });
  EXPECT_EQ(rest, (std::vector<std::string>{"d", "a"}));
  root_->list(~std::uint64_t{0}, [&](const Directory::Listed&) { return ADD_FAILURE(), true; });
}

TEST_F(FileTree, RenameOverSomethingKeepsTheAccountExact) {
  auto a = *root_->create_file("a");
  EXPECT_EQ(a->write(0, bytes_of("a")).bytes, 1u);
  const std::uint64_t one_file = account_.used_bytes();
  EXPECT_EQ((*root_->create_file("b"))->write(0, bytes_of("b")).bytes, 1u);
  EXPECT_EQ(Directory::rename(*root_, "a", *root_, "b", false), Errno::Success);
  EXPECT_EQ(account_.used_bytes(), one_file);
  EXPECT_EQ(names(*root_), std::vector<std::string>{"b"});
  EXPECT_EQ(root_->lookup("b").inode, a);
  EXPECT_EQ(Directory::rename(*root_, "b", *root_, "longer name", false), Errno::Success);
  EXPECT_EQ(account_.used_bytes(), one_file + 10);
}

TEST_F(FileTree, RenameFollowsPosix) {
  auto folder = *root_->create_directory("folder");
  auto inner = *folder->create_directory("inner");
  (void)root_->create_directory("empty");
  auto file = *root_->create_file("file");
  EXPECT_EQ(Directory::rename(*root_, "folder", *inner, "x", false), Errno::Inval);
  EXPECT_EQ(Directory::rename(*root_, "folder", *folder, "x", false), Errno::Inval);
  EXPECT_EQ(Directory::rename(*root_, "empty", *root_, "folder", false), Errno::NotEmpty);
  EXPECT_EQ(Directory::rename(*root_, "file", *root_, "empty", false), Errno::IsDir);
  EXPECT_EQ(Directory::rename(*root_, "empty", *root_, "file", false), Errno::NotDir);
  EXPECT_EQ(Directory::rename(*root_, "file", *root_, "new", true), Errno::NotDir);
  EXPECT_EQ(Directory::rename(*root_, "none", *root_, "new", false), Errno::NoEnt);
  EXPECT_EQ(Directory::rename(*root_, "folder", *root_, "empty", false), Errno::Success);
  EXPECT_EQ(root_->lookup("empty").inode, folder);
  EXPECT_EQ(root_->stat().links, 3u);
  // Two names of one file: nothing happens.
  EXPECT_EQ(root_->link("other", file), Errno::Success);
  EXPECT_EQ(Directory::rename(*root_, "file", *root_, "other", false), Errno::Success);
  EXPECT_TRUE(root_->lookup("file").inode != nullptr);
  auto elsewhere = Volume::create({.clock = clock_})->make_root();
  EXPECT_EQ(Directory::rename(*root_, "file", *elsewhere, "x", false), Errno::XDev);
  EXPECT_EQ(elsewhere->link("x", file), Errno::XDev);
}

TEST_F(FileTree, FoldersNestedVeryDeeplyComeApart) {
  MemoryAccount account(std::uint64_t{1} << 30);
  auto root = Volume::create({.clock = clock_, .account = &account})->make_root();
  auto at = root;
  for (int i = 0; i < 300'000; ++i) at = *at->create_directory("d");
  EXPECT_EQ(Directory::rename(*root, "d", *at, "x", false), Errno::Inval);
  at.reset();
  root.reset();
  EXPECT_EQ(account.used_bytes(), 0u);
}

TEST_F(FileTree, AnOpenFolderOutlivesTheTreeAboveIt) {
  auto inner = *(*root_->create_directory("a"))->create_directory("b");
  root_.reset();
  EXPECT_EQ(inner->parent_number(), inner->number());
  EXPECT_TRUE(inner->create_file("x"));
}

TEST_F(FileTree, AMountIsReplacedAsAWhole) {
  const auto build = [&](std::string_view content) {
    auto tree = Volume::create({.clock = clock_, .read_only = true, .device = 9})->make_root();
    EXPECT_TRUE(put_file(tree, "key", content));
    return tree;
  };
  auto mount = std::make_shared<Mount>(build("old"), true);
  ASSERT_TRUE(put_mount(root_, "config", mount));
  auto opened = root_->lookup("config").inode;
  auto file = static_cast<Directory&>(*opened).lookup("key").inode;
  mount->replace(build("newer"));
  EXPECT_EQ(as_file(file.get())->size_bytes(), 3u);
  EXPECT_EQ(static_cast<Directory&>(*root_->lookup("config").inode).lookup("key").inode->stat().size, 5u);
  EXPECT_TRUE(root_->lookup("config").read_only);
  EXPECT_EQ(root_->unlink("config"), Errno::Busy);
  EXPECT_EQ(root_->remove_directory("config"), Errno::Busy);
  EXPECT_EQ(Directory::rename(*root_, "config", *root_, "x", false), Errno::Busy);
}

// TSan: containers of a pod share a volume, and the host replaces what is mounted.
TEST_F(FileTree, ThreadsShareAVolume) {
  auto mount = std::make_shared<Mount>(Volume::create({.clock = clock_})->make_root());
  ASSERT_TRUE(put_mount(root_, "mounted", mount));
  const auto work = [&](int id) {
    for (int i = 0; i < 300; ++i) {
      const std::string name = std::to_string(id) + "-" + std::to_string(i % 7);
      if (auto file = root_->create_file(name)) (void)(*file)->write(0, bytes_of(name));
      (void)root_->create_directory("shared");
      if (auto shared = std::static_pointer_cast<Directory>(root_->lookup("shared").inode)) (void)Directory::rename(*root_, name, *shared, name, false);
      (void)root_->remove_directory("shared");
      root_->list(0, [](const Directory::Listed&) { return true; });
      (void)root_->lookup("mounted");
      if (id == 0) mount->replace(Volume::create({.clock = clock_})->make_root());
    }
  };
  std::thread one(work, 0), two(work, 1);
  one.join();
  two.join();
  root_.reset();
  EXPECT_EQ(account_.used_bytes(), 0u);
}

}  // namespace
}  // namespace dormouse::wasi
