// SPDX-License-Identifier: Apache-2.0
#pragma once
// What is well-formed UTF-8 (Unicode 15, table 3-7): no overlong forms, no surrogates, nothing past U+10FFFF.

#include <cstddef>
#include <string_view>

namespace dormouse {

// The length of the well-formed sequence at the start of `text`, or 0. REQUIRES: `text` is not empty.
std::size_t utf8_length(std::string_view text);

// So many bytes from the start are well-formed: all of them, or up to the first that is not.
std::size_t utf8_valid_bytes(std::string_view text);

inline bool is_utf8(std::string_view text) { return utf8_valid_bytes(text) == text.size(); }

}  // namespace dormouse
