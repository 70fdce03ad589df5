// SPDX-License-Identifier: Apache-2.0
// The outline of the wasm binary format: sections, types, imports, exports, sizes. Function bodies and data
// are the compiler's to check. Each loop is bounded by the bytes of its section, each list by a named limit.
#include "wasm/inspect.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>

#include "base/utf8.h"
#include "wasm/file_digest.h"

namespace dormouse::wasm {
namespace {

constexpr std::size_t kOutlineSectionBytesMax = 16 << 20;  // Types, imports, exports, …: a 124 MB Go module has 0.2 MB of them.
constexpr std::uint32_t kImportsMax = 4'096;
constexpr std::uint32_t kExportsMax = 16'384;
constexpr std::uint32_t kTypesMax = 1'000'000;             // wasmtime's own limit.
constexpr std::uint32_t kTypeValuesMax = 1'000;
constexpr std::size_t kNameBytesMax = 4'096;
constexpr std::size_t kProblemsMax = 40;
constexpr std::uint32_t kTablesMax = 16;                   // As the store's limiter has it.
constexpr std::uint64_t kPageBytes = 65'536;
constexpr std::uint64_t kPagesMax = 65'536;

enum SectionId : std::uint8_t { Custom, Type, ImportSection, Function, Table, MemorySection, Global, Export, Start, Element, Code, Data, DataCount, Tag };

constexpr std::array<std::string_view, 14> kSectionNames = {"custom", "type",  "import",  "function", "table", "memory",     "global",
                                                            "export", "start", "element", "code",     "data",  "data count", "tag"};
// Where each stands in the order that the format prescribes.
constexpr std::array<std::uint8_t, 14> kSectionOrder = {0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 12, 13, 11, 6};

// Reads a section's body from front to back. The first failure sticks, and everything after it yields zeros.
class Cursor {
 public:
  Cursor(std::string_view bytes, std::uint64_t file_offset, std::string_view section) : bytes_(bytes), file_offset_(file_offset), section_(section) {}

  bool failed() const { return error_.has_value(); }
  bool at_end() const { return position_ == bytes_.size(); }
  std::uint64_t offset() const { return file_offset_ + position_; }
  Error take_error() { return std::move(*error_); }

  void reject(std::string_view what) {
    if (!error_) error_ = Error{ErrorCode::Corrupt, fmt::format("at offset {:#x}, in the {} section: {}", offset(), section_, what)};
  }
  std::uint8_t byte() {
    if (failed()) return 0;
    if (at_end()) {
      reject("it ends in the middle of an entry");
      return 0;
    }
    return static_cast<std::uint8_t>(bytes_[position_++]);
  }
  std::uint64_t leb(unsigned bits) {
    std::uint64_t value = 0;
    for (unsigned shift = 0; !failed(); shift += 7) {
      const std::uint8_t part = byte();
      const unsigned room = bits - shift;
      if (room < 7 && (part & 0x7f) >> room != 0) reject("a number is too large");
      value |= static_cast<std::uint64_t>(part & 0x7f) << shift;
      if ((part & 0x80) == 0) return failed() ? 0 : value;
      if (room <= 7) reject("a number is too long");
    }
    return 0;
  }
  std::uint32_t u32() { return static_cast<std::uint32_t>(leb(32)); }
  std::uint32_t count(std::uint32_t max, std::string_view what) {
    const std::uint32_t value = u32();
    if (value > max) reject(fmt::format("{} {}, and no more than {} are allowed", value, what, max));
    // Each entry takes a byte at least.
    if (value > bytes_.size() - position_) reject(fmt::format("{} {} do not fit into it", value, what));
    return failed() ? 0 : value;
  }
  std::string_view take(std::size_t length) {
    if (!failed() && length > bytes_.size() - position_) reject("it ends in the middle of an entry");
    if (failed()) return {};
    const std::string_view out = bytes_.substr(position_, length);
    position_ += length;
    return out;
  }
  std::string name() {
    const std::uint32_t length = u32();
    if (length > kNameBytesMax) reject(fmt::format("a name of {} bytes, and no more than {} are allowed", length, kNameBytesMax));
    const std::string_view text = take(length);
    if (!is_utf8(text)) reject("a name is not UTF-8");
    return failed() ? std::string() : std::string(text);
  }
  void expect_end() {
    if (!failed() && !at_end()) reject("bytes are left over at its end");
  }

 private:
  const std::string_view bytes_;
  const std::uint64_t file_offset_;
  const std::string_view section_;
  std::size_t position_ = 0;
  std::optional<Error> error_;
};

struct Limits {
  std::uint64_t minimum = 0;
  std::optional<std::uint64_t> maximum;
  std::uint8_t flags = 0;
  bool shared() const { return (flags & 2) != 0; }
  bool is_64() const { return (flags & 4) != 0; }
};

class Outline {
 public:
  Outline(ModuleBytes& bytes, std::span<const ImportModule> provided) : bytes_(bytes), provided_(provided) {}

  Result<ModuleInfo> parse();

 private:
  Result<void> parse_section(SectionId id, std::uint64_t offset, std::uint64_t length);
  void parse_types(Cursor& in);
  void parse_imports(Cursor& in);
  void parse_functions(Cursor& in);
  void parse_tables(Cursor& in);
  void parse_memories(Cursor& in);
  void parse_exports(Cursor& in);
  Limits parse_limits(Cursor& in);
  void judge();
  void problem(std::string text) {
    if (info_.problems.size() < kProblemsMax) info_.problems.push_back(std::move(text));
    else if (info_.problems.size() == kProblemsMax) info_.problems.emplace_back("… and more");
  }
  char value_type(Cursor& in);

  ModuleBytes& bytes_;
  const std::span<const ImportModule> provided_;
  ModuleInfo info_;
  std::vector<Signature> types_;
  bool types_known_ = true;                  // False past a type of a proposal that is not supported.
  std::uint32_t imported_functions_ = 0;
  std::string function_types_;               // The function section's body past its count, read again for _start.
  std::uint32_t code_bodies_ = 0, data_segments_ = 0;
  std::optional<std::uint32_t> data_announced_;
  bool memory_defined_ = false, memory_exported_ = false, table_proposal_ = false;
  bool reactor_ = false;
  std::uint32_t tables_ = 0;
  std::optional<std::uint32_t> start_index_; // The function exported as _start.
  std::vector<std::optional<std::uint32_t>> import_types_;  // By import; none if not a function.
};

char Outline::value_type(Cursor& in) {
  switch (in.byte()) {
    case 0x7f: return 'i';
    case 0x7e: return 'I';
    case 0x7d: return 'f';
    case 0x7c: return 'F';
    case 0x7b: return 'v';
    case 0x70: return 'r';
    case 0x6f: return 'x';
    default: return '?';
  }
}

void Outline::parse_types(Cursor& in) {
  const std::uint32_t count = in.count(kTypesMax, "types");
  for (std::uint32_t i = 0; i < count && !in.failed(); ++i) {
    const std::uint8_t form = in.byte();
    Signature signature;
    bool plain = form == 0x60;
    for (std::string* list : {&signature.parameters, &signature.results}) {
      if (!plain) break;
      const std::uint32_t values = in.count(kTypeValuesMax, "values in a type");
      for (std::uint32_t k = 0; k < values && plain && !in.failed(); ++k) {
        list->push_back(value_type(in));
        plain = list->back() != '?';
      }
    }
    if (in.failed()) return;
    if (!plain) {
      if (form != 0x60 && form != 0x5f && form != 0x5e && form != 0x50 && form != 0x4f && form != 0x4e) return in.reject(fmt::format("{:#x} begins no type", form));
      types_known_ = false;
      return problem("uses types of the garbage-collection, exception or typed-reference proposals, which no toolchain for WASI preview 1 emits by itself; turn them off");
    }
    types_.push_back(std::move(signature));
  }
  in.expect_end();
}

Limits Outline::parse_limits(Cursor& in) {
  Limits limits;
  limits.flags = in.byte();
  if (limits.flags > 0x0f) in.reject(fmt::format("limits have the unknown flags {:#x}", limits.flags));
  const unsigned bits = limits.is_64() ? 64 : 32;
  limits.minimum = in.leb(bits);
  if ((limits.flags & 1) != 0) limits.maximum = in.leb(bits);
  if ((limits.flags & 8) != 0) in.u32();  // Page size.
  if (!in.failed() && limits.maximum && *limits.maximum < limits.minimum) in.reject("a maximum is below its minimum");
  return limits;
}

void Outline::parse_imports(Cursor& in) {
  const std::uint32_t count = in.count(kImportsMax, "imports");
  for (std::uint32_t i = 0; i < count && !in.failed(); ++i) {
    ModuleInfo::ImportedName imported{in.name(), in.name(), ""};
    std::optional<std::uint32_t> type;
    switch (in.byte()) {
      case 0:
        imported.kind = "func";
        type = in.u32();
        if (!in.failed() && types_known_ && *type >= types_.size()) in.reject(fmt::format("type {} does not exist", *type));
        ++imported_functions_;
        break;
      case 1:
        imported.kind = "table";
        in.byte();
        parse_limits(in);
        break;
      case 2:
        imported.kind = "memory";
        parse_limits(in);
        break;
      case 3:
        imported.kind = "global";
        value_type(in);
        in.byte();
        break;
      case 4:
        imported.kind = "tag";
        in.byte();
        in.u32();
        break;
      default: in.reject("an import is of an unknown kind");
    }
    if (in.failed()) return;
    info_.imports.push_back(std::move(imported));
    import_types_.push_back(type);
  }
  in.expect_end();
}

void Outline::parse_functions(Cursor& in) {
  info_.functions = in.count(UINT32_MAX, "functions");
  for (std::uint32_t i = 0; i < info_.functions && !in.failed(); ++i) {
    const std::uint32_t type = in.u32();
    if (types_known_ && type >= types_.size()) in.reject(fmt::format("type {} does not exist", type));
  }
  in.expect_end();
}

void Outline::parse_tables(Cursor& in) {
  tables_ = in.count(UINT32_MAX, "tables");
  for (std::uint32_t i = 0; i < tables_ && !in.failed(); ++i) {
    const std::uint8_t type = in.byte();
    if (type != 0x70 && type != 0x6f) {
      table_proposal_ = true;  // An initialiser or a typed reference: not read on, and refused.
      return;
    }
    if (type == 0x6f) table_proposal_ = true;
    if (parse_limits(in).flags > 1) table_proposal_ = true;
  }
  in.expect_end();
}

void Outline::parse_memories(Cursor& in) {
  const std::uint32_t count = in.count(UINT32_MAX, "memories");
  if (count > 1) problem(fmt::format("has {} memories, and one is supported: turn the multi-memory proposal off", count));
  for (std::uint32_t i = 0; i < count && !in.failed(); ++i) {
    const Limits limits = parse_limits(in);
    if (in.failed() || i > 0) continue;
    memory_defined_ = true;
    if (limits.shared()) problem("has a shared memory: it was built with threads; build for wasm32-wasip1 without -pthread");
    if (limits.is_64()) problem("has a 64-bit memory (memory64); build for wasm32");
    if ((limits.flags & 8) != 0) problem("has a memory of a custom page size, which is not supported");
    const std::uint64_t pages = limits.minimum;
    if (pages > kPagesMax) {
      problem(fmt::format("starts with {} pages of memory, and a 32-bit memory has at most {} (4 GiB)", pages, kPagesMax));
    } else {
      info_.memory_initial_bytes = pages * kPageBytes;
    }
    info_.memory_max_bytes = std::min(limits.maximum.value_or(kPagesMax), kPagesMax) * kPageBytes;
  }
  in.expect_end();
}

void Outline::parse_exports(Cursor& in) {
  const std::uint32_t count = in.count(kExportsMax, "exports");
  for (std::uint32_t i = 0; i < count && !in.failed(); ++i) {
    std::string name = in.name();
    const std::uint8_t kind = in.byte();
    const std::uint32_t index = in.u32();
    if (kind > 4) in.reject("an export is of an unknown kind");
    if (in.failed()) return;
    if (name == "_start" && kind == 0) start_index_ = index;
    if (name == "_initialize" && kind == 0) reactor_ = true;
    if (name == "memory" && kind == 2) memory_exported_ = true;
    info_.exports.push_back(std::move(name));
  }
  in.expect_end();
}

Result<void> Outline::parse_section(SectionId id, std::uint64_t offset, std::uint64_t length) {
  const bool whole = id == Type || id == ImportSection || id == Function || id == Table || id == MemorySection || id == Export || id == Start;
  if (whole && length > kOutlineSectionBytesMax)
    return fail(ErrorCode::Unsupported, "its {} section has {} bytes, and no more than {} are allowed", kSectionNames[id], length, kOutlineSectionBytesMax);
  constexpr std::uint64_t kCountBytesMax = 5;
  const auto body = bytes_.read(offset, static_cast<std::size_t>(whole ? length : std::min(length, kCountBytesMax)));
  if (!body) return fail(body.error());
  Cursor in(*body, offset, kSectionNames[id]);
  switch (id) {
    case Type: parse_types(in); break;
    case ImportSection: parse_imports(in); break;
    case Function:
      function_types_ = *body;
      parse_functions(in);
      break;
    case Table: parse_tables(in); break;
    case MemorySection: parse_memories(in); break;
    case Export: parse_exports(in); break;
    case Start:
      in.u32();
      in.expect_end();
      info_.start_function = true;
      break;
    case Code:
      info_.code_bytes = length;
      code_bodies_ = in.u32();
      break;
    case Data:
      info_.data_bytes = length;
      data_segments_ = in.u32();
      break;
    case DataCount: data_announced_ = in.u32(); break;
    default: break;
  }
  if (in.failed()) return fail(in.take_error());
  return {};
}

void Outline::judge() {
  for (std::size_t i = 0; i < info_.imports.size() && types_known_; ++i) {
    const auto& type = import_types_[i];
    std::string text = judge_import(info_.imports[i], type ? &types_[*type] : nullptr, provided_);
    if (!text.empty() && std::ranges::find(info_.problems, text) == info_.problems.end()) problem(std::move(text));
  }
  if (table_proposal_) problem("has a table of a kind that is not supported (external or typed references, 64-bit)");
  if (tables_ > kTablesMax) problem(fmt::format("has {} tables, and at most {} are supported", tables_, kTablesMax));
  if (!memory_exported_ || !memory_defined_) problem("exports no memory of its own by the name \"memory\", which every WASI program does");
  if (!start_index_) {
    problem(reactor_ ? "is a library (a WASI reactor: it exports _initialize), not a program with _start: build it as an executable"
                     : "has no function _start: it is not a WASI program; build an executable (in Rust a bin, in C++ one with main) for wasm32-wasip1");
  } else if (types_known_) {
    std::optional<std::uint32_t> type;
    if (*start_index_ < imported_functions_) {
      problem("exports an imported function as _start");
      return;
    }
    Cursor in(function_types_, 0, "function");
    const std::uint32_t count = in.u32(), wanted = *start_index_ - imported_functions_;
    for (std::uint32_t i = 0; i <= wanted && i < count; ++i) {
      const std::uint32_t value = in.u32();
      if (i == wanted) type = value;
    }
    if (!type || in.failed() || types_[*type] != Signature{}) problem("its _start is not a function without parameters and results");
  }
}

// What a file is that does not begin as a module does.
Error not_a_module(std::string_view head) {
  const auto unsupported = [](std::string text) { return Error{ErrorCode::Unsupported, std::move(text)}; };
  if (head.starts_with(std::string_view("\0asm", 4))) {
    if (head.size() < 8) return {ErrorCode::Corrupt, "it is truncated: a wasm header has 8 bytes"};
    if (head[6] == 1) return unsupported("it is a WASI preview 2 component, not a module: build for wasm32-wasip1 (GOOS=wasip1), or take the core module out of it");
    return unsupported(fmt::format("it has version {} of the wasm binary format, and 1 is supported", static_cast<unsigned char>(head[4])));
  }
  if (head.starts_with("\x7f" "ELF")) return unsupported("it is an ELF file: a native program, or code already compiled (.cwasm); give the .wasm, and leave the .cwasm beside it");
  if (head.starts_with("\x1f\x8b")) return unsupported("it is compressed with gzip: unpack it first");
  if (head.starts_with("\x28\xb5\x2f\xfd")) return unsupported("it is compressed with zstd: unpack it first");
  if (head.starts_with("PK\x03\x04")) return unsupported("it is a zip archive: unpack it first");
  if (head.starts_with("BC\xc0\xde")) return unsupported("it is LLVM bitcode: link it first");
  const std::size_t start = head.find_first_not_of(" \t\r\n");
  if (start != std::string_view::npos && (head.substr(start).starts_with("(module") || head.substr(start).starts_with("(component") || head.substr(start).starts_with(";;")))
    return unsupported("it is wasm in text form: assemble it first (wat2wasm)");
  std::string shown;
  for (const char c : head.substr(0, 4)) shown += fmt::format(" {:02x}", static_cast<unsigned char>(c));
  return {ErrorCode::Corrupt, fmt::format("it is not wasm: it begins with the bytes{}, not 00 61 73 6d", shown)};
}

Result<ModuleInfo> Outline::parse() {
  const std::uint64_t size = bytes_.size();
  info_.file_bytes = size;
  if (size == 0) return fail(ErrorCode::Corrupt, "it is empty");
  if (size > kModuleBytesMax) return fail(ErrorCode::Unsupported, "it has {} bytes, and no more than {} are supported", size, kModuleBytesMax);
  constexpr std::uint64_t kHeaderBytes = 8;
  const auto head = bytes_.read(0, static_cast<std::size_t>(std::min<std::uint64_t>(size, 64)));
  if (!head) return fail(head.error());
  if (!head->starts_with(std::string_view("\0asm\1\0\0\0", kHeaderBytes))) return fail(not_a_module(*head));

  std::uint8_t last_order = 0;
  for (std::uint64_t position = kHeaderBytes; position < size;) {
    constexpr std::uint64_t kSectionHeaderBytesMax = 6;
    const auto bytes = bytes_.read(position, static_cast<std::size_t>(std::min(size - position, kSectionHeaderBytesMax)));
    if (!bytes) return fail(bytes.error());
    Cursor in(*bytes, position, "header of a");
    const std::uint8_t id = in.byte();
    const std::uint32_t length = in.u32();
    if (in.failed()) return fail(ErrorCode::Corrupt, "at offset {:#x}: the header of a section is broken or cut off", position);
    if (id >= kSectionNames.size()) return fail(ErrorCode::Corrupt, "at offset {:#x}: {} is the number of no section", position, id);
    const std::uint64_t body = in.offset();
    if (length > size - body)
      return fail(ErrorCode::Corrupt, "it is truncated: the {} section at offset {:#x} has {} bytes, but the file has only {} more", kSectionNames[id], position, length, size - body);
    if (id != Custom) {
      if (kSectionOrder[id] <= last_order) return fail(ErrorCode::Corrupt, "at offset {:#x}: the {} section stands twice or out of order", position, kSectionNames[id]);
      last_order = kSectionOrder[id];
      if (const auto parsed = parse_section(static_cast<SectionId>(id), body, length); !parsed) return fail(parsed.error());
    }
    position = body + length;
  }
  if (code_bodies_ != info_.functions)
    return fail(ErrorCode::Corrupt, "it declares {} functions and has the code of {}{}", info_.functions, code_bodies_, code_bodies_ == 0 ? ": it is truncated" : "");
  if (data_announced_ && *data_announced_ != data_segments_)
    return fail(ErrorCode::Corrupt, "it announces {} data segments and has {}{}", *data_announced_, data_segments_, data_segments_ == 0 ? ": it is truncated" : "");
  judge();
  return std::move(info_);
}

class TextBytes final : public ModuleBytes {
 public:
  explicit TextBytes(std::string_view bytes) : bytes_(bytes) {}
  std::uint64_t size() const override { return bytes_.size(); }
  Result<std::string_view> read(std::uint64_t offset, std::size_t length) override { return bytes_.substr(static_cast<std::size_t>(offset), length); }

 private:
  const std::string_view bytes_;
};

}  // namespace

Result<std::string_view> FileBytes::read(std::uint64_t offset, std::size_t length) {
  buffer_.resize(length);
  for (std::size_t done = 0; done < length;) {
    const ssize_t n = ::pread(fd_, buffer_.data() + done, length - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno(errno, "read");
    if (n == 0) return fail(ErrorCode::Corrupt, "it became shorter while it was read");
    done += static_cast<std::size_t>(n);
  }
  return std::string_view(buffer_);
}

Result<ModuleInfo> inspect(ModuleBytes& bytes, std::span<const ImportModule> provided) { return Outline(bytes, provided).parse(); }

Result<ModuleInfo> inspect_module(std::string_view bytes, std::span<const ImportModule> provided) {
  TextBytes text(bytes);
  return inspect(text, provided);
}

Result<ModuleInfo> inspect_module_file(const std::string& path, std::span<const ImportModule> provided) {
  auto file = open_regular(path);
  if (!file) return fail(file.error());
  FileBytes bytes(file->fd.get(), file->size_bytes);
  auto info = inspect(bytes, provided);
  if (!info) return fail(std::move(info.error()).within(path));
  auto digest = sha256_of(file->fd.get(), file->size_bytes);
  if (!digest) return fail(std::move(digest.error()).within(path));
  info->digest = to_text(*digest);
  return info;
}

}  // namespace dormouse::wasm
