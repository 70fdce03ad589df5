// SPDX-License-Identifier: Apache-2.0
#include "toolchain/build.h"

#include <fmt/ranges.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <map>
#include <vector>

#include "toolchain/cache.h"
#include "toolchain/subprocess.h"

namespace dormouse::toolchain {
namespace {

namespace fs = std::filesystem;

void say(std::string_view line) {
  fmt::print("{}\n", line);
  std::fflush(stdout);
}

std::string megabytes(std::uint64_t bytes) { return fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6); }

Result<void> need(const std::string& program, std::string_view advice) {
  if (find_program(program)) return {};
  return fail(ErrorCode::NotFound, "{} is not on PATH: {}", program, advice);
}

// The Go and Rust drivers are themselves small programs, built once into the cache beside the SDK they came in.
Result<std::string> go_driver(const std::string& sdk) {
  if (auto there = need("go", "install Go 1.26 or newer"); !there) return fail(there.error());
  const std::string program = sdk + "/bin/go-overlay";
  if (fs::exists(program)) return program;
  say("go: building the overlay program (once, about 5 s)");
  if (auto built = run({.arguments = {"go", "build", "-o", program, "."}, .directory = sdk + "/go/overlay"}); !built) return fail(built.error());
  return program;
}

Result<std::string> rust_driver(const std::string& sdk) {
  if (auto there = need("cargo", "install Rust 1.95 or newer (rustup), then `rustup target add wasm32-wasip1`"); !there) return fail(there.error());
  const std::string program = sdk + "/rust/driver/target/release/driver";
  if (fs::exists(program)) return program;
  say("rust: building the driver (once, about 10 s)");
  if (auto built = run({.arguments = {"cargo", "build", "--quiet", "--release", "--manifest-path", sdk + "/rust/driver/Cargo.toml"},
                        .environment = {{"CARGO_TARGET_DIR", sdk + "/rust/driver/target"}}});
      !built) {
    return fail(built.error());
  }
  return program;
}

Result<void> build_cpp(const BuildOptions& options, const std::string& sdk, const std::string& source, const std::string& output) {
  for (const char* program : {"cmake", "ninja", "clang++-19", "wasm-ld-19", "llvm-ar-19"}) {
    if (auto there = need(program, "apt-get install cmake ninja-build clang-19 lld-19 llvm-19 wasi-libc libc++-19-dev-wasm32 libc++abi-19-dev-wasm32 libclang-rt-19-dev-wasm32"); !there) return there;
  }
  std::string key = source;
  std::ranges::replace(key, '/', '_');
  const auto scratch = cache_directory("build/cpp" + key);
  if (!scratch) return fail(scratch.error());
  std::vector<std::string> configure{"cmake", "-S", source, "-B", *scratch, "-G", "Ninja", "--log-level=WARNING", "-DCMAKE_BUILD_TYPE=MinSizeRel",
                                     "-DCMAKE_TOOLCHAIN_FILE=" + sdk + "/cpp/wasi-toolchain.cmake", "-DDORMOUSE_SDK=" + sdk + "/cpp"};
  if (auto done = run({.arguments = configure}); !done) return done;
  std::vector<std::string> make{"cmake", "--build", *scratch};
  if (!options.package.empty()) make.insert(make.end(), {"--target", options.package});
  if (auto done = run({.arguments = make}); !done) return done;
  std::vector<fs::path> made;
  for (const auto& entry : fs::recursive_directory_iterator(*scratch)) {
    const bool wanted = options.package.empty() || entry.path().stem() == options.package;
    if (entry.is_regular_file() && entry.path().extension() == ".wasm" && wanted && entry.path().string().find("CMakeFiles") == std::string::npos) made.push_back(entry.path());
  }
  if (made.empty()) return fail(ErrorCode::NotFound, "{}: the build made no .wasm; its CMakeLists.txt must have an add_executable()", source);
  if (made.size() > 1) {
    std::vector<std::string> names;
    for (const fs::path& path : made) names.push_back(path.stem());
    return fail(ErrorCode::InvalidArgument, "{}: the build made several programs ({}); choose one with --package", source, fmt::join(names, ", "));
  }
  std::error_code problem;
  fs::copy_file(made[0], output, fs::copy_options::overwrite_existing, problem);
  if (problem) return fail(ErrorCode::PermissionDenied, "cannot write {}: {}", output, problem.message());
  return {};
}

}  // namespace

std::string_view to_string(Language language) {
  switch (language) {
    case Language::Go: return "Go";
    case Language::Rust: return "Rust";
    case Language::Cpp: return "C++";
  }
  return "";
}

Result<Language> detect_language(const std::string& directory) {
  std::error_code problem;
  if (!fs::is_directory(directory, problem)) return fail(ErrorCode::NotFound, "{}: no such folder", directory);
  std::vector<Language> found;
  if (fs::exists(directory + "/go.mod", problem)) found.push_back(Language::Go);
  if (fs::exists(directory + "/Cargo.toml", problem)) found.push_back(Language::Rust);
  if (fs::exists(directory + "/CMakeLists.txt", problem)) found.push_back(Language::Cpp);
  if (found.empty()) return fail(ErrorCode::NotFound, "{}: neither go.mod, Cargo.toml nor CMakeLists.txt is there; give the folder that has one", directory);
  if (found.size() > 1) return fail(ErrorCode::InvalidArgument, "{}: has more than one of go.mod, Cargo.toml and CMakeLists.txt; choose with --language", directory);
  return found[0];
}

Result<void> build(const BuildOptions& options) {
  const auto language = detect_language(options.directory);
  if (!language) return fail(language.error());
  const std::string source = fs::canonical(options.directory);
  const std::string output = fs::absolute(options.output.empty() ? fs::path(source).filename().string() + ".wasm" : options.output);
  if (!output.ends_with(".wasm")) return fail(ErrorCode::InvalidArgument, "{}: the output's name must end in .wasm", output);
  const auto sdk = unpacked_sdk();
  if (!sdk) return fail(sdk.error());
  say(fmt::format("building {} ({}) into {}", source, to_string(*language), output));
  const auto started = std::chrono::steady_clock::now();

  if (*language == Language::Cpp) {
    if (auto built = build_cpp(options, *sdk, source, output); !built) return built;
  } else {
    const auto driver = *language == Language::Go ? go_driver(*sdk) : rust_driver(*sdk);
    if (!driver) return fail(driver.error());
    std::vector<std::string> arguments{*driver, "build", "--dir", source, "--out", output};
    if (!options.package.empty()) {
      arguments.push_back(*language == Language::Go ? "--package" : "--bin");
      arguments.push_back(options.package);
    }
    if (auto built = run({.arguments = arguments}); !built) return built;
  }

  const auto info = wasm::inspect_module_file(output, options.provided);
  if (!info) return fail(info.error());
  say(describe(output, *info));
  if (!info->problems.empty()) return fail(ErrorCode::Unsupported, "{} was built but cannot run here", output);
  if (options.compile) {
    const std::string compiled = output.substr(0, output.size() - 5) + ".cwasm";
    const double guess_seconds = static_cast<double>(info->code_bytes) / 1.0e6 * 1.0;
    say(fmt::format("compiling ahead of time into {} (about {:.0f} s of CPU time)", compiled, guess_seconds + 1));
    if (auto done = wasm::compile_in_child(options.dormouse_program, output, compiled, 0); !done) return done;
    rusage used{};
    ::getrusage(RUSAGE_CHILDREN, &used);
    std::error_code problem;
    say(fmt::format("  {} of machine code; largest child process {}", megabytes(fs::file_size(compiled, problem)), megabytes(static_cast<std::uint64_t>(used.ru_maxrss) * 1024)));
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  say(fmt::format("done in {:.1f} s. Run it with: dormouse run {}", seconds, output));
  return {};
}

std::string describe(const std::string& path, const wasm::ModuleInfo& info) {
  std::map<std::string, std::size_t> imports;
  for (const auto& import : info.imports) ++imports[import.module];
  std::vector<std::string> modules;
  for (const auto& [module, count] : imports) modules.push_back(fmt::format("{} from {}", count, module));
  std::string text = fmt::format("{}\n  size      {} ({} functions, {} code, {} data)\n  digest    {}\n  imports   {}\n  memory    {} at start, at most {}\n", path, megabytes(info.file_bytes),
                                 info.functions, megabytes(info.code_bytes), megabytes(info.data_bytes), info.digest, modules.empty() ? "none" : fmt::format("{}", fmt::join(modules, ", ")),
                                 megabytes(info.memory_initial_bytes), megabytes(info.memory_max_bytes));
  if (info.problems.empty()) {
    text += "  verdict   can run here";
  } else {
    text += "  verdict   cannot run here:";
    for (const std::string& problem : info.problems) text += "\n            - " + problem;
  }
  return text;
}

}  // namespace dormouse::toolchain
