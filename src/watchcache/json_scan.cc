// SPDX-License-Identifier: Apache-2.0
#include "watchcache/json_scan.h"

#include <charconv>

namespace dormouse::watchcache {

namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// REQUIRES: four hexadecimal digits, as string() has seen.
std::uint32_t four_digits(std::string_view text) {
  std::uint32_t unit = 0;
  for (std::size_t i = 0; i < 4; ++i) unit = unit * 16 + static_cast<std::uint32_t>(hex_digit(text[i]));
  return unit;
}

void append_utf8(std::string& out, std::uint32_t c) {
  if (c < 0x80) {
    out.push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    out.push_back(static_cast<char>(0xC0 | (c >> 6)));
    out.push_back(static_cast<char>(0x80 | (c & 0x3F)));
  } else if (c < 0x10000) {
    out.push_back(static_cast<char>(0xE0 | (c >> 12)));
    out.push_back(static_cast<char>(0x80 | ((c >> 6) & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (c & 0x3F)));
  } else {
    out.push_back(static_cast<char>(0xF0 | (c >> 18)));
    out.push_back(static_cast<char>(0x80 | ((c >> 12) & 0x3F)));
    out.push_back(static_cast<char>(0x80 | ((c >> 6) & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (c & 0x3F)));
  }
}

}  // namespace

bool JsonScan::string(std::string_view& raw) {
  if (!take('"')) return false;
  const std::size_t from = at_;
  while (at_ < text_.size()) {
    const char c = text_[at_];
    if (c == '"') {
      raw = text_.substr(from, at_ - from);
      ++at_;
      return true;
    }
    if (static_cast<unsigned char>(c) < 0x20) return false;
    if (c != '\\') {
      ++at_;
      continue;
    }
    if (at_ + 1 >= text_.size()) return false;
    if (text_[at_ + 1] == 'u') {
      if (at_ + 6 > text_.size()) return false;
      for (std::size_t i = 2; i < 6; ++i) {
        if (hex_digit(text_[at_ + i]) < 0) return false;
      }
      at_ += 6;
    } else {
      if (std::string_view("\"\\/bfnrt").find(text_[at_ + 1]) == std::string_view::npos) return false;
      at_ += 2;
    }
  }
  return false;
}

bool JsonScan::string(std::string& value) {
  std::string_view raw;
  if (!string(raw)) return false;
  value.clear();
  while (true) {
    const std::size_t escape = raw.find('\\');
    value.append(raw.substr(0, escape));
    if (escape == std::string_view::npos) return true;
    const char kind = raw[escape + 1];
    raw.remove_prefix(escape + 2);
    switch (kind) {
      case 'b': value.push_back('\b'); break;
      case 'f': value.push_back('\f'); break;
      case 'n': value.push_back('\n'); break;
      case 'r': value.push_back('\r'); break;
      case 't': value.push_back('\t'); break;
      case 'u': {
        std::uint32_t unit = four_digits(raw);
        raw.remove_prefix(4);
        const bool high = unit >= 0xD800 && unit < 0xDC00;
        if (high && raw.starts_with("\\u") && four_digits(raw.substr(2)) >= 0xDC00 && four_digits(raw.substr(2)) < 0xE000) {
          unit = 0x10000 + ((unit - 0xD800) << 10) + (four_digits(raw.substr(2)) - 0xDC00);
          raw.remove_prefix(6);
        } else if (unit >= 0xD800 && unit < 0xE000) {
          unit = 0xFFFD;  // Half a pair.
        }
        append_utf8(value, unit);
        break;
      }
      default: value.push_back(kind);
    }
  }
}

bool JsonScan::number(std::int64_t& value) {
  blanks();
  const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
  if (error != std::errc()) return false;
  at_ = static_cast<std::size_t>(end - text_.data());
  return true;
}

bool JsonScan::plain_number() {
  const auto digits = [this] {
    const std::size_t from = at_;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
    return at_ > from;
  };
  if (at_ < text_.size() && text_[at_] == '-') ++at_;
  if (at_ < text_.size() && text_[at_] == '0') {
    ++at_;
  } else if (!digits()) {
    return false;
  }
  if (at_ < text_.size() && text_[at_] == '.') {
    ++at_;
    if (!digits()) return false;
  }
  if (at_ < text_.size() && (text_[at_] == 'e' || text_[at_] == 'E')) {
    ++at_;
    if (at_ < text_.size() && (text_[at_] == '+' || text_[at_] == '-')) ++at_;
    if (!digits()) return false;
  }
  return true;
}

bool JsonScan::word(std::string_view word) {
  if (!text_.substr(at_).starts_with(word)) return false;
  at_ += word.size();
  return true;
}

bool JsonScan::value(int depth) {
  std::string_view ignored;
  switch (peek()) {
    case '{':
      if (depth == kDepthMax) return false;
      ++at_;
      if (take('}')) return true;
      do {
        if (!string(ignored) || !take(':') || !value(depth + 1)) return false;
      } while (take(','));
      return take('}');
    case '[':
      if (depth == kDepthMax) return false;
      ++at_;
      if (take(']')) return true;
      do {
        if (!value(depth + 1)) return false;
      } while (take(','));
      return take(']');
    case '"': return string(ignored);
    case 't': return word("true");
    case 'f': return word("false");
    case 'n': return word("null");
    default: return plain_number();
  }
}

}  // namespace dormouse::watchcache
