// SPDX-License-Identifier: Apache-2.0
#pragma once
// Reads a YAML mapping field by field and knows which fields nobody asked for.
//
// Errors are gathered, not thrown: the reader goes on with empty values, so that one run tells all that is wrong.
//
// Ownership: an Object borrows the Diagnostics. Threads: none shared.

#include <yaml-cpp/yaml.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace dormouse::pods {

class Diagnostics {
 public:
  static constexpr std::size_t kErrorsMax = 20;
  explicit Diagnostics(std::string_view source) : source_(source) {}

  void error(const YAML::Mark& mark, std::string text);
  void note(const YAML::Mark& mark, std::string text);
  std::string at(const YAML::Mark& mark) const;  // "file:line"
  // Where the text that marks count from begins in the source.
  void set_first_line(int line) { first_line_ = line; }
  const std::vector<std::string>& errors() const { return errors_; }
  std::vector<std::string>& notes() { return notes_; }

 private:
  std::string source_;
  int first_line_ = 0;
  std::vector<std::string> errors_;
  std::vector<std::string> notes_;
};

class Object {
 public:
  // `path` is for messages: "spec.containers[0]".
  Object(YAML::Node node, std::string path, Diagnostics& diagnostics);
  // Tells of every field that was neither read nor ignored.
  ~Object();
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;

  bool has(std::string_view field);
  std::string string(std::string_view field, std::string_view fallback = {});
  std::string required_string(std::string_view field);
  bool boolean(std::string_view field, bool fallback = false);
  std::optional<std::uint64_t> integer(std::string_view field, std::uint64_t max);
  std::vector<std::string> strings(std::string_view field);
  std::vector<std::pair<std::string, std::string>> string_map(std::string_view field);
  void object(std::string_view field, const std::function<void(Object&)>& read);
  void objects(std::string_view field, const std::function<void(Object&)>& read);
  // Accepted without effect.
  void ignore(std::initializer_list<std::string_view> fields);
  void ignore_with_note(std::string_view field, std::string_view note);
  void refuse(std::string_view field, std::string_view why);

  void error(std::string text);
  void error_at(std::string_view field, std::string text);
  const std::string& path() const { return path_; }
  YAML::Mark mark() const { return node_.Mark(); }
  std::string at() const { return diagnostics_.at(node_.Mark()); }

 private:
  YAML::Node take(std::string_view field);
  std::string scalar(const YAML::Node& node, std::string_view field);
  std::string child_path(std::string_view field) const;

  YAML::Node node_;
  std::string path_;
  Diagnostics& diagnostics_;
  std::set<std::string, std::less<>> known_;
  bool valid_ = true;
};

// The candidate nearest to `word`, if near enough to be meant.
std::optional<std::string> nearest(std::string_view word, const std::set<std::string, std::less<>>& candidates);

}  // namespace dormouse::pods
