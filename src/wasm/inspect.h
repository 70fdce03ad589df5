// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where the outline parser reads a module from. For this folder only.

#include <string>
#include <string_view>

#include "base/result.h"
#include "wasm/module.h"

namespace dormouse::wasm {

class ModuleBytes {
 public:
  virtual ~ModuleBytes() = default;
  virtual std::uint64_t size() const = 0;
  // `length` bytes from `offset`, which lie inside. Valid until the next call. Errors: of the disk.
  virtual Result<std::string_view> read(std::uint64_t offset, std::size_t length) = 0;
};

// Reads from an open regular file, without holding more of it than one section of the outline.
class FileBytes final : public ModuleBytes {
 public:
  FileBytes(int fd, std::uint64_t size_bytes) : fd_(fd), size_bytes_(size_bytes) {}
  std::uint64_t size() const override { return size_bytes_; }
  Result<std::string_view> read(std::uint64_t offset, std::size_t length) override;

 private:
  const int fd_;
  const std::uint64_t size_bytes_;
  std::string buffer_;
};

Result<ModuleInfo> inspect(ModuleBytes& bytes, std::span<const ImportModule> provided);

// What stands against running it: filled by the parser, judged here.
struct Signature {
  std::string parameters, results;  // i I f F v r x as in Import, and the types that no import of ours has.
  bool operator==(const Signature&) const = default;
};
// A sentence on an import that `provided` has not, or has otherwise; empty if it has. `signature` null: not a function.
std::string judge_import(const ModuleInfo::ImportedName& imported, const Signature* signature, std::span<const ImportModule> provided);

}  // namespace dormouse::wasm
