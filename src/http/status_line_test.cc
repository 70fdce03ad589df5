// SPDX-License-Identifier: Apache-2.0
#include "http/status_line.h"

#include <gtest/gtest.h>

#include <string>

namespace dormouse::http {
namespace {

TEST(StatusLine, IsReadWhenItIsWhole) {
  const std::string_view whole = "HTTP/1.1 204 No Content\r\nX: y\r\n";
  for (std::size_t length = 0; length < 25; ++length) {
    const auto read = read_status_line(whole.substr(0, length));
    ASSERT_TRUE(read) << length;
    EXPECT_FALSE(*read) << length;
  }
  EXPECT_EQ(read_status_line(whole.substr(0, 25)).value(), 204U);
  EXPECT_EQ(read_status_line(whole).value(), 204U);
  for (const char* good : {"HTTP/1.0 200 OK\n", "HTTP/1.1 200\r\n", "HTTP/1.1 200 \r\n"}) EXPECT_EQ(read_status_line(good).value(), 200U) << good;
}

TEST(StatusLine, WhatIsNotHttpIsRefusedAtOnce) {
  for (const char* bad : {"x", "HTTQ", "HTTP/2 200\n", "HTTP/1.2 200\n", "HTTP/1.1  200\n", "HTTP/1.1 20\n", "HTTP/1.1 2000\n", "HTTP/1.1 099 x\n", "HTTP/1.1 600 x\n", "HTTP/1.1 2x0\n", "\n", "HTTP/1.1\n"}) {
    EXPECT_FALSE(read_status_line(bad)) << bad;
  }
  EXPECT_FALSE(read_status_line("HTTP/1.1 200 " + std::string(kStatusLineBytesMax, 'x')));
  EXPECT_FALSE(read_status_line("HTTP/1.1 200 " + std::string(kStatusLineBytesMax, 'x') + "\r\n"));
}

}  // namespace
}  // namespace dormouse::http
