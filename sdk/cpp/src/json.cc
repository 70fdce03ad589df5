// SPDX-License-Identifier: Apache-2.0
#include "kubepp/json.h"

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <utility>

namespace kubepp {
namespace {

constexpr int kDepthMax = 128;  // Of nested arrays and objects: deep enough for any CRD schema, far from the stack's end.

const Json& null_value() {
  static const Json null;
  return null;
}

class Parser {
 public:
  explicit Parser(std::string_view text) : at_(text.data()), begin_(at_), end_(at_ + text.size()) {}

  Result<Json> run() {
    Json value;
    skip_space();
    if (!parse_value(value, 0)) return error();
    skip_space();
    if (at_ != end_) {
      what_ = "something follows the value";
      return error();
    }
    return value;
  }

 private:
  std::unexpected<Error> error() const {
    return fail("Protocol", "not JSON at byte " + std::to_string(at_ - begin_) + ": " + what_);
  }
  bool wrong(const char* what) {
    what_ = what;
    return false;
  }
  void skip_space() {
    while (at_ != end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\r' || *at_ == '\t')) ++at_;
  }
  bool take(char c) {
    if (at_ == end_ || *at_ != c) return false;
    ++at_;
    return true;
  }
  bool take_word(std::string_view word) {
    if (static_cast<std::size_t>(end_ - at_) < word.size() || std::string_view(at_, word.size()) != word) {
      return wrong("unknown word");
    }
    at_ += word.size();
    return true;
  }

  bool parse_value(Json& into, int depth) {
    if (at_ == end_) return wrong("it ends too early");
    switch (*at_) {
      case '{': return parse_object(into, depth + 1);
      case '[': return parse_array(into, depth + 1);
      case '"': {
        std::string text;
        if (!parse_string(text)) return false;
        into = Json(std::move(text));
        return true;
      }
      case 't': into = true; return take_word("true");
      case 'f': into = false; return take_word("false");
      case 'n': into = nullptr; return take_word("null");
      default: return parse_number(into);
    }
  }

  bool parse_object(Json& into, int depth) {
    if (depth > kDepthMax) return wrong("nested too deeply");
    ++at_;
    into = Json::object();
    skip_space();
    if (take('}')) return true;
    std::vector<Json::Member> members;
    do {
      skip_space();
      if (at_ == end_ || *at_ != '"') return wrong("a member's name is expected");
      members.emplace_back();
      if (!parse_string(members.back().name)) return false;
      skip_space();
      if (!take(':')) return wrong("':' is expected");
      skip_space();
      if (!parse_value(members.back().value, depth)) return false;
      skip_space();
    } while (take(','));
    if (!take('}')) return wrong("',' or '}' is expected");
    into = Json::from_members(std::move(members));
    return true;
  }

  bool parse_array(Json& into, int depth) {
    if (depth > kDepthMax) return wrong("nested too deeply");
    ++at_;
    into = Json::array();
    skip_space();
    if (take(']')) return true;
    do {
      Json item;
      skip_space();
      if (!parse_value(item, depth)) return false;
      into.push_back(std::move(item));
      skip_space();
    } while (take(','));
    return take(']') || wrong("',' or ']' is expected");
  }

  bool digits() {
    const char* first = at_;
    while (at_ != end_ && *at_ >= '0' && *at_ <= '9') ++at_;
    return at_ != first;
  }

  bool parse_number(Json& into) {
    const char* first = at_;
    bool integer = true;
    take('-');
    if (!take('0') && !digits()) return wrong("a value is expected");
    if (take('.')) {
      integer = false;
      if (!digits()) return wrong("a digit is expected");
    }
    if (take('e') || take('E')) {
      integer = false;
      if (!take('+')) take('-');
      if (!digits()) return wrong("a digit is expected");
    }
    if (integer) {
      std::int64_t value = 0;
      if (std::from_chars(first, at_, value).ec == std::errc()) {
        into = value;
        return true;
      }
    }
    into = std::strtod(std::string(first, at_).c_str(), nullptr);
    return true;
  }

  bool hex4(std::uint32_t& into) {
    if (end_ - at_ < 4) return wrong("it ends within an escape");
    auto [stop, failure] = std::from_chars(at_, at_ + 4, into, 16);
    if (failure != std::errc() || stop != at_ + 4) return wrong("four hex digits are expected");
    at_ += 4;
    return true;
  }

  static void append_utf8(std::string& into, std::uint32_t code) {
    auto add = [&into](std::uint32_t byte) { into.push_back(static_cast<char>(byte)); };
    if (code < 0x80) {
      add(code);
    } else if (code < 0x800) {
      add(0xc0 | code >> 6), add(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
      add(0xe0 | code >> 12), add(0x80 | (code >> 6 & 0x3f)), add(0x80 | (code & 0x3f));
    } else {
      add(0xf0 | code >> 18), add(0x80 | (code >> 12 & 0x3f)), add(0x80 | (code >> 6 & 0x3f)), add(0x80 | (code & 0x3f));
    }
  }

  bool parse_escape(std::string& into) {
    if (at_ == end_) return wrong("it ends within an escape");
    switch (*at_++) {
      case '"': into += '"'; return true;
      case '\\': into += '\\'; return true;
      case '/': into += '/'; return true;
      case 'b': into += '\b'; return true;
      case 'f': into += '\f'; return true;
      case 'n': into += '\n'; return true;
      case 'r': into += '\r'; return true;
      case 't': into += '\t'; return true;
      case 'u': break;
      default: return wrong("unknown escape");
    }
    std::uint32_t code = 0;
    if (!hex4(code)) return false;
    if (code >= 0xdc00 && code < 0xe000) return wrong("half of a surrogate pair");
    if (code >= 0xd800 && code < 0xdc00) {
      std::uint32_t low = 0;
      if (!take('\\') || !take('u')) return wrong("half of a surrogate pair");
      if (!hex4(low)) return false;
      if (low < 0xdc00 || low >= 0xe000) return wrong("half of a surrogate pair");
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    append_utf8(into, code);
    return true;
  }

  // One character beyond ASCII: complete, shortest form, no surrogate, at most U+10FFFF.
  bool skip_utf8() {
    auto byte = [this](int i) { return static_cast<unsigned char>(at_[i]); };
    const unsigned lead = byte(0);
    const int length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || end_ - at_ < length) return wrong("invalid UTF-8");
    for (int i = 1; i < length; ++i) {
      if ((byte(i) & 0xc0) != 0x80) return wrong("invalid UTF-8");
    }
    const unsigned second = byte(1);
    if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f) || (lead == 0xf0 && second < 0x90) ||
        (lead == 0xf4 && second > 0x8f)) {
      return wrong("invalid UTF-8");
    }
    at_ += length;
    return true;
  }

  bool parse_string(std::string& into) {
    ++at_;
    const char* plain = at_;
    while (at_ != end_) {
      const auto c = static_cast<unsigned char>(*at_);
      if (c == '"') {
        into.append(plain, at_++);
        return true;
      }
      if (c == '\\') {
        into.append(plain, at_++);
        if (!parse_escape(into)) return false;
        plain = at_;
      } else if (c < 0x20) {
        return wrong("a control character in a string");
      } else if (c < 0x80) {
        ++at_;
      } else if (!skip_utf8()) {
        return false;
      }
    }
    return wrong("it ends within a string");
  }

  const char* at_;
  const char* begin_;
  const char* end_;
  const char* what_ = "";
};

void write_string(std::string& out, std::string_view text) {
  out += '"';
  for (char c : text) {
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          constexpr char kHex[] = "0123456789abcdef";
          out += "\\u00";
          out += kHex[c >> 4];
          out += kHex[c & 15];
        } else {
          out += c;
        }
    }
  }
  out += '"';
}

void write_value(std::string& out, const Json& value) {
  char number[32];
  if (value.is_object()) {
    char separator = '{';
    for (const auto& [name, member] : value.members()) {
      out += separator;
      write_string(out, name);
      out += ':';
      write_value(out, member);
      separator = ',';
    }
    out += separator == '{' ? "{}" : "}";
  } else if (value.is_array()) {
    char separator = '[';
    for (const Json& item : value.items()) {
      out += separator;
      write_value(out, item);
      separator = ',';
    }
    out += separator == '[' ? "[]" : "]";
  } else if (value.is_string()) {
    write_string(out, value.as_string());
  } else if (value.is_bool()) {
    out += value.as_bool() ? "true" : "false";
  } else if (value.is_integer()) {
    out.append(number, std::to_chars(number, number + sizeof(number), value.as_integer()).ptr);
  } else if (value.is_number() && std::isfinite(value.as_number())) {
    out.append(number, std::to_chars(number, number + sizeof(number), value.as_number()).ptr);
  } else {
    out += "null";
  }
}

}  // namespace

Json::Json() = default;
Json::Json(Scalar scalar) {
  std::visit([this](auto value) { value_ = value; }, scalar);
}
Json::Json(std::string value) : value_(std::move(value)) {}
Json::Json(std::string_view value) : value_(std::string(value)) {}
Json::Json(const char* value) : value_(std::string(value)) {}
Json::Json(const Json&) = default;
Json::Json(Json&&) noexcept = default;
Json& Json::operator=(const Json&) = default;
Json& Json::operator=(Json&&) noexcept = default;
Json::~Json() = default;

Json Json::object(std::initializer_list<Member> members) { return from_members(Members(members)); }

Json Json::from_members(std::vector<Member> members) {
  Json made;
  made.value_ = std::move(members);
  return made;
}

Json Json::array(std::initializer_list<Json> items) {
  Json made;
  made.value_ = Items(items);
  return made;
}

Result<Json> Json::parse(std::string_view text) { return Parser(text).run(); }

std::string Json::dump() const {
  std::string out;
  write_value(out, *this);
  return out;
}

std::string_view Json::as_string(std::string_view fallback) const {
  const auto* value = std::get_if<std::string>(&value_);
  return value ? std::string_view(*value) : fallback;
}

std::int64_t Json::as_integer(std::int64_t fallback) const {
  const auto* value = std::get_if<std::int64_t>(&value_);
  return value ? *value : fallback;
}

double Json::as_number(double fallback) const {
  if (const auto* integer = std::get_if<std::int64_t>(&value_)) return static_cast<double>(*integer);
  const auto* value = std::get_if<double>(&value_);
  return value ? *value : fallback;
}

bool Json::as_bool(bool fallback) const {
  const auto* value = std::get_if<bool>(&value_);
  return value ? *value : fallback;
}

const Json& Json::operator[](std::string_view name) const {
  for (const Member& member : members()) {
    if (member.name == name) return member.value;
  }
  return null_value();
}

const Json& Json::item(std::size_t index) const {
  const auto all = items();
  return index < all.size() ? all[index] : null_value();
}

bool Json::contains(std::string_view name) const {
  for (const Member& member : members()) {
    if (member.name == name) return true;
  }
  return false;
}

std::span<const Json> Json::items() const {
  const auto* items = std::get_if<Items>(&value_);
  return items ? std::span<const Json>(*items) : std::span<const Json>();
}

std::span<Json> Json::items() {
  auto* items = std::get_if<Items>(&value_);
  return items ? std::span<Json>(*items) : std::span<Json>();
}

std::span<const Json::Member> Json::members() const {
  const auto* members = std::get_if<Members>(&value_);
  return members ? std::span<const Member>(*members) : std::span<const Member>();
}

std::size_t Json::size() const { return is_array() ? items().size() : members().size(); }

Json& Json::operator[](std::string_view name) {
  if (!is_object()) value_ = Members();
  auto& members = *std::get_if<Members>(&value_);
  for (Member& member : members) {
    if (member.name == name) return member.value;
  }
  members.push_back({std::string(name), Json()});
  return members.back().value;
}

void Json::push_back(Json item) {
  if (!is_array()) value_ = Items();
  std::get_if<Items>(&value_)->push_back(std::move(item));
}

void Json::erase(std::string_view name) {
  if (auto* members = std::get_if<Members>(&value_)) {
    std::erase_if(*members, [&](const Member& member) { return member.name == name; });
  }
}

bool operator==(const Json& a, const Json& b) {
  if (!a.is_object() || !b.is_object()) {
    if (a.value_.index() != b.value_.index()) return a.is_number() && b.is_number() && a.as_number() == b.as_number();
    if (a.is_array()) {
      if (a.size() != b.size()) return false;
      for (std::size_t i = 0; i < a.size(); ++i) {
        if (!(a[i] == b[i])) return false;
      }
      return true;
    }
    if (a.is_string()) return a.as_string() == b.as_string();
    if (a.is_bool()) return a.as_bool() == b.as_bool();
    if (a.is_integer()) return a.as_integer() == b.as_integer();
    return a.is_null() || a.as_number() == b.as_number();
  }
  if (a.size() != b.size()) return false;
  for (const auto& [name, value] : a.members()) {
    if (!b.contains(name) || !(b[name] == value)) return false;
  }
  return true;
}

}  // namespace kubepp
