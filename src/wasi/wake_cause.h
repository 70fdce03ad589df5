// SPDX-License-Identifier: Apache-2.0
#pragma once
// What ended a park: which of the things that poll_oneoff waited for, and, of a stream, what it carried.
//
// Ownership: values; `what` is shared with the stream that it describes, so recording one copies no text.
// Threads: any.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace dormouse::wasi {

struct WakeCause {
  enum class Kind : std::uint8_t {
    Timer,    // The guest's own deadline.
    Watch,    // An event (or the end) of a watch of the Kubernetes API.
    Answer,   // What the Kubernetes API answers to any other request of the guest.
    Egress,   // A connection that the guest made to elsewhere.
    Inbound,  // Somebody connects to the guest, or goes on talking to it.
    Signal,
    Other,    // A stream that nobody described.
  };
  Kind kind = Kind::Timer;
  bool room = false;                        // The stream can be written again; it brought nothing.
  std::shared_ptr<const std::string> what;  // "watch greetings.demo.dormouse.io in team-a: MODIFIED team-a/hello"; may be null.
};
inline constexpr std::size_t kWakeCauseKinds = 7;

constexpr std::string_view to_string(WakeCause::Kind kind) {
  constexpr std::string_view kNames[kWakeCauseKinds] = {"timer", "watch", "answer", "egress", "inbound", "signal", "other"};
  return kNames[static_cast<std::size_t>(kind)];
}

}  // namespace dormouse::wasi
