// SPDX-License-Identifier: Apache-2.0
#pragma once
// One JSON value, small and strict: what the API server sends and wants, nothing more.
//
// Objects keep the order of their members. Reading what is not there gives null, "" or 0, so that a chain such as
// object["spec"]["name"].as_string() needs no checks. Integers beyond 64 bits become doubles.

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "kubepp/result.h"

namespace kubepp {

class Json {
 public:
  struct Member;

  Json();
  Json(std::nullptr_t) : Json() {}
  // Templates, for a pointer must not become a bool, nor an int ambiguous.
  template <std::same_as<bool> B>
  Json(B value) : Json(Scalar(std::in_place_type<bool>, value)) {}
  template <std::integral I>
    requires(!std::same_as<I, bool>)
  Json(I value) : Json(Scalar(static_cast<std::int64_t>(value))) {}
  Json(double value) : Json(Scalar(value)) {}
  Json(std::string value);
  Json(std::string_view value);
  Json(const char* value);
  Json(const Json&);
  Json(Json&&) noexcept;
  Json& operator=(const Json&);
  Json& operator=(Json&&) noexcept;
  ~Json();

  static Json object(std::initializer_list<Member> members = {});
  static Json array(std::initializer_list<Json> items = {});
  static Json from_members(std::vector<Member> members);

  // RFC 8259 to the letter: UTF-8, no comments, no trailing commas, nothing behind the value. The error names the offset.
  static Result<Json> parse(std::string_view text);
  std::string dump() const;

  bool is_null() const { return std::holds_alternative<std::monostate>(value_); }
  bool is_bool() const { return std::holds_alternative<bool>(value_); }
  bool is_number() const { return std::holds_alternative<std::int64_t>(value_) || std::holds_alternative<double>(value_); }
  bool is_integer() const { return std::holds_alternative<std::int64_t>(value_); }
  bool is_string() const { return std::holds_alternative<std::string>(value_); }
  bool is_array() const { return std::holds_alternative<Items>(value_); }
  bool is_object() const { return std::holds_alternative<Members>(value_); }

  // The value, or the fallback when it is of another type. The view lives as long as this value is unchanged.
  std::string_view as_string(std::string_view fallback = {}) const;
  std::int64_t as_integer(std::int64_t fallback = 0) const;
  double as_number(double fallback = 0) const;
  bool as_bool(bool fallback = false) const;

  // Null when there is no such member or item.
  const Json& operator[](std::string_view name) const;
  const Json& operator[](const char* name) const { return (*this)[std::string_view(name)]; }
  template <std::integral I>  // A plain 0 would also be a null pointer.
  const Json& operator[](I index) const {
    return item(static_cast<std::size_t>(index));
  }
  const Json& item(std::size_t index) const;
  bool contains(std::string_view name) const;
  std::span<const Json> items() const;      // Empty unless an array.
  std::span<Json> items();
  std::span<const Member> members() const;  // Empty unless an object.
  std::size_t size() const;

  // Whatever is not yet an object (or array) becomes one, as it does in scripting languages.
  Json& operator[](std::string_view name);
  Json& operator[](const char* name) { return (*this)[std::string_view(name)]; }
  void push_back(Json item);
  void erase(std::string_view name);

  // Deep; the order of members does not matter.
  friend bool operator==(const Json& a, const Json& b);

 private:
  using Scalar = std::variant<bool, std::int64_t, double>;
  explicit Json(Scalar scalar);
  using Items = std::vector<Json>;
  using Members = std::vector<Member>;
  std::variant<std::monostate, bool, std::int64_t, double, std::string, Items, Members> value_;
};

struct Json::Member {
  std::string name;
  Json value;
};

}  // namespace kubepp
