// SPDX-License-Identifier: Apache-2.0
#pragma once
// What an event of a watch is about, in a few words, for the record of why a guest woke.
//
// Threads: any.

#include <string>
#include <string_view>

namespace dormouse::gateway {

// `bytes` begin with a watch's JSON frame, which may be cut: "MODIFIED team-a/hello", "BOOKMARK"; empty if that cannot be told (a
// protobuf frame, the middle of one). Printable whatever the object is called.
std::string event_note(std::string_view bytes);

}  // namespace dormouse::gateway
