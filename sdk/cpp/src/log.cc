// SPDX-License-Identifier: Apache-2.0
#include "kubepp/log.h"

#include <cstdio>
#include <cstdlib>

#include "kubepp/object.h"

namespace kubepp::log {
namespace {

enum class Level { Debug, Info, Warn, Error };
constexpr std::string_view kNames[] = {"debug", "info", "warn", "error"};

struct Settings {
  Level least = Level::Info;
  bool json = false;
  Settings() {
    if (const char* form = std::getenv("KUBEPP_LOG")) json = std::string_view(form) == "json";
    if (const char* level = std::getenv("KUBEPP_LOG_LEVEL")) {
      for (int i = 0; i < 4; ++i) {
        if (kNames[i] == level) least = static_cast<Level>(i);
      }
    }
  }
};

void write(Level level, std::string_view message, Fields fields) {
  static const Settings settings;
  if (level < settings.least) return;
  std::string line;
  const std::string time = rfc3339(std::chrono::system_clock::now());
  const std::string_view name = kNames[static_cast<int>(level)];
  if (settings.json) {
    Json object = Json::object({{"time", time}, {"level", name}, {"message", message}});
    for (const auto& [key, value] : fields) object[key] = value;
    line = object.dump();
  } else {
    line = time + " " + std::string(name) + " " + std::string(message);
    for (const auto& [key, value] : fields) {
      // Words stay bare, everything else is quoted.
      const std::string_view text = value.as_string();
      const bool bare = value.is_string() && !text.empty() && text.find_first_of(" \"=\n\r\t\\") == text.npos;
      line += " " + key + "=" + (bare ? std::string(text) : value.dump());
    }
  }
  line += '\n';
  std::fwrite(line.data(), 1, line.size(), stderr);
}

}  // namespace

void debug(std::string_view message, Fields fields) { write(Level::Debug, message, fields); }
void info(std::string_view message, Fields fields) { write(Level::Info, message, fields); }
void warn(std::string_view message, Fields fields) { write(Level::Warn, message, fields); }
void error(std::string_view message, Fields fields) { write(Level::Error, message, fields); }

}  // namespace kubepp::log
