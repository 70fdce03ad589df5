// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory_account.h"
#include "base/result.h"
#include "base/utf8.h"

namespace dormouse {
namespace {

std::string logged(Log::Options options, auto&& act) {
  int ends[2];
  EXPECT_EQ(::pipe(ends), 0);
  const UniqueFd reader(ends[0]);
  {
    const UniqueFd writer(ends[1]);
    options.fd = writer.get();
    const ManualClock clock;
    Log log(options, clock);
    act(log);
  }
  std::string text(4096, '\0');
  const ssize_t size = ::read(reader.get(), text.data(), text.size());
  text.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
  return text;
}

TEST(Result, SaysWhatFailedAndWhere) {
  const Result<int> failed = fail_errno(ENOENT, "open x");
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, ErrorCode::NotFound);
  EXPECT_EQ(Error(failed.error()).within("a.yaml:3").message, "a.yaml:3: open x: No such file or directory");
}

TEST(Log, JsonLinesStayJsonWhateverTheGuestPrints) {
  const std::string line = logged({.format = Log::Format::Json}, [](Log& log) {
    log.write_guest_line("a\"b", "stdout", "x\x1b\xff\n\"y", 0);
  });
  EXPECT_EQ(line, "{\"time\":\"2027-01-15T08:00:00.000000Z\",\"guest\":\"a\\\"b\",\"stream\":\"stdout\",\"line\":\"x\\u001b\xef\xbf\xbd\\n\\\"y\"}\n");
}

TEST(Log, ATerminalIsNotSteeredByAGuestsLine) {
  const std::string line = logged({}, [](Log& log) { log.write_guest_line("g", "stdout", "\x1b[31mred\x1b[2Jgone\r\xc2\x9b", 0); });
  EXPECT_EQ(line, "g | red\\x1b[2Jgone\\x0d\\xc2\\x9b\n");
  const std::string coloured = logged({.colour = true}, [](Log& log) { log.write_guest_line("g", "stdout", "\x1b[31mred\x1b[H", 0); });
  EXPECT_EQ(coloured, "\x1b[36mg |\x1b[0m \x1b[31mred\\x1b[H\x1b[0m\n");
}

TEST(Log, TextFieldsAreQuotedOnlyWhereNeeded) {
  const std::string line = logged({}, [](Log& log) { log.warning("m", {{"a", "plain"}, {"b", "two words"}, {"n", 3}}); });
  EXPECT_EQ(line, "W 08:00:00.000 m a=plain b=\"two words\" n=3\n");
}

TEST(MemoryAccount, RefusesWhatPassesTheLimitAndCountsIt) {
  MemoryAccount account(100);
  EXPECT_TRUE(account.try_charge(60));
  EXPECT_FALSE(account.try_charge(41));
  EXPECT_FALSE(account.try_charge(~std::uint64_t{0}));
  EXPECT_TRUE(account.try_charge(40));
  EXPECT_EQ(account.refusals(), 2U);
  account.release(100);
  EXPECT_EQ(account.used_bytes(), 0U);
}

TEST(Utf8, IsWhatUnicodeCallsWellFormed) {
  for (const char* good : {"", "a", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x90\xad", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf"}) EXPECT_TRUE(is_utf8(good)) << good;
  for (const char* bad : {"\x80", "\xc3", "\xc0\x80", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe2\x82"}) EXPECT_FALSE(is_utf8(bad)) << bad;
  EXPECT_EQ(utf8_valid_bytes("ab\xc3\xa4\xff"), 4U);
}

}  // namespace
}  // namespace dormouse
