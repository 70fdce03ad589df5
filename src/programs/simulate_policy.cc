// SPDX-License-Identifier: Apache-2.0
// `dormouse simulate-policy TRACE...`: which way to sleep suits what was recorded.

#include <fmt/format.h>

#include <fstream>
#include <iterator>
#include <memory>

#include "guest/sleep_simulator.h"
#include "programs/commands.h"

namespace dormouse {
namespace {

using guest::SimulatedPolicy;

struct Replay {
  std::string source;
  std::size_t guests = 0;
  std::vector<SimulatedPolicy> policies;  // The oracle last.
};

Result<Replay> replay(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return fail_errno(errno, path);
  std::string text(std::istreambuf_iterator<char>(file), {});
  if (file.bad()) return fail(ErrorCode::Unavailable, "{}: cannot be read", path);
  const auto trace = guest::parse_trace(text, path);
  if (!trace) return fail(trace.error());
  if (trace->waits.empty()) return fail(ErrorCode::InvalidArgument, "{}: holds no wait; record for longer", path);
  return Replay{path, trace->guests.size(), guest::simulate(*trace)};
}

double to_oracle(const SimulatedPolicy& policy, const SimulatedPolicy& oracle) { return oracle.cost > 0 ? policy.cost / oracle.cost : 1; }

void print_table(const Replay& replay) {
  const SimulatedPolicy& oracle = replay.policies.back();
  fmt::print("{}: {} guests, {} wake-ups, {} of them events\n", replay.source, replay.guests, oracle.wakes, oracle.events);
  fmt::print("  {:<12} {:>9} {:>12} {:>10} {:>10} {:>11} {:>10}\n", "policy", "cold", "kept MB*s", "kept", "cold*kept", "page-outs", "cost");
  for (const SimulatedPolicy& policy : replay.policies) {
    fmt::print("  {:<12} {:>8.2f}% {:>12.1f} {:>9.2f}% {:>10.5f} {:>11} {:>9.2f}x\n", policy.name, 100 * policy.cold_share(), policy.kept_byte_seconds / 1e6, 100 * policy.kept_share(),
               policy.cold_share() * policy.kept_share(), policy.page_outs, to_oracle(policy, oracle));
  }
}

std::string json(const Replay& replay) {
  std::string policies;
  for (const SimulatedPolicy& policy : replay.policies) {
    policies += fmt::format(R"({}{{"policy":"{}","coldEvents":{},"coldShare":{:.6f},"keptByteSeconds":{:.0f},"keptShare":{:.6f},"pageOuts":{},"costByteSeconds":{:.0f},"costToOracle":{:.4f}}})", policies.empty() ? "" : ",",
                            policy.name, policy.cold_events, policy.cold_share(), policy.kept_byte_seconds, policy.kept_share(), policy.page_outs, policy.cost, to_oracle(policy, replay.policies.back()));
  }
  std::string source;
  for (const char c : replay.source) {
    if (c == '"' || c == '\\') source += '\\';
    source += static_cast<unsigned char>(c) < 0x20 ? '?' : c;
  }
  const SimulatedPolicy& oracle = replay.policies.back();
  return fmt::format(R"({{"trace":"{}","guests":{},"wakeups":{},"events":{},"policies":[{}]}})", source, replay.guests, oracle.wakes, oracle.events, policies);
}

int run(const std::vector<std::string>& paths, bool as_json) {
  std::vector<Replay> replays;
  for (const std::string& path : paths) {
    auto one = replay(path);
    if (!one) return failed(one.error());
    replays.push_back(std::move(*one));
  }
  if (as_json) {
    std::string all;
    for (const Replay& one : replays) all += (all.empty() ? "" : ",") + json(one);
    fmt::print(R"({{"breakEvenSeconds":{},"traces":[{}]}})" "\n", guest::kBreakEven.count() / 1'000'000'000, all);
    return 0;
  }
  for (const Replay& one : replays) {
    print_table(one);
    fmt::print("\n");
  }
  fmt::print("cold: events that met a paged-out guest; kept: waiting in RAM, of all waiting; cost: MB*s kept, and {} s of the guest for\neach page-out, to the oracle's, which knows the future.\n", guest::kBreakEven.count() / 1'000'000'000);
  return 0;
}

}  // namespace

void add_simulate_policy(CLI::App& app, int& exit_code) {
  struct Flags {
    std::vector<std::string> traces;
    std::string output = "table";
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand("simulate-policy", "Compare the ways to sleep on recorded traces (dormouse run --record-trace FILE)");
  command->add_option("TRACE", flags->traces, "Trace files")->required();
  command->add_option("-o,--output", flags->output, "table or json")->check(CLI::IsMember({"table", "json"}));
  command->callback([flags, &exit_code] { exit_code = run(flags->traces, flags->output == "json"); });
}

}  // namespace dormouse
