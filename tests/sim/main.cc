// SPDX-License-Identifier: Apache-2.0
// watchcache_sim [--seed N] [--runs N] [--events N] [--steps N] [--faults MASK] [--subscribers N] [--keys N]
//
// Runs seed after seed until so many runs, or so many checked events, are done. Each run is a process of its own, so that a
// CHECK that fails is found as well. A failing run is made smaller (fewer faults, readers, objects, steps) and its command
// line printed; the exit code is then 1.

#include <sys/wait.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>

#include <fmt/format.h>

#include "sim.h"

using namespace dormouse::sim;

namespace {

constexpr unsigned kRunSecondsMax = 900;  // A run that hangs is a failure; they take a second or so.

// Unset: it went well, and `totals` has it.
std::optional<std::string> run_apart(const Config& config, Totals& totals) {
  int ends[2];
  if (::pipe(ends) != 0) std::abort();
  std::fflush(stdout);
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(ends[0]);
    ::alarm(kRunSecondsMax);
    std::string text(sizeof(Totals) + 1, '\0');
    try {
      const Totals one = run(config);
      std::memcpy(text.data() + 1, &one, sizeof one);
    } catch (const std::exception& failure) {
      text = std::string("!") + failure.what();
    }
    const bool written = ::write(ends[1], text.data(), text.size()) == static_cast<ssize_t>(text.size());
    ::_exit(written ? 0 : 1);
  }
  ::close(ends[1]);
  std::string text;
  char piece[4096];
  for (ssize_t size = 0; (size = ::read(ends[0], piece, sizeof piece)) > 0;) text.append(piece, static_cast<std::size_t>(size));
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (text.starts_with('!')) return text.substr(1);
  if (text.size() != sizeof(Totals) + 1) return WIFSIGNALED(status) ? fmt::format("ended by signal {}", WTERMSIG(status)) : "ended without a word";
  Totals one;
  std::memcpy(&one, text.data() + 1, sizeof one);
  totals.add(one);
  return std::nullopt;
}

std::uint64_t step_of(const std::string& message, std::uint64_t otherwise) {
  std::uint64_t step = otherwise;
  if (message.starts_with("step ")) std::from_chars(message.data() + 5, message.data() + message.size(), step);
  return step;
}

// Smaller in every way in which it still fails.
void shrink(Config& config, std::string& message) {
  const auto attempt = [&](Config smaller) {
    Totals ignored;
    if (auto failure = run_apart(smaller, ignored)) {
      smaller.steps = std::min(smaller.steps, step_of(*failure, smaller.steps) + 1);
      config = smaller;
      message = std::move(*failure);
      return true;
    }
    return false;
  };
  config.steps = std::min(config.steps, step_of(message, config.steps) + 1);
  for (std::uint32_t bit = 1; bit < kAllFaults; bit <<= 1) {
    Config smaller = config;
    smaller.faults &= ~bit;
    if (smaller.faults != config.faults) attempt(smaller);
  }
  for (bool again = true; again;) {
    again = false;
    for (std::size_t Config::*size : {&Config::subscribers, &Config::keys}) {
      Config smaller = config;
      smaller.*size = std::max<std::size_t>(1, smaller.*size / 2);
      if (smaller.*size != config.*size) again = attempt(smaller) || again;
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  Config config;
  std::uint64_t runs = 0, events = 1'000'000;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view name = argv[i], value = argv[i + 1];
    std::uint64_t number = 0;
    if (std::from_chars(value.data(), value.data() + value.size(), number).ec != std::errc()) {
      fmt::print(stderr, "{}: \"{}\" is no number\n", name, value);
      return 2;
    }
    if (name == "--seed") config.seed = number;
    else if (name == "--runs") runs = number;
    else if (name == "--events") events = number;
    else if (name == "--steps") config.steps = number;
    else if (name == "--faults") config.faults = static_cast<std::uint32_t>(number);
    else if (name == "--subscribers") config.subscribers = number;
    else if (name == "--keys") config.keys = number;
    else {
      fmt::print(stderr, "unknown option {}\n", name);
      return 2;
    }
  }
  const auto start = std::chrono::steady_clock::now();
  Totals totals;
  for (; runs > 0 ? totals.runs < runs : totals.events < events; ++config.seed) {
    std::optional<std::string> failure = run_apart(config, totals);
    if (!failure) continue;
    fmt::print("seed {} failed at {}\nmaking it smaller ...\n", config.seed, *failure);
    shrink(config, *failure);
    fmt::print("FAILED {}\nagain: watchcache_sim --runs 1 --seed {} --steps {} --faults {} --subscribers {} --keys {}\n", *failure, config.seed, config.steps, config.faults, config.subscribers, config.keys);
    return 1;
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  fmt::print(
      R"({{"runs":{},"steps":{},"writes":{},"events":{},"bookmarks":{},"streams":{},"expired":{},"lists":{},"relists":{},"resets":{},"restores":{},"reflector_failures":{},"seconds":{:.1f},"events_per_minute":{:.0f}}})"
      "\n",
      totals.runs, totals.steps, totals.writes, totals.events, totals.bookmarks, totals.streams, totals.expired, totals.lists, totals.relists, totals.resets, totals.restores, totals.reflector_failures, seconds,
      static_cast<double>(totals.events) / seconds * 60);
}
