// SPDX-License-Identifier: Apache-2.0
#pragma once
// A `.cwasm`: wasmtime's ELF image from offset 0, so that it can be mapped as it stands, and behind it a
// trailer that binds it to a module, an engine and itself. For this folder only.

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "wasm/file_digest.h"

namespace dormouse::wasm {

std::string make_trailer(const Digest& module, const Digest& code, std::uint64_t code_bytes, std::string_view fingerprint);

// Opens `path` and makes sure that it is whole, that nobody but us and root can have written it, and that it
// was made from this module by this engine. `memo_folder` may be empty.
// Errors: NotFound; else why it is refused.
Result<OpenFile> open_code_file(const std::string& path, const Digest& module, std::string_view fingerprint, const std::string& memo_folder);

}  // namespace dormouse::wasm
