// SPDX-License-Identifier: Apache-2.0
#include "wasi/file_data.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "wasi/test_guest.h"

namespace dormouse::wasi {
namespace {

using test::bytes_of;

TEST(FileData, AByteAtOneTebibyteCostsOneBlock) {
  MemoryAccount account(1 << 20);
  {
    FileData data(&account);
    EXPECT_EQ(data.write(std::uint64_t{1} << 40, bytes_of("x")).bytes, 1u);
    EXPECT_EQ(data.size_bytes(), (std::uint64_t{1} << 40) + 1);
    EXPECT_LE(account.used_bytes(), FileData::kBlockBytesMin + FileData::kBlockOverheadBytes);
    std::byte near_end[3];
    EXPECT_EQ(data.read((std::uint64_t{1} << 40) - 2, near_end), 3u);
    EXPECT_EQ(near_end[1], std::byte{0});
    EXPECT_EQ(near_end[2], std::byte{'x'});
    EXPECT_EQ(data.charged_bytes(), account.used_bytes());
  }
  EXPECT_EQ(account.used_bytes(), 0u);
}

TEST(FileData, RefusesWhatTheAccountDoesNotHold) {
  MemoryAccount account(40'000);
  FileData data(&account);
  const std::vector<std::byte> much(100'000, std::byte{7});
  const FileData::Written first = data.write(0, much);
  EXPECT_EQ(first.error, Errno::Success);
  EXPECT_EQ(first.bytes, 2 * FileData::kBlockBytes);
  EXPECT_EQ(data.size_bytes(), first.bytes);
  EXPECT_EQ(data.write(first.bytes, much).error, Errno::NoSpc);
  EXPECT_EQ(data.size_bytes(), first.bytes);
  EXPECT_EQ(data.resize(0), Errno::Success);
  EXPECT_EQ(account.used_bytes(), 0u);
}

TEST(FileData, WhatTheHostGaveIsChargedWhenItIsChanged) {
  const auto text_of = [](const FileData& data) {
    std::string text(data.size_bytes(), '?');
    EXPECT_EQ(data.read(0, std::as_writable_bytes(std::span(text))), text.size());
    return text;
  };
  const std::vector<std::byte> letter(1, std::byte{'x'});
  MemoryAccount account(200), none(0);
  {
    FileData data(&account, "given");
    EXPECT_EQ(data.size_bytes(), 5u);
    EXPECT_EQ(text_of(data), "given");
    EXPECT_EQ(data.resize(4), Errno::Success);
    EXPECT_EQ(account.used_bytes(), 0u);
    EXPECT_EQ(data.write(5, letter).bytes, 1u);
    EXPECT_EQ(text_of(data), std::string("give\0x", 6));
    EXPECT_GT(account.used_bytes(), 0u);
    EXPECT_EQ(data.charged_bytes(), account.used_bytes());
  }
  EXPECT_EQ(account.used_bytes(), 0u);
  FileData data(&none, "given");
  EXPECT_EQ(data.write(0, letter).error, Errno::NoSpc);
  EXPECT_EQ(data.resize(6), Errno::NoSpc);
  EXPECT_EQ(data.allocate(0, 6), Errno::NoSpc);
  EXPECT_EQ(text_of(data), "given");
  EXPECT_EQ(data.resize(0), Errno::Success);
  EXPECT_EQ(data.size_bytes(), 0u);
}

TEST(FileData, FilesEndAtTheirLimit) {
  FileData data(nullptr);
  EXPECT_EQ(data.write(FileData::kSizeBytesMax, bytes_of("x")).error, Errno::FBig);
  EXPECT_EQ(data.write(FileData::kSizeBytesMax - 1, bytes_of("xy")).bytes, 1u);
  EXPECT_EQ(data.resize(FileData::kSizeBytesMax + 1), Errno::FBig);
  EXPECT_EQ(data.allocate(0, FileData::kSizeBytesMax + 1), Errno::FBig);
  EXPECT_EQ(data.allocate(~std::uint64_t{0}, 2), Errno::FBig);
}

TEST(FileData, WhatWasCutOffReadsAsZerosWhenTheFileGrowsAgain) {
  FileData data(nullptr);
  EXPECT_EQ(data.write(0, bytes_of("secret")).bytes, 6u);
  EXPECT_EQ(data.resize(2), Errno::Success);
  EXPECT_EQ(data.resize(6), Errno::Success);
  std::byte bytes[6];
  EXPECT_EQ(data.read(0, bytes), 6u);
  EXPECT_EQ(bytes[1], std::byte{'e'});
  for (int i = 2; i < 6; ++i) EXPECT_EQ(bytes[i], std::byte{0});
}

TEST(FileData, AllocateThatIsRefusedLeavesNothingBehind) {
  MemoryAccount account(100'000);
  FileData data(&account);
  EXPECT_EQ(data.write(0, bytes_of("abc")).bytes, 3u);
  EXPECT_EQ(data.allocate(0, 99'999), Errno::NoSpc);
  EXPECT_EQ(data.allocate(0, std::uint64_t{1} << 43), Errno::NoSpc);
  EXPECT_EQ(data.size_bytes(), 3u);
  EXPECT_LE(account.used_bytes(), FileData::kBlockBytes + FileData::kBlockOverheadBytes);
  EXPECT_EQ(data.allocate(10, 20), Errno::Success);
  EXPECT_EQ(data.size_bytes(), 30u);
}

TEST(FileData, BehavesAsAFlatArrayUnderRandomUse) {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    MemoryAccount account(1 << 30);
    {
      FileData data(&account);
      std::vector<std::byte> flat;
      for (int step = 0; step < 300; ++step) {
        const std::size_t offset = random() % 70'000, length = random() % 40'000;
        if (random() % 5 == 0) {
          ASSERT_EQ(data.resize(offset), Errno::Success);
          flat.resize(offset);
        } else if (random() % 3 == 0) {
          std::vector<std::byte> got(length, std::byte{0xee});
          const std::size_t expected = offset >= flat.size() ? 0 : std::min(length, flat.size() - offset);
          ASSERT_EQ(data.read(offset, got), expected);
          ASSERT_TRUE(std::equal(got.begin(), got.begin() + static_cast<std::ptrdiff_t>(expected), flat.begin() + static_cast<std::ptrdiff_t>(std::min(offset, flat.size()))));
        } else if (length > 0) {
          const std::vector<std::byte> bytes(length, static_cast<std::byte>(random()));
          ASSERT_EQ(data.write(offset, bytes).bytes, length);
          if (flat.size() < offset + length) flat.resize(offset + length);
          std::copy(bytes.begin(), bytes.end(), flat.begin() + static_cast<std::ptrdiff_t>(offset));
        }
        ASSERT_EQ(data.size_bytes(), flat.size());
        ASSERT_EQ(data.charged_bytes(), account.used_bytes());
      }
    }
    EXPECT_EQ(account.used_bytes(), 0u);
  }
}

}  // namespace
}  // namespace dormouse::wasi
