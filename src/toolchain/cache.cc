// SPDX-License-Identifier: Apache-2.0
#include "toolchain/cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "toolchain/subprocess.h"

extern "C" {
extern const char dormouse_sdk_tar[];
extern const char dormouse_sdk_tar_end[];
}

namespace dormouse::toolchain {
namespace {

// FNV-1a; names a folder, guards nothing.
std::uint64_t fingerprint(std::string_view bytes) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

}  // namespace

Result<std::string> cache_directory(const std::string& part) {
  std::string base;
  if (const char* own = std::getenv("DORMOUSE_CACHE"); own != nullptr && *own != '\0') base = own;
  else if (const char* xdg = std::getenv("XDG_CACHE_HOME"); xdg != nullptr && *xdg == '/') base = std::string(xdg) + "/dormouse";
  else if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/') base = std::string(home) + "/.cache/dormouse";
  else return fail(ErrorCode::NotFound, "no folder for cached files: set DORMOUSE_CACHE or HOME");
  const std::string path = part.empty() ? base : base + "/" + part;
  std::error_code problem;
  std::filesystem::create_directories(path, problem);
  if (problem) return fail(ErrorCode::PermissionDenied, "cannot make the cache folder {}: {}; set DORMOUSE_CACHE to one that can be written", path, problem.message());
  return path;
}

Result<std::string> unpacked_sdk() {
  const std::string_view archive(dormouse_sdk_tar, static_cast<std::size_t>(dormouse_sdk_tar_end - dormouse_sdk_tar));
  const auto cache = cache_directory("sdk");
  if (!cache) return fail(cache.error());
  const std::string name = fmt::format("{:016x}", fingerprint(archive));
  const std::string target = *cache + "/" + name;
  std::error_code problem;
  if (std::filesystem::exists(target, problem)) return target + "/sdk";
  const std::string scratch = fmt::format("{}.{}", target, ::getpid());
  std::filesystem::create_directories(scratch, problem);
  const std::string file = scratch + "/sdk.tar";
  std::ofstream(file, std::ios::binary).write(archive.data(), static_cast<std::streamsize>(archive.size()));
  if (auto unpacked = run({.arguments = {"tar", "--extract", "--file", file, "--directory", scratch, "--no-same-owner"}}); !unpacked) {
    return fail(std::move(unpacked.error()).within("unpacking the SDK"));
  }
  std::filesystem::remove(file, problem);
  // Somebody else may have been faster; theirs is the same.
  std::filesystem::rename(scratch, target, problem);
  if (problem) std::filesystem::remove_all(scratch, problem);
  if (!std::filesystem::exists(target + "/sdk", problem)) return fail(ErrorCode::Internal, "cannot unpack the SDK into {}", target);
  return target + "/sdk";
}

}  // namespace dormouse::toolchain
