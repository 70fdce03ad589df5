// SPDX-License-Identifier: Apache-2.0
#pragma once
// The host's log: a constant message and key-value pairs, as text for people or JSON for machines.
//
//   log.info("guest started", {{"guest", name}, {"start_ms", 12}});
//
// What guests print is another stream (write_guest_line), tagged with the guest. No secrets go here.
//
// Threads: every function may be called from any thread; one line is one write(2).

#include <fmt/format.h>

#include <cstdint>
#include <initializer_list>
#include <mutex>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/clock.h"
#include "base/types.h"

namespace dormouse {

class Log final : Immovable {
 public:
  enum class Level : std::uint8_t { Debug, Info, Warning, Error };
  enum class Format : std::uint8_t { Text, Json };
  struct Options {
    int fd = 2;              // Borrowed. Where host lines go; guests' lines go there too.
    Format format = Format::Text;
    Level level = Level::Info;
    bool colour = false;     // Only with Format::Text.
  };
  struct Field {
    std::string_view key;
    std::string value;
    bool quoted = true;      // False for numbers and booleans, as JSON has them.

    Field(std::string_view k, std::string_view v) : key(k), value(v) {}
    Field(std::string_view k, const char* v) : key(k), value(v) {}
    Field(std::string_view k, const std::string& v) : key(k), value(v) {}
    template <typename T>
      requires std::is_arithmetic_v<T>
    Field(std::string_view k, T v) : key(k), value(fmt::to_string(v)), quoted(false) {}
  };
  using Fields = std::initializer_list<Field>;

  Log(Options options, const Clock& clock) : options_(options), clock_(clock) {}

  void debug(std::string_view message, Fields fields = {}) { write(Level::Debug, message, fields); }
  void info(std::string_view message, Fields fields = {}) { write(Level::Info, message, fields); }
  void warning(std::string_view message, Fields fields = {}) { write(Level::Warning, message, fields); }
  void error(std::string_view message, Fields fields = {}) { write(Level::Error, message, fields); }

  // One line (without its newline) that a guest printed. `colour_index` picks the prefix's colour.
  // Control characters in `line` that could act on a terminal are shown escaped.
  void write_guest_line(std::string_view guest, std::string_view stream, std::string_view line, unsigned colour_index);

  const Options& options() const { return options_; }

 private:
  void write(Level level, std::string_view message, Fields fields);
  void emit(const std::string& line);

  const Options options_;
  const Clock& clock_;
  std::mutex mutex_;
};

// Appends `text` to `out` as the inside of a JSON string; invalid UTF-8 becomes U+FFFD.
void append_json_escaped(std::string& out, std::string_view text);

}  // namespace dormouse
