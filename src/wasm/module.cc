// SPDX-License-Identifier: Apache-2.0
#include "wasm/module.h"

#include <sys/mman.h>
#include <unistd.h>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "wasm/code_file.h"
#include "wasm/inspect.h"
#include "wasm/instance_parts.h"

namespace dormouse::wasm {
namespace {

std::string file_name_of(const std::string& path) { return path.substr(path.find_last_of('/') + 1); }

std::string beside(const std::string& path) {
  constexpr std::string_view kExtension = ".wasm";
  return (path.ends_with(kExtension) ? path.substr(0, path.size() - kExtension.size()) : path) + ".cwasm";
}

// Makes the folder with those above it, mode 0700, and makes sure that only we may write into it: what lies there is run.
Result<void> prepare_cache(const std::string& folder) {
  if (folder.empty()) return fail(ErrorCode::InvalidArgument, "no folder for compiled code was given");
  for (std::size_t end = folder.find('/', 1);; end = folder.find('/', end + 1)) {
    if (::mkdir(folder.substr(0, end).c_str(), 0700) != 0 && errno != EEXIST && errno != EISDIR && (end == std::string::npos || errno != EROFS))
      return fail_errno(errno, fmt::format("make the folder for compiled code {}", folder));
    if (end == std::string::npos) break;
  }
  struct stat status{};
  if (::stat(folder.c_str(), &status) != 0) return fail_errno(errno, folder);
  if (!S_ISDIR(status.st_mode)) return fail(ErrorCode::InvalidArgument, "{}: not a folder, and compiled code is to be kept there", folder);
  if ((status.st_uid != 0 && status.st_uid != ::geteuid()) || (status.st_mode & 022) != 0)
    return fail(ErrorCode::PermissionDenied, "{}: others may write into it, and compiled code is to be kept there: chmod go-w it or name another folder", folder);
  return {};
}

// Held while a module is compiled, by whichever process: a byte of one file, chosen by the digest. The kernel lets
// it go when its holder dies.
Result<UniqueFd> lock_compilation(const std::string& folder, const Digest& digest) {
  const std::string path = folder + "/compile.lock";
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return fail_errno(errno, path);
  struct flock lock{};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  std::uint32_t place;
  std::memcpy(&place, digest.data(), sizeof place);
  lock.l_start = place;
  lock.l_len = 1;
  while (::fcntl(fd.get(), F_OFD_SETLKW, &lock) != 0) {
    if (errno != EINTR) return fail_errno(errno, fmt::format("lock {}", path));
  }
  return fd;
}

// What compilers that died have left of this entry. REQUIRES: the lock.
void remove_leftovers(const std::string& folder, const std::string& entry) {
  DIR* listing = ::opendir(folder.c_str());
  if (listing == nullptr) return;
  while (const dirent* file = ::readdir(listing)) {
    const std::string_view name = file->d_name;
    if (name.starts_with(entry + ".") && name.ends_with(".new")) ::unlinkat(::dirfd(listing), file->d_name, 0);
  }
  ::closedir(listing);
}

// Keeps the folder below its limits: the oldest code goes first, never `newest`; and digests, which are made again when wanted.
void prune_cache(const std::string& folder, const std::string& newest, std::uint64_t bytes_max) {
  constexpr std::size_t kDigestsMax = 4'096;
  struct Entry {
    std::int64_t made_ns;
    std::string name;
    std::uint64_t bytes;
  };
  std::vector<Entry> code, digests;
  std::uint64_t code_bytes = 0;
  DIR* listing = ::opendir(folder.c_str());
  if (listing == nullptr) return;
  while (const dirent* file = ::readdir(listing)) {
    const std::string_view name = file->d_name;
    const bool is_code = name.ends_with(".cwasm");
    struct stat status{};
    if ((!is_code && !name.starts_with("digest-")) || ::fstatat(::dirfd(listing), file->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
    const auto bytes = static_cast<std::uint64_t>(status.st_size);
    if (is_code) code_bytes += bytes;
    if (name != newest) (is_code ? code : digests).push_back({status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec, std::string(name), bytes});
  }
  std::ranges::sort(code, {}, &Entry::made_ns);
  std::ranges::sort(digests, {}, &Entry::made_ns);
  for (const Entry& entry : code) {
    if (code_bytes <= bytes_max) break;
    if (::unlinkat(::dirfd(listing), entry.name.c_str(), 0) == 0) code_bytes -= entry.bytes;
  }
  for (std::size_t i = 0; i + kDigestsMax < digests.size(); ++i) ::unlinkat(::dirfd(listing), digests[i].name.c_str(), 0);
  ::closedir(listing);
}

Result<wasmtime_module_t*> map_code(const wasm_engine_t* engine, const OpenFile& file, const std::string& path) {
  // By the descriptor that was checked: the name may have come to mean another file.
  wasmtime_module_t* module = nullptr;
  wasmtime_error_t* error =
      wasmtime_module_deserialize_file(const_cast<wasm_engine_t*>(engine), fmt::format("/proc/self/fd/{}", file.fd.get()).c_str(), &module);
  if (error != nullptr) return fail(ErrorCode::Corrupt, "{}: the engine refuses it: {}", path, take_message(error));
  return module;
}

struct Wanted {
  Engine& engine;
  const Digest& digest;
  std::string memo_folder;
};

Result<wasmtime_module_t*> try_code(const Wanted& wanted, const std::string& path) {
  const auto file = open_code_file(path, wanted.digest, wanted.engine.fingerprint(), wanted.memo_folder);
  if (!file) return fail(file.error());
  return map_code(wanted.engine.parts().engine, *file, path);
}

// The compiled code from beside the module or the cache; null if it has to be made. What is refused is noted.
wasmtime_module_t* find_code(const Wanted& wanted, std::initializer_list<std::string> places, std::string& note) {
  for (const std::string& place : places) {
    const auto code = try_code(wanted, place);
    if (code) return *code;
    if (code.error().code == ErrorCode::NotFound) continue;
    if (!note.empty()) note += "; ";
    note += fmt::format("compiled code refused: {}", code.error().message);
  }
  return nullptr;
}

}  // namespace

Module::Parts::~Parts() {
  if (instance_pre != nullptr) wasmtime_instance_pre_delete(instance_pre);
  if (module != nullptr) wasmtime_module_delete(module);
  slot.reset();
}

std::pair<const std::byte*, std::size_t> Module::Parts::code_range() const {
  void *start = nullptr, *end = nullptr;
  wasmtime_module_image_range(module, &start, &end);
  return {static_cast<const std::byte*>(start), static_cast<std::size_t>(static_cast<char*>(end) - static_cast<char*>(start))};
}

std::span<std::byte> Module::Parts::code_pages() const {
  const auto [begin, length] = code_range();
  // To the end of its last page, or that would be a mapping of its own.
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const std::uintptr_t first = (reinterpret_cast<std::uintptr_t>(begin) + page - 1) / page * page;
  const std::uintptr_t last = (reinterpret_cast<std::uintptr_t>(begin) + length + page - 1) / page * page;
  if (first >= last) return {};
  return {reinterpret_cast<std::byte*>(first), last - first};
}

Module::Module(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Module::~Module() = default;

Result<std::shared_ptr<const Module>> Module::load(Engine& engine, const std::string& path, std::span<const ImportModule> imports, const CompileOptions& options) {
  const auto file = open_regular(path);
  if (!file) return fail(file.error());
  FileBytes bytes(file->fd.get(), file->size_bytes);
  auto info = inspect(bytes, imports);
  if (!info) return fail(std::move(info.error()).within(path));
  if (!info->problems.empty()) return fail(ErrorCode::Unsupported, "{} cannot run here: it {}", path, fmt::join(info->problems, "; it "));

  const auto cache = prepare_cache(options.cache_directory);
  const auto digest = remembered_sha256_of(file->fd.get(), file->size_bytes, cache ? options.cache_directory : "");
  if (!digest) return fail(Error(digest.error()).within(path));
  info->digest = to_text(*digest);
  auto parts = std::make_unique<Parts>();
  parts->info = std::move(*info);
  parts->file_name = file_name_of(path);

  if (options.metadata_file) {
    if (auto empty = options.metadata_file()) parts->slot = Slot::for_module(std::move(*empty));
  }
  const Slot::Filling filling(parts->slot.get());
  const Wanted wanted{engine, *digest, cache ? options.cache_directory : ""};
  const std::string entry = fmt::format("{}-{}.cwasm", to_hex(*digest), engine.fingerprint());
  const std::string cached = options.cache_directory + "/" + entry;
  parts->module = cache ? find_code(wanted, {beside(path), cached}, parts->note) : find_code(wanted, {beside(path)}, parts->note);
  if (parts->module == nullptr) {
    if (!cache) return fail(cache.error());
    const auto lock = lock_compilation(options.cache_directory, *digest);
    if (!lock) return fail(lock.error());
    // Another process may have made it while we waited.
    std::string again;
    parts->module = find_code(wanted, {cached}, again);
    if (parts->module == nullptr) {
      remove_leftovers(options.cache_directory, entry);
      if (const auto made = compile_in_child(options.compiler_program, path, cached, options.compile_memory_bytes_max); !made) return fail(made.error());
      const auto code = try_code(wanted, cached);
      if (!code) return fail(Error(code.error()).within("just compiled (did the module change meanwhile?)"));
      parts->module = *code;
      parts->compiled_now = true;
      prune_cache(options.cache_directory, entry, options.cache_bytes_max);
    }
  }
  if (const auto linked = link_module(engine.parts().engine, *parts, imports); !linked) return fail(Error(linked.error()).within(path));
  // A kernel that keeps the file in large pieces would map two megabytes for each function that runs: 155 MB for one Go operator.
  const std::span<std::byte> code = parts->code_pages();
  ::madvise(code.data(), code.size(), MADV_NOHUGEPAGE);  // A failure costs memory and nothing else; so below.
  return std::shared_ptr<const Module>(new Module(std::move(parts)));
}

const ModuleInfo& Module::info() const { return parts_->info; }

std::pair<const std::byte*, std::size_t> Module::code_range() const { return parts_->code_range(); }

void Module::drop_code_pages(const paging::PageScan* scan) const {
  const std::span<std::byte> code = parts_->code_pages();
  if (scan != nullptr) {
    parts_->code_used.note(*scan, code);
    if (parts_->slot) parts_->slot_used.note(*scan, parts_->slot->used());
  }
  ::madvise(code.data(), code.size(), MADV_DONTNEED);
  if (parts_->slot) parts_->slot->drop_pages();
}

void Module::read_ahead() const {
  parts_->code_used.read_ahead(parts_->code_pages());
  if (parts_->slot) parts_->slot_used.read_ahead(parts_->slot->used());
}

void Module::note_guest_awake(bool awake) const { parts_->guests_awake.fetch_add(awake ? 1 : ~std::uint32_t{0}, std::memory_order_relaxed); }
std::uint32_t Module::guests_awake() const { return parts_->guests_awake.load(std::memory_order_relaxed); }

bool Module::compiled_now() const { return parts_->compiled_now; }
const std::string& Module::note() const { return parts_->note; }

}  // namespace dormouse::wasm
