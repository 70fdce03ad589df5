// SPDX-License-Identifier: Apache-2.0
#include "host/pressure.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <string_view>
#include <utility>

#include "kube/file.h"

namespace dormouse::host {
namespace {

// Without privileges the kernel takes windows of a multiple of 2 s only (Linux 6.5, psi.rst).
constexpr std::string_view kTrigger = "some 150000 2000000";

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc{} || (end != text.data() + text.size() && *end != '\n' && *end != ' ')) return std::nullopt;
  return value;
}

std::optional<std::uint64_t> read_number(const std::string& path) {
  const auto text = kube::read_small_file(path);
  return text ? number(*text) : std::nullopt;  // "max" is no number: no limit.
}

// Of "KEY VALUE" lines.
std::optional<std::uint64_t> field(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!line.starts_with(key)) continue;
    const std::string_view rest = line.substr(key.size());
    const std::size_t value = rest.find_first_not_of(" \t");
    if (value != 0 && value != std::string_view::npos) return number(rest.substr(value));
  }
  return std::nullopt;
}

bool exists(const std::string& path) {
  struct stat about {};
  return ::stat(path.c_str(), &about) == 0;
}

// What /proc/self/cgroup ("ID:CONTROLLERS:PATH") says of a hierarchy: "" is v2.
std::optional<std::string> own_cgroup(std::string_view text, std::string_view controller) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::size_t first = line.find(':');
    if (first == std::string_view::npos) continue;
    const std::size_t second = line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    std::string_view controllers = line.substr(first + 1, second - first - 1);
    bool ours = controller.empty() && controllers.empty();
    while (!controllers.empty() && !ours) {
      const std::size_t comma = std::min(controllers.find(','), controllers.size());
      ours = !controller.empty() && controllers.substr(0, comma) == controller;
      controllers.remove_prefix(std::min(comma + 1, controllers.size()));
    }
    if (ours) return std::string(line.substr(second + 1));
  }
  return std::nullopt;
}

struct Limit {
  std::uint64_t bytes = 0;
  std::string folder, name;
};

// The tightest limit on the way from the cgroup to the root. In a container the path may be the outer one, which is not
// there; then what is mounted is the cgroup itself.
std::optional<Limit> tightest(const std::string& root, std::string name, const char* file) {
  std::optional<Limit> found;
  if (name.empty() || name[0] != '/' || name.find("/..") != std::string::npos || !exists(root + name)) name = "/";
  while (true) {
    const std::string folder = name == "/" ? root : root + name;
    const auto bytes = read_number(folder + "/" + file);
    if (bytes && *bytes > 0 && (!found || *bytes < found->bytes)) found = Limit{*bytes, folder, name};
    if (name == "/") return found;
    name.erase(std::max<std::size_t>(name.rfind('/'), 1));
    if (name.size() > 1 && name.back() == '/') name.pop_back();
  }
}

}  // namespace

HostMemory HostMemory::look(const KernelPaths& paths) {
  HostMemory memory;
  memory.statm_path_ = paths.proc + "/self/statm";
  if (const auto text = kube::read_small_file(paths.proc + "/meminfo")) memory.machine_bytes_ = field(*text, "MemTotal:").value_or(0) << 10;
  const auto cgroups = kube::read_small_file(paths.proc + "/self/cgroup");
  const auto take = [&](Source source, std::optional<Limit> limit) {
    // v1 says 2^63 rounded down to pages for "no limit"; more than there is limits nothing either.
    if (!limit || limit->bytes >= (memory.machine_bytes_ != 0 ? memory.machine_bytes_ : std::uint64_t{1} << 62)) return;
    if (memory.limit_bytes_ && *memory.limit_bytes_ <= limit->bytes) return;
    memory.limit_bytes_ = limit->bytes;
    memory.source_ = source;
    memory.cgroup_folder_ = std::move(limit->folder);
    memory.cgroup_name_ = std::move(limit->name);
  };
  if (cgroups) {
    if (const auto name = own_cgroup(*cgroups, "")) {
      for (const char* mount : {"", "/unified"}) take(Source::CgroupV2, tightest(paths.cgroup + mount, *name, "memory.max"));
    }
    if (const auto name = own_cgroup(*cgroups, "memory")) take(Source::CgroupV1, tightest(paths.cgroup + "/memory", *name, "memory.limit_in_bytes"));
  }
  for (const std::string& path : {memory.cgroup_folder_.empty() ? std::string() : memory.cgroup_folder_ + "/memory.pressure", paths.proc + "/pressure/memory"}) {
    if (memory.pressure_path_.empty() && !path.empty() && exists(path)) memory.pressure_path_ = path;
  }
  return memory;
}

std::uint64_t HostMemory::default_budget_bytes() const { return limit_bytes_ ? *limit_bytes_ / 10 * 9 : machine_bytes_ / 2; }

std::string HostMemory::source() const {
  if (source_ == Source::Process) return "process";
  return fmt::format("cgroup {} (v{})", cgroup_name_, source_ == Source::CgroupV2 ? 2 : 1);
}

Result<std::uint64_t> HostMemory::used_bytes() const {
  if (source_ == Source::Process) {
    const auto text = kube::read_small_file(statm_path_);
    if (!text) return fail(text.error());
    // "size resident shared …" in pages; resident without shared (file pages) is what is anonymous.
    const std::string_view all = *text;
    const std::size_t first = all.find(' '), second = all.find(' ', first + 1);
    if (first == std::string_view::npos || second == std::string_view::npos) return fail(ErrorCode::Corrupt, "{}: not three numbers", statm_path_);
    const auto resident = number(all.substr(first + 1)), shared = number(all.substr(second + 1));
    if (!resident || !shared) return fail(ErrorCode::Corrupt, "{}: not three numbers", statm_path_);
    static const auto page_bytes = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    return (*resident - std::min(*resident, *shared)) * page_bytes;
  }
  const bool v2 = source_ == Source::CgroupV2;
  const std::string usage_path = cgroup_folder_ + (v2 ? "/memory.current" : "/memory.usage_in_bytes");
  const auto usage = read_number(usage_path);
  const auto stat = kube::read_small_file(cgroup_folder_ + "/memory.stat");
  if (!usage) return fail(ErrorCode::Unavailable, "{}: cannot be read as a number", usage_path);
  if (!stat) return fail(stat.error());
  const std::uint64_t cache = field(*stat, v2 ? "inactive_file" : "total_inactive_file").value_or(0) + field(*stat, v2 ? "active_file" : "total_active_file").value_or(0);
  return *usage - std::min(*usage, cache);
}

Result<std::unique_ptr<PressureWatch>> PressureWatch::create(boost::asio::io_context& loop, const std::string& path, std::function<void()> on_pressure) {
  UniqueFd file(::open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!file) return fail_errno(errno, path);
  // With the literal's terminating zero: the kernel overwrites the last byte with one.
  if (::write(file.get(), kTrigger.data(), kTrigger.size() + 1) < 0) return fail_errno(errno, fmt::format("{}: the trigger \"{}\" is not taken", path, kTrigger));
  boost::system::error_code problem;
  std::unique_ptr<PressureWatch> watch(new PressureWatch(loop, std::move(on_pressure)));
  watch->file_.assign(file.get(), problem);
  if (problem) return fail(ErrorCode::Unavailable, "{}: {}", path, problem.message());
  static_cast<void>(file.release());
  watch->await();
  return watch;
}

void PressureWatch::await() {
  // POLLPRI: the trigger has fired. Destroying the descriptor cancels the wait, whose handler then touches nothing.
  file_.async_wait(boost::asio::posix::descriptor_base::wait_error, [this](boost::system::error_code problem) {
    if (problem) return;
    // The kernel takes the trigger away with its cgroup (POLLERR); that would come again and again.
    pollfd state{.fd = file_.native_handle(), .events = POLLPRI, .revents = 0};
    if (::poll(&state, 1, 0) > 0 && (state.revents & POLLERR) != 0) return;
    on_pressure_();
    await();
  });
}

}  // namespace dormouse::host
