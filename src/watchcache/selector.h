// SPDX-License-Identifier: Apache-2.0
#pragma once
// Label and field selectors, read as the API server reads them (apimachinery's labels.Parse and fields.ParseSelector).
//
// Whatever is not certain to be read in the same way is an error here, and the request is then forwarded: the API
// server itself says what it thinks of it.
//
// Ownership: values.
// Threads: any.

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace dormouse::watchcache {

// An object's labels in one string, sorted by key: key, NUL, value, NUL, and so on. Neither can hold a NUL (RFC 1123).
class Labels {
 public:
  Labels() = default;
  // Errors: Corrupt (a NUL in one, a key twice).
  static Result<Labels> create(std::vector<std::pair<std::string, std::string>> pairs);

  // The value of `key`; data() is null where it is missing.
  std::string_view find(std::string_view key) const;
  bool empty() const { return flat_.empty(); }
  std::size_t bytes() const { return flat_.capacity(); }
  bool operator==(const Labels&) const = default;

 private:
  std::string flat_;
};

class LabelSelector {
 public:
  // Empty text selects everything. Errors: InvalidArgument.
  static Result<LabelSelector> parse(std::string_view text);

  bool matches(const Labels& labels) const;
  bool empty() const { return requirements_.empty(); }
  // The same for selectors that differ only in order, blanks, or in `=` beside `==`.
  std::string canonical() const;

 private:
  // `=` and `!=` are In and NotIn of one value.
  enum class Operator : std::uint8_t { In, NotIn, Exists, DoesNotExist, GreaterThan, LessThan };
  struct Requirement {
    std::string key;
    Operator op;
    std::vector<std::string> values;  // Sorted, each once.
    std::int64_t number = 0;          // With GreaterThan and LessThan.
    auto operator<=>(const Requirement&) const = default;
  };
  friend class LabelSelectorParser;
  std::vector<Requirement> requirements_;
};

// Only metadata.name and metadata.namespace: the others are known to the API server alone.
class FieldSelector {
 public:
  // Errors: InvalidArgument; Unsupported (another field).
  static Result<FieldSelector> parse(std::string_view text);

  bool matches(std::string_view namespace_name, std::string_view name) const;
  bool empty() const { return terms_.empty(); }
  // Whether metadata.namespace is in it: resources without namespaces may know no such field, so then forward.
  bool names_namespace() const;
  // The name that every match has (what RBAC's resourceNames looks at), or empty.
  std::string_view exact_name() const;
  std::string canonical() const;

 private:
  struct Term {
    bool of_name;  // Else of the namespace.
    bool equal;
    std::string value;
    auto operator<=>(const Term&) const = default;
  };
  std::vector<Term> terms_;
};

// Which of a cache's objects a reader sees.
struct Selection {
  std::string namespace_name;  // Empty: all.
  std::string name;            // Empty: all.
  LabelSelector labels;
  FieldSelector fields;

  bool matches(std::string_view object_namespace, std::string_view object_name, const Labels& object_labels) const {
    return (namespace_name.empty() || namespace_name == object_namespace) && (name.empty() || name == object_name) &&
           fields.matches(object_namespace, object_name) && labels.matches(object_labels);
  }
  bool everything() const { return namespace_name.empty() && name.empty() && labels.empty() && fields.empty(); }
};

}  // namespace dormouse::watchcache
