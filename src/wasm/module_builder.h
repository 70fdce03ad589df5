// SPDX-License-Identifier: Apache-2.0
#pragma once
// Puts small wasm modules together, for tests only.
//
//   ModuleBuilder m;
//   const auto f = m.function("", "", op::i32(1) + op::drop);
//   m.memory(1); m.export_function("_start", f); m.bytes();

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dormouse::wasm::testing {

inline std::string leb(std::uint64_t value) {
  std::string out;
  do {
    const auto part = static_cast<char>(value & 0x7f);
    value >>= 7;
    out.push_back(static_cast<char>(part | (value != 0 ? 0x80 : 0)));
  } while (value != 0);
  return out;
}
inline std::string signed_leb(std::int64_t value) {
  std::string out;
  for (;;) {
    const auto part = static_cast<std::uint8_t>(value & 0x7f);
    value >>= 7;
    const bool last = (value == 0 && (part & 0x40) == 0) || (value == -1 && (part & 0x40) != 0);
    out.push_back(static_cast<char>(part | (last ? 0 : 0x80)));
    if (last) return out;
  }
}
inline std::string text(std::string_view s) { return leb(s.size()).append(s); }

namespace op {
inline const std::string unreachable(1, '\0');
inline const std::string end = "\x0b", drop = "\x1a", ret = "\x0f", block = "\x02\x40", loop = "\x03\x40", if_ = "\x04\x40";
inline const std::string add = "\x6a", sub = "\x6b", div_s = "\x6d", eqz = "\x45", eq = "\x46", ne = "\x47";
inline const std::string load = "\x28\x02" + std::string(1, '\0'), store = "\x36\x02" + std::string(1, '\0');
inline const std::string memory_grow = "\x40" + std::string(1, '\0'), memory_size = "\x3f" + std::string(1, '\0');
inline std::string i32(std::int32_t v) { return "\x41" + signed_leb(v); }
inline std::string i64(std::int64_t v) { return "\x42" + signed_leb(v); }
inline std::string call(std::uint32_t f) { return "\x10" + leb(f); }
inline std::string br(std::uint32_t d) { return "\x0c" + leb(d); }
inline std::string br_if(std::uint32_t d) { return "\x0d" + leb(d); }
inline std::string get(std::uint32_t l) { return "\x20" + leb(l); }
inline std::string set(std::uint32_t l) { return "\x21" + leb(l); }
inline std::string call_indirect(std::uint32_t type) { return "\x11" + leb(type) + std::string(1, '\0'); }
inline std::string table_grow() { return std::string("\xfc\x0f\x00", 3); }
inline std::string ref_null() { return "\xd0\x70"; }
}  // namespace op

class ModuleBuilder {
 public:
  // Types by letters as wasm::Import has them, and f, F.
  std::uint32_t type(std::string_view parameters, std::string_view results) {
    const auto key = std::pair(std::string(parameters), std::string(results));
    const auto [found, fresh] = type_index_.try_emplace(key, static_cast<std::uint32_t>(types_.size()));
    if (fresh) types_.push_back("\x60" + letters(parameters) + letters(results));
    return found->second;
  }
  // REQUIRES: before the first function().
  std::uint32_t import(std::string_view module, std::string_view name, std::string_view parameters, std::string_view results) {
    imports_.push_back(text(module) + text(name) + std::string(1, '\0') + leb(type(parameters, results)));
    return imported_functions_++;
  }
  void import_memory(std::string_view module, std::string_view name) { imports_.push_back(text(module) + text(name) + "\x02" + std::string(1, '\0') + "\x01"); }
  std::uint32_t function(std::string_view parameters, std::string_view results, const std::string& code, std::uint32_t i32_locals = 0, std::string_view name = "") {
    const auto index = static_cast<std::uint32_t>(imported_functions_ + functions_.size());
    functions_.push_back(leb(type(parameters, results)));
    const std::string body = (i32_locals > 0 ? "\x01" + leb(i32_locals) + "\x7f" : std::string(1, '\0')) + code + op::end;
    code_.push_back(leb(body.size()) + body);
    if (!name.empty()) names_.push_back(leb(index) + text(name));
    return index;
  }
  void memory(std::uint64_t pages, std::optional<std::uint64_t> max = {}, std::uint8_t flags = 0) {
    memories_.push_back(std::string(1, static_cast<char>(flags | (max ? 1 : 0))) + leb(pages) + (max ? leb(*max) : ""));
  }
  void table(std::uint32_t elements) { tables_.push_back(std::string("\x70\x00", 2) + leb(elements)); }
  void export_function(std::string_view name, std::uint32_t index) { exports_.push_back(text(name) + std::string(1, '\0') + leb(index)); }
  void export_memory(std::string_view name = "memory") { exports_.push_back(text(name) + "\x02" + std::string(1, '\0')); }
  void start(std::uint32_t index) { start_ = index; }
  void data(std::uint32_t address, std::string_view bytes) {
    data_.push_back(std::string(1, '\0') + op::i32(static_cast<std::int32_t>(address)) + op::end + text(bytes));
  }
  void raw_section(std::uint8_t id, std::string body) { raw_.push_back(section(id, body)); }

  std::string bytes() const {
    std::string out("\0asm\1\0\0\0", 8);
    out += list(1, types_) + list(2, imports_) + list(3, functions_) + list(4, tables_) + list(5, memories_) + list(7, exports_);
    if (start_) out += section(8, leb(*start_));
    out += list(10, code_) + list(11, data_);
    if (!names_.empty()) {
      std::string functions = leb(names_.size());
      for (const auto& name : names_) functions += name;
      out += section(0, text("name") + "\x01" + text(functions));
    }
    for (const auto& raw : raw_) out += raw;
    return out;
  }
  static std::string section(std::uint8_t id, const std::string& body) { return std::string(1, static_cast<char>(id)) + text(body); }

 private:
  static std::string letters(std::string_view types) {
    std::string out = leb(types.size());
    for (const char letter : types) out += letter == 'i' ? "\x7f" : letter == 'I' ? "\x7e" : letter == 'f' ? "\x7d" : "\x7c";
    return out;
  }
  static std::string list(std::uint8_t id, const std::vector<std::string>& entries) {
    if (entries.empty()) return {};
    std::string body = leb(entries.size());
    for (const auto& entry : entries) body += entry;
    return section(id, body);
  }

  std::map<std::pair<std::string, std::string>, std::uint32_t> type_index_;
  std::vector<std::string> types_, imports_, functions_, code_, tables_, memories_, exports_, data_, names_, raw_;
  std::uint32_t imported_functions_ = 0;
  std::optional<std::uint32_t> start_;
};

// A module whose _start is `code`, with a page of memory.
inline std::string program(const std::string& code, std::uint32_t i32_locals = 0) {
  ModuleBuilder m;
  m.memory(1);
  m.export_memory();
  m.export_function("_start", m.function("", "", code, i32_locals, "main"));
  return m.bytes();
}

}  // namespace dormouse::wasm::testing
