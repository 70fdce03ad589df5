// SPDX-License-Identifier: Apache-2.0
#pragma once
// Copies out of what gives its bytes by peek() and consume().
//
// Threads: the source's.

#include <cstring>
#include <span>
#include <string_view>

namespace dormouse::watchcache {

// How much was copied: less than `into` holds only if the source has nothing more now.
template <typename Source>
std::size_t read_pieces(Source& source, std::span<char> into) {
  std::size_t done = 0;
  while (done < into.size()) {
    const std::string_view piece = source.peek().substr(0, into.size() - done);
    if (piece.empty()) break;
    std::memcpy(into.data() + done, piece.data(), piece.size());
    done += piece.size();
    source.consume(piece.size());
  }
  return done;
}

}  // namespace dormouse::watchcache
