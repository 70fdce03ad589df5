// SPDX-License-Identifier: Apache-2.0
#include "watchcache/selector.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace dormouse::watchcache {

namespace {

bool is_alphanumeric(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

// Letters, digits, '-', '_', '.'; the ends are letters or digits; at most 63 (RFC 1123 labels, widened).
bool is_plain_part(std::string_view text) {
  if (text.empty() || text.size() > 63 || !is_alphanumeric(text.front()) || !is_alphanumeric(text.back())) return false;
  return std::ranges::all_of(text, [](char c) { return is_alphanumeric(c) || c == '-' || c == '_' || c == '.'; });
}

bool is_dns_subdomain(std::string_view text) {
  if (text.empty() || text.size() > 253) return false;
  while (true) {
    const std::size_t dot = text.find('.');
    const std::string_view part = text.substr(0, dot);
    if (part.empty() || part.front() == '-' || part.back() == '-') return false;
    if (!std::ranges::all_of(part, [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; })) return false;
    if (dot == std::string_view::npos) return true;
    text.remove_prefix(dot + 1);
  }
}

bool is_label_key(std::string_view key) {
  const std::size_t slash = key.find('/');
  if (slash == std::string_view::npos) return is_plain_part(key);
  return is_dns_subdomain(key.substr(0, slash)) && is_plain_part(key.substr(slash + 1));
}

bool is_label_value(std::string_view value) { return value.empty() || is_plain_part(value); }

std::optional<std::int64_t> number_of(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

}  // namespace

Result<Labels> Labels::create(std::vector<std::pair<std::string, std::string>> pairs) {
  std::ranges::sort(pairs);
  Labels labels;
  std::size_t bytes = 0;
  for (const auto& [key, value] : pairs) bytes += key.size() + value.size() + 2;
  labels.flat_.reserve(bytes);
  const std::string* last = nullptr;
  for (const auto& [key, value] : pairs) {
    if (key.find('\0') != std::string::npos || value.find('\0') != std::string::npos) return fail(ErrorCode::Corrupt, "a label holds a NUL");
    if (last != nullptr && *last == key) return fail(ErrorCode::Corrupt, "the label \"{}\" is there twice", key);
    last = &key;
    labels.flat_.append(key).push_back('\0');
    labels.flat_.append(value).push_back('\0');
  }
  return labels;
}

std::string_view Labels::find(std::string_view key) const {
  std::string_view rest = flat_;
  while (!rest.empty()) {
    const std::size_t key_end = rest.find('\0');
    const std::size_t value_end = rest.find('\0', key_end + 1);
    if (rest.substr(0, key_end) == key) return rest.substr(key_end + 1, value_end - key_end - 1);
    rest.remove_prefix(value_end + 1);
  }
  return {};
}

// The grammar of apimachinery's labels.Parse, token for token.
class LabelSelectorParser {
 public:
  explicit LabelSelectorParser(std::string_view text) : text_(text) {}

  Result<LabelSelector> parse() {
    LabelSelector selector;
    if (text_.find('\0') != std::string_view::npos) return fail(ErrorCode::InvalidArgument, "label selector: it holds a NUL");
    scan();
    while (true) {
      if (is(Token::End)) break;
      auto requirement = parse_requirement();
      if (!requirement) return fail(std::move(requirement.error()));
      selector.requirements_.push_back(std::move(*requirement));
      const Item after = consume();
      if (after.token == Token::End) break;
      if (after.token != Token::Comma) return unexpected(after, "',' or the end");
      if (!is_identifier() && !is(Token::Not)) return unexpected(tokens_[at_], "a key after ','");
    }
    auto& requirements = selector.requirements_;
    std::ranges::sort(requirements);
    requirements.erase(std::unique(requirements.begin(), requirements.end()), requirements.end());
    return selector;
  }

 private:
  using Operator = LabelSelector::Operator;
  enum class Token : std::uint8_t { End, Open, Close, Comma, Not, Equal, DoubleEqual, NotEqual, Greater, Less, In, NotIn, Identifier };
  struct Item {
    Token token;
    std::string_view text;
  };

  static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }
  static bool is_special(char c) { return std::string_view("=!(),><").find(c) != std::string_view::npos; }

  void scan() {
    std::size_t at = 0;
    const auto special = [&](std::size_t length, Token token) {
      tokens_.push_back({token, text_.substr(at, length)});
      at += length;
    };
    while (true) {
      while (at < text_.size() && is_blank(text_[at])) ++at;
      if (at == text_.size()) break;
      const std::string_view rest = text_.substr(at);
      if (rest.starts_with("==")) special(2, Token::DoubleEqual);
      else if (rest.starts_with("!=")) special(2, Token::NotEqual);
      else if (rest[0] == '=') special(1, Token::Equal);
      else if (rest[0] == '!') special(1, Token::Not);
      else if (rest[0] == '(') special(1, Token::Open);
      else if (rest[0] == ')') special(1, Token::Close);
      else if (rest[0] == ',') special(1, Token::Comma);
      else if (rest[0] == '>') special(1, Token::Greater);
      else if (rest[0] == '<') special(1, Token::Less);
      else {
        std::size_t length = 0;
        while (length < rest.size() && !is_blank(rest[length]) && !is_special(rest[length])) ++length;
        const std::string_view word = rest.substr(0, length);
        special(length, word == "in" ? Token::In : word == "notin" ? Token::NotIn : Token::Identifier);
      }
    }
    tokens_.push_back({Token::End, ""});
  }

  bool is(Token token) const { return tokens_[at_].token == token; }
  // `in` and `notin` are words like others where no operator can stand.
  static bool word(Token token) { return token == Token::Identifier || token == Token::In || token == Token::NotIn; }
  bool is_identifier() const { return word(tokens_[at_].token); }
  Item consume() {
    const Item item = tokens_[at_];
    if (at_ + 1 < tokens_.size()) ++at_;
    return item;
  }
  static std::unexpected<Error> unexpected(const Item& found, std::string_view expected) {
    return fail(ErrorCode::InvalidArgument, "label selector: found '{}', expected {}", found.text, expected);
  }

  Result<LabelSelector::Requirement> parse_requirement() {
    LabelSelector::Requirement requirement{{}, Operator::Exists, {}, 0};
    Item item = consume();
    const bool negated = item.token == Token::Not;
    if (negated) item = consume();
    if (!word(item.token)) return unexpected(item, "a key");
    if (!is_label_key(item.text)) return fail(ErrorCode::InvalidArgument, "label selector: '{}' is no label's key", item.text);
    requirement.key = item.text;
    if (negated) {
      requirement.op = Operator::DoesNotExist;
      return requirement;
    }
    if (is(Token::End) || is(Token::Comma)) return requirement;
    const Item op = consume();
    Result<void> read;
    switch (op.token) {
      case Token::In: case Token::NotIn:
        requirement.op = op.token == Token::In ? Operator::In : Operator::NotIn;
        read = parse_values(requirement.values);
        break;
      case Token::Equal: case Token::DoubleEqual: case Token::NotEqual: case Token::Greater: case Token::Less:
        requirement.op = op.token == Token::NotEqual ? Operator::NotIn : op.token == Token::Greater ? Operator::GreaterThan : op.token == Token::Less ? Operator::LessThan : Operator::In;
        read = parse_exact_value(requirement.values);
        break;
      default: return unexpected(op, "an operator");
    }
    if (!read) return fail(std::move(read.error()));
    for (const std::string& value : requirement.values) {
      if (!is_label_value(value)) return fail(ErrorCode::InvalidArgument, "label selector: '{}' is no label's value", value);
    }
    if (requirement.op == Operator::GreaterThan || requirement.op == Operator::LessThan) {
      const auto number = number_of(requirement.values[0]);
      if (!number) return fail(ErrorCode::InvalidArgument, "label selector: '{}' is no integer", requirement.values[0]);
      requirement.number = *number;
    }
    std::ranges::sort(requirement.values);
    requirement.values.erase(std::unique(requirement.values.begin(), requirement.values.end()), requirement.values.end());
    return requirement;
  }

  // "(a,b)"; nothing between two signs is the empty value.
  Result<void> parse_values(std::vector<std::string>& values) {
    if (const Item open = consume(); open.token != Token::Open) return unexpected(open, "'('");
    if (is(Token::Close)) {
      consume();
      values.emplace_back();
      return {};
    }
    while (true) {
      const Item item = consume();
      if (word(item.token)) {
        values.emplace_back(item.text);
        if (is(Token::Close)) break;
        if (!is(Token::Comma)) return unexpected(tokens_[at_], "',' or ')'");
      } else if (item.token == Token::Comma) {
        if (values.empty()) values.emplace_back();
        if (is(Token::Close) || is(Token::Comma)) values.emplace_back();
        if (is(Token::Close)) break;
      } else {
        return unexpected(item, "',' or a value");
      }
    }
    consume();
    return {};
  }

  Result<void> parse_exact_value(std::vector<std::string>& values) {
    if (is(Token::End) || is(Token::Comma)) {
      values.emplace_back();
      return {};
    }
    const Item item = consume();
    if (!word(item.token)) return unexpected(item, "a value");
    values.emplace_back(item.text);
    return {};
  }

  const std::string_view text_;
  std::vector<Item> tokens_;
  std::size_t at_ = 0;
};

Result<LabelSelector> LabelSelector::parse(std::string_view text) { return LabelSelectorParser(text).parse(); }

bool LabelSelector::matches(const Labels& labels) const {
  for (const Requirement& requirement : requirements_) {
    const std::string_view value = labels.find(requirement.key);
    const bool there = value.data() != nullptr;
    bool holds = false;
    switch (requirement.op) {
      case Operator::In: holds = there && std::ranges::find(requirement.values, value) != requirement.values.end(); break;
      case Operator::NotIn: holds = !there || std::ranges::find(requirement.values, value) == requirement.values.end(); break;
      case Operator::Exists: holds = there; break;
      case Operator::DoesNotExist: holds = !there; break;
      case Operator::GreaterThan: case Operator::LessThan: {
        const auto number = there ? number_of(value) : std::nullopt;
        holds = number && (requirement.op == Operator::GreaterThan ? *number > requirement.number : *number < requirement.number);
        break;
      }
    }
    if (!holds) return false;
  }
  return true;
}

std::string LabelSelector::canonical() const {
  std::string text;
  for (const Requirement& requirement : requirements_) {
    if (!text.empty()) text += ',';
    if (requirement.op == Operator::DoesNotExist) text += '!';
    text += requirement.key;
    const bool one = requirement.values.size() == 1;
    switch (requirement.op) {
      case Operator::In: text += one ? "=" : " in ("; break;
      case Operator::NotIn: text += one ? "!=" : " notin ("; break;
      case Operator::GreaterThan: text += '>'; break;
      case Operator::LessThan: text += '<'; break;
      case Operator::Exists: case Operator::DoesNotExist: continue;
    }
    for (std::size_t i = 0; i < requirement.values.size(); ++i) {
      if (i > 0) text += ',';
      text += requirement.values[i];
    }
    if (!one) text += ')';
  }
  return text;
}

Result<FieldSelector> FieldSelector::parse(std::string_view text) {
  FieldSelector selector;
  std::size_t at = 0;
  while (at < text.size()) {
    std::size_t end = at;
    while (end < text.size() && text[end] != ',') end += text[end] == '\\' ? 2 : 1;
    end = std::min(end, text.size());
    const std::string_view part = text.substr(at, end - at);
    at = end + 1;
    if (part.empty()) continue;
    std::size_t op = 0;
    while (op < part.size() && part[op] != '=' && !part.substr(op).starts_with("!=")) ++op;
    if (op == part.size()) return fail(ErrorCode::InvalidArgument, "field selector: can't understand '{}'", part);
    const std::string_view field = part.substr(0, op);
    Term term{.of_name = field == "metadata.name", .equal = part[op] == '=', .value = {}};
    if (!term.of_name && field != "metadata.namespace") return fail(ErrorCode::Unsupported, "field selector: '{}' is known to the API server alone", field);
    std::string_view value = part.substr(op + (part.substr(op).starts_with("=") && !part.substr(op).starts_with("==") ? 1 : 2));
    for (std::size_t i = 0; i < value.size(); ++i) {
      char c = value[i];
      if (c == '=' || c == '\0') return fail(ErrorCode::InvalidArgument, "field selector: a value holds an unescaped '='");
      if (c == '\\') {
        if (++i == value.size() || std::string_view("\\,=").find(value[i]) == std::string_view::npos) {
          return fail(ErrorCode::InvalidArgument, "field selector: an escape that nobody knows in '{}'", value);
        }
        c = value[i];
      }
      term.value.push_back(c);
    }
    selector.terms_.push_back(std::move(term));
  }
  std::ranges::sort(selector.terms_);
  selector.terms_.erase(std::unique(selector.terms_.begin(), selector.terms_.end()), selector.terms_.end());
  return selector;
}

bool FieldSelector::matches(std::string_view namespace_name, std::string_view name) const {
  return std::ranges::all_of(terms_, [&](const Term& term) { return ((term.of_name ? name : namespace_name) == term.value) == term.equal; });
}

bool FieldSelector::names_namespace() const { return std::ranges::any_of(terms_, [](const Term& term) { return !term.of_name; }); }

std::string_view FieldSelector::exact_name() const {
  const auto term = std::ranges::find_if(terms_, [](const Term& t) { return t.of_name && t.equal; });
  return term == terms_.end() ? std::string_view() : std::string_view(term->value);
}

std::string FieldSelector::canonical() const {
  std::string text;
  for (const Term& term : terms_) {
    if (!text.empty()) text += ',';
    text += term.of_name ? "metadata.name" : "metadata.namespace";
    text += term.equal ? "=" : "!=";
    for (const char c : term.value) {
      if (c == '\\' || c == ',' || c == '=') text += '\\';
      text += c;
    }
  }
  return text;
}

}  // namespace dormouse::watchcache
