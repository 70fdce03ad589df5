// SPDX-License-Identifier: Apache-2.0
#include "pods/strict_yaml.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <numeric>

namespace dormouse::pods {

void Diagnostics::error(const YAML::Mark& mark, std::string text) {
  if (errors_.size() == kErrorsMax) errors_.push_back("… and more");
  if (errors_.size() > kErrorsMax) return;
  errors_.push_back(fmt::format("{}: {}", at(mark), text));
}

void Diagnostics::note(const YAML::Mark& mark, std::string text) {
  if (notes_.size() < kErrorsMax) notes_.push_back(fmt::format("{}: {}", at(mark), text));
}

std::string Diagnostics::at(const YAML::Mark& mark) const {
  return mark.is_null() ? source_ : fmt::format("{}:{}", source_, first_line_ + mark.line + 1);
}

std::optional<std::string> nearest(std::string_view word, const std::set<std::string, std::less<>>& candidates) {
  std::optional<std::string> best;
  std::size_t best_distance = std::max<std::size_t>(word.size() / 3, 1) + 1;
  if (word.size() > 64) return best;
  for (const std::string& candidate : candidates) {
    // Levenshtein's distance with one row; case counts half as "equal".
    std::vector<std::size_t> row(candidate.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 1; i <= word.size(); ++i) {
      std::size_t diagonal = row[0];
      row[0] = i;
      for (std::size_t j = 1; j <= candidate.size(); ++j) {
        const std::size_t above = row[j];
        const bool equal = std::tolower(static_cast<unsigned char>(word[i - 1])) == std::tolower(static_cast<unsigned char>(candidate[j - 1]));
        row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (equal ? 0 : 1)});
        diagonal = above;
      }
    }
    if (row.back() < best_distance) {
      best_distance = row.back();
      best = candidate;
    }
  }
  return best;
}

Object::Object(YAML::Node node, std::string path, Diagnostics& diagnostics)
    : node_(std::move(node)), path_(std::move(path)), diagnostics_(diagnostics) {
  if (!node_.IsMap()) {
    if (!node_.IsNull()) diagnostics_.error(node_.Mark(), fmt::format("{} must be a mapping", path_.empty() ? "the document" : path_));
    valid_ = false;
    return;
  }
  std::set<std::string, std::less<>> seen;
  for (const auto& entry : node_) {
    if (!entry.first.IsScalar()) {
      diagnostics_.error(entry.first.Mark(), fmt::format("{} has a key that is not a string", path_));
    } else if (!seen.insert(entry.first.Scalar()).second) {
      diagnostics_.error(entry.first.Mark(), fmt::format("{} is given twice", child_path(entry.first.Scalar())));
    }
  }
}

Object::~Object() {
  if (!valid_) return;
  for (const auto& entry : node_) {
    if (!entry.first.IsScalar() || known_.contains(entry.first.Scalar())) continue;
    const std::string& name = entry.first.Scalar();
    const auto meant = nearest(name, known_);
    diagnostics_.error(entry.first.Mark(), meant ? fmt::format("unknown field {}; did you mean \"{}\"?", child_path(name), *meant)
                                                 : fmt::format("unknown field {}", child_path(name)));
  }
}

std::string Object::child_path(std::string_view field) const {
  return path_.empty() ? std::string(field) : fmt::format("{}.{}", path_, field);
}

YAML::Node Object::take(std::string_view field) {
  known_.emplace(field);
  if (!valid_) return YAML::Node(YAML::NodeType::Undefined);
  const YAML::Node& readable = node_;  // operator[] of a const node adds nothing.
  const YAML::Node found = readable[std::string(field)];
  if (!found.IsDefined() || found.IsNull()) return YAML::Node(YAML::NodeType::Undefined);
  return found;
}

bool Object::has(std::string_view field) { return take(field).IsDefined(); }

std::string Object::scalar(const YAML::Node& node, std::string_view field) {
  if (!node.IsScalar()) {
    diagnostics_.error(node.Mark(), fmt::format("{} must be a string", child_path(field)));
    return {};
  }
  if (node.Scalar().find('\0') != std::string::npos) {
    diagnostics_.error(node.Mark(), fmt::format("{} contains a NUL byte", child_path(field)));
    return {};
  }
  return node.Scalar();
}

std::string Object::string(std::string_view field, std::string_view fallback) {
  const YAML::Node node = take(field);
  return node.IsDefined() ? scalar(node, field) : std::string(fallback);
}

std::string Object::required_string(std::string_view field) {
  const YAML::Node node = take(field);
  if (!valid_) return {};
  if (!node.IsDefined()) {
    error(fmt::format("{} is required", child_path(field)));
    return {};
  }
  std::string value = scalar(node, field);
  if (value.empty() && node.IsScalar()) diagnostics_.error(node.Mark(), fmt::format("{} must not be empty", child_path(field)));
  return value;
}

bool Object::boolean(std::string_view field, bool fallback) {
  const YAML::Node node = take(field);
  if (!node.IsDefined()) return fallback;
  if (node.IsScalar() && node.Scalar() == "true") return true;
  if (node.IsScalar() && node.Scalar() == "false") return false;
  diagnostics_.error(node.Mark(), fmt::format("{} must be true or false", child_path(field)));
  return fallback;
}

std::optional<std::uint64_t> Object::integer(std::string_view field, std::uint64_t max) {
  const YAML::Node node = take(field);
  if (!node.IsDefined()) return std::nullopt;
  std::uint64_t value = 0;
  if (node.IsScalar()) {
    const std::string& text = node.Scalar();
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (problem == std::errc() && end == text.data() + text.size() && value <= max) return value;
  }
  diagnostics_.error(node.Mark(), fmt::format("{} must be a whole number from 0 to {}", child_path(field), max));
  return std::nullopt;
}

std::vector<std::string> Object::strings(std::string_view field) {
  std::vector<std::string> values;
  const YAML::Node node = take(field);
  if (!node.IsDefined()) return values;
  if (!node.IsSequence()) {
    diagnostics_.error(node.Mark(), fmt::format("{} must be a list of strings", child_path(field)));
    return values;
  }
  for (std::size_t i = 0; i < node.size(); ++i) values.push_back(scalar(node[i], fmt::format("{}[{}]", field, i)));
  return values;
}

std::vector<std::pair<std::string, std::string>> Object::string_map(std::string_view field) {
  std::vector<std::pair<std::string, std::string>> values;
  object(field, [&](Object& map) {
    if (!map.valid_) return;
    for (const auto& entry : map.node_) {
      if (!entry.first.IsScalar()) continue;
      map.known_.insert(entry.first.Scalar());
      values.emplace_back(entry.first.Scalar(), map.scalar(entry.second, entry.first.Scalar()));
    }
  });
  return values;
}

void Object::object(std::string_view field, const std::function<void(Object&)>& read) {
  const YAML::Node node = take(field);
  if (!node.IsDefined()) return;
  Object child(node, child_path(field), diagnostics_);
  read(child);
}

void Object::objects(std::string_view field, const std::function<void(Object&)>& read) {
  const YAML::Node node = take(field);
  if (!node.IsDefined()) return;
  if (!node.IsSequence()) {
    diagnostics_.error(node.Mark(), fmt::format("{} must be a list", child_path(field)));
    return;
  }
  for (std::size_t i = 0; i < node.size(); ++i) {
    Object child(node[i], fmt::format("{}[{}]", child_path(field), i), diagnostics_);
    read(child);
  }
}

void Object::ignore(std::initializer_list<std::string_view> fields) {
  for (const std::string_view field : fields) known_.emplace(field);
}

void Object::ignore_with_note(std::string_view field, std::string_view note) {
  const YAML::Node node = take(field);
  if (node.IsDefined()) diagnostics_.note(node.Mark(), fmt::format("{} {}", child_path(field), note));
}

void Object::refuse(std::string_view field, std::string_view why) {
  const YAML::Node node = take(field);
  if (node.IsDefined()) diagnostics_.error(node.Mark(), fmt::format("{} {}", child_path(field), why));
}

void Object::error(std::string text) { diagnostics_.error(node_.Mark(), std::move(text)); }

void Object::error_at(std::string_view field, std::string text) {
  const YAML::Node node = take(field);
  diagnostics_.error(node.IsDefined() ? node.Mark() : node_.Mark(), fmt::format("{} {}", child_path(field), text));
}

}  // namespace dormouse::pods
