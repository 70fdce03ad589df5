// SPDX-License-Identifier: Apache-2.0
#pragma once
// Walks over JSON text without building anything: strict (RFC 8259), bounded in depth, and it says where things lie, so
// that stored text can be spliced.
//
// UTF-8 is not checked: strings are passed on as they are, and names are compared as bytes.
//
// Ownership: borrows the text.
// Threads: any.

#include <cstdint>
#include <string>
#include <string_view>

namespace dormouse::watchcache {

class JsonScan {
 public:
  static constexpr int kDepthMax = 128;  // managedFields nest deeply; nothing else does.

  explicit JsonScan(std::string_view text) : text_(text) {}

  std::size_t at() const { return at_; }
  bool at_end() {
    blanks();
    return at_ == text_.size();
  }
  // Goes past `c`, after blanks. False: something else is there.
  bool take(char c) {
    blanks();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  char peek() {
    blanks();
    return at_ == text_.size() ? '\0' : text_[at_];
  }
  // Goes past a string; `raw` is what is between the quotes. False: none, or malformed.
  bool string(std::string_view& raw);
  // The same, with escapes undone.
  bool string(std::string& value);
  // Goes past a whole number that fits.
  bool number(std::int64_t& value);
  // Goes past any value. False: malformed, or too deep.
  bool value() { return value(0); }
  // Goes past an object and calls `member(key)` at each value, which goes past it. False: malformed, or `member` said so.
  template <typename F>
  bool object(F&& member) {
    if (!take('{')) return false;
    if (take('}')) return true;
    std::string key;
    while (true) {
      blanks();
      member_at_ = at_;
      if (!string(key) || !take(':') || !member(std::string_view(key))) return false;
      if (take(',')) continue;
      return take('}');
    }
  }
  // Goes past an array and calls `element()` at each value.
  template <typename F>
  bool array(F&& element) {
    if (!take('[')) return false;
    if (take(']')) return true;
    while (true) {
      if (!element()) return false;
      if (take(',')) continue;
      return take(']');
    }
  }
  // Where the key of the member that object() has just read begins.
  std::size_t member_at() const { return member_at_; }
  std::string_view since(std::size_t from) const { return text_.substr(from, at_ - from); }

 private:
  bool value(int depth);
  bool plain_number();
  bool word(std::string_view word);
  void blanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' || text_[at_] == '\t')) ++at_;
  }

  std::string_view text_;
  std::size_t at_ = 0, member_at_ = 0;
};

}  // namespace dormouse::watchcache
