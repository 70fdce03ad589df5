// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <ctime>

#include "base/utf8.h"

namespace dormouse {
namespace {

// RFC 3339 with microseconds, UTC.
std::string timestamp(const Clock& clock) {
  const auto now = clock.realtime();
  const std::time_t seconds = std::chrono::duration_cast<std::chrono::seconds>(now).count();
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
                     parts.tm_hour, parts.tm_min, parts.tm_sec, (now.count() % 1'000'000'000) / 1000);
}

constexpr std::array<std::string_view, 4> kLevelNames{"debug", "info", "warning", "error"};
constexpr std::array<std::string_view, 4> kLevelLetters{"D", "I", "W", "E"};
constexpr std::array<std::string_view, 4> kLevelColours{"\x1b[2m", "", "\x1b[33m", "\x1b[31m"};
constexpr std::array<std::string_view, 6> kGuestColours{"\x1b[36m", "\x1b[35m", "\x1b[34m", "\x1b[32m", "\x1b[33m", "\x1b[96m"};
constexpr std::string_view kResetColour = "\x1b[0m";

// A guest's line on a terminal: tabs pass, SGR colours pass if `keep_colours` and else fall away, and whatever else could
// move the cursor is shown escaped.
std::string printable(std::string_view line, bool keep_colours) {
  std::string out;
  out.reserve(line.size());
  while (!line.empty()) {
    const auto c = static_cast<unsigned char>(line[0]);
    if (c == 0x1b) {
      std::size_t end = 1;
      if (end < line.size() && line[end] == '[') {
        ++end;
        while (end < line.size() && ((line[end] >= '0' && line[end] <= '9') || line[end] == ';')) ++end;
        if (end < line.size() && line[end] == 'm') {
          if (keep_colours) out.append(line.substr(0, end + 1));
          line.remove_prefix(end + 1);
          continue;
        }
      }
    }
    if ((c < 0x20 && c != '\t') || c == 0x7f) {
      out += fmt::format("\\x{:02x}", c);
      line.remove_prefix(1);
      continue;
    }
    const std::size_t length = utf8_length(line);
    const bool c1_control = length == 2 && c == 0xc2 && static_cast<unsigned char>(line[1]) < 0xa0;
    if (length == 0 || c1_control) {
      out += fmt::format("\\x{:02x}", c);
      line.remove_prefix(1);
    } else {
      out.append(line.substr(0, length));
      line.remove_prefix(length);
    }
  }
  return out;
}

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  append_json_escaped(out, text);
  out += '"';
}

}  // namespace

void append_json_escaped(std::string& out, std::string_view text) {
  while (!text.empty()) {
    const auto c = static_cast<unsigned char>(text[0]);
    const std::size_t length = utf8_length(text);
    if (length == 0) {
      out += "\xef\xbf\xbd";
      text.remove_prefix(1);
      continue;
    }
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      default:
        if (c < 0x20) {
          out += fmt::format("\\u{:04x}", c);
        } else {
          out.append(text.substr(0, length));
        }
    }
    text.remove_prefix(length);
  }
}

void Log::write(Level level, std::string_view message, Fields fields) {
  if (level < options_.level) return;
  const auto index = static_cast<std::size_t>(level);
  std::string line;
  if (options_.format == Format::Json) {
    line = fmt::format(R"({{"time":"{}","level":"{}","message":)", timestamp(clock_), kLevelNames[index]);
    append_json_string(line, message);
    for (const Field& field : fields) {
      line += ',';
      append_json_string(line, field.key);
      line += ':';
      if (field.quoted) {
        append_json_string(line, field.value);
      } else {
        line += field.value;
      }
    }
    line += "}\n";
  } else {
    const std::string_view colour = options_.colour ? kLevelColours[index] : std::string_view{};
    line = fmt::format("{}{} {} {}", colour, kLevelLetters[index], timestamp(clock_).substr(11, 12), message);
    for (const Field& field : fields) {
      const bool plain = !field.value.empty() && field.value.find_first_of(" \"=\n\t") == std::string::npos;
      line += fmt::format(" {}=", field.key);
      if (plain) {
        line += printable(field.value, false);
      } else {
        append_json_string(line, field.value);
      }
    }
    if (!colour.empty()) line += kResetColour;
    line += '\n';
  }
  emit(line);
}

void Log::write_guest_line(std::string_view guest, std::string_view stream, std::string_view text, unsigned colour_index) {
  std::string line;
  if (options_.format == Format::Json) {
    line = fmt::format(R"({{"time":"{}","guest":)", timestamp(clock_));
    append_json_string(line, guest);
    line += R"(,"stream":)";
    append_json_string(line, stream);
    line += R"(,"line":)";
    append_json_string(line, text);
    line += "}\n";
  } else if (options_.colour) {
    line = fmt::format("{}{} |{} {}{}\n", kGuestColours[colour_index % kGuestColours.size()], guest, kResetColour, printable(text, true), kResetColour);
  } else {
    line = fmt::format("{} | {}\n", guest, printable(text, false));
  }
  emit(line);
}

void Log::emit(const std::string& line) {
  const std::lock_guard lock(mutex_);
  std::string_view rest = line;
  while (!rest.empty()) {
    const ssize_t written = ::write(options_.fd, rest.data(), rest.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return;  // There is nowhere left to say so.
    }
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace dormouse
