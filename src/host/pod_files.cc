// SPDX-License-Identifier: Apache-2.0
#include "host/pod_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <utility>
#include <vector>

#include "wasi/tree_builder.h"

namespace dormouse::host {
namespace {

constexpr std::string_view kKubeconfig = R"(apiVersion: v1
kind: Config
clusters:
- {{name: kube, cluster: {{server: "http://kube"}}}}
users:
- {{name: guest, user: {{}}}}
contexts:
- {{name: kube, context: {{cluster: kube, user: guest, namespace: {}}}}}
current-context: kube
)";

// What every pod's root has.
class RootOutline final : public wasi::Outline {
 public:
  explicit RootOutline(const pods::Pod& pod) : name_(pod.name), name_space_(pod.name_space) {}
  std::span<const Item> items() const override { return kItems; }
  std::string text(std::size_t item) const override {
    if (kItems[item].name == "hostname") return name_ + "\n";
    if (kItems[item].name == "kubeconfig") return fmt::format(fmt::runtime(kKubeconfig), name_space_);
    if (kItems[item].name == "passwd") return "root:x:0:0:root:/root:/sbin/nologin\n";
    return name_space_;
  }

 private:
  using Kind = wasi::Inode::Kind;
  static constexpr Item kItems[] = {
      {},
      {.name = "etc"},
      {.name = "hostname", .folder = 1, .kind = Kind::File},
      {.name = "kubeconfig", .folder = 1, .kind = Kind::File},
      {.name = "passwd", .folder = 1, .kind = Kind::File},
      {.name = "var"},
      {.name = "run", .folder = 5},
      {.name = "secrets", .folder = 6},
      {.name = "kubernetes.io", .folder = 7},
      {.name = "serviceaccount", .folder = 8},
      {.name = "namespace", .folder = 9, .kind = Kind::File},
      {.name = "tmp"},
      {.name = "root"},
      {.name = "run"},
      {.name = "signals", .folder = 13, .kind = Kind::Signals},
      {.name = "net", .network = true},
  };
  const std::string name_, name_space_;
};

constexpr const char* kRootsPath = "/etc/ssl/certs/ca-certificates.crt";  // Debian's; others link to it.

// All components of a path; "" and "." fall away.
std::vector<std::string_view> components(std::string_view path) {
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    const std::size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (!part.empty() && part != ".") parts.push_back(part);
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
  }
  return parts;
}

std::unexpected<Error> no_room(std::string_view path) {
  return fail(ErrorCode::ResourceExhausted, "{}: the memory limit (resources.limits.memory) leaves no room for it", path);
}

Result<void> select_keys(const ConfigData& data, const std::vector<pods::KeyPath>& items, bool optional, std::string_view what, std::map<std::string, std::string>& tree) {
  if (items.empty()) {
    for (const auto& [key, value] : data) tree.insert_or_assign(key, value);
    return {};
  }
  for (const pods::KeyPath& item : items) {
    const auto found = data.find(item.key);
    if (found != data.end()) tree.insert_or_assign(item.path, found->second);
    else if (!optional) return fail(ErrorCode::NotFound, "{} has no key \"{}\"", what, item.key);
  }
  return {};
}

}  // namespace

Result<PodFiles::Tree> PodFiles::gather(const pods::Volume& volume, const ConfigLookup& lookup) const {
  Tree tree;
  const auto add_config = [&](const std::string& name, bool secret, const std::vector<pods::KeyPath>& items, bool optional) -> Result<void> {
    const std::string what = fmt::format("volume {}: {} \"{}\"", volume.name, secret ? "Secret" : "ConfigMap", name);
    const ConfigData* data = lookup(secret, name);
    if (data == nullptr) return optional ? Result<void>{} : fail(ErrorCode::NotFound, "{} does not exist", what);
    return select_keys(*data, items, optional, what, tree);
  };
  const auto add_downward = [&](const pods::DownwardVolume& source) {
    for (const pods::DownwardItem& item : source.items) {
      if (const auto* field = std::get_if<pods::FieldRef>(&item.source)) tree.insert_or_assign(item.path, pod_field(pod_, field->path));
      else tree.insert_or_assign(item.path, resource_field(pod_.containers.front(), std::get<pods::ResourceRef>(item.source), 0));
    }
  };
  if (const auto* config = std::get_if<pods::ConfigMapVolume>(&volume.source)) {
    if (auto added = add_config(config->name, false, config->items, config->optional); !added) return fail(added.error());
  } else if (const auto* secret = std::get_if<pods::SecretVolume>(&volume.source)) {
    if (auto added = add_config(secret->name, true, secret->items, secret->optional); !added) return fail(added.error());
  } else if (const auto* downward = std::get_if<pods::DownwardVolume>(&volume.source)) {
    add_downward(*downward);
  } else if (const auto* projected = std::get_if<pods::ProjectedVolume>(&volume.source)) {
    for (const pods::ProjectedSource& source : projected->sources) {
      if (const auto* part = std::get_if<pods::ConfigMapVolume>(&source)) {
        if (auto added = add_config(part->name, false, part->items, part->optional); !added) return fail(added.error());
      } else if (const auto* hidden = std::get_if<pods::SecretVolume>(&source)) {
        if (auto added = add_config(hidden->name, true, hidden->items, hidden->optional); !added) return fail(added.error());
      } else {
        add_downward(std::get<pods::DownwardVolume>(source));
      }
    }
  }
  return tree;
}

Result<std::shared_ptr<wasi::Directory>> PodFiles::build(const Tree& tree) {
  const auto root = wasi::Volume::create({.clock = clock_, .read_only = true, .device = ++last_device_})->make_root();
  for (const auto& [path, content] : tree) {
    if (auto put = wasi::put_file(root, path, content); !put) return fail(put.error());
  }
  return root;
}

Result<PodFiles::Made*> PodFiles::made(const pods::Volume& volume, const ConfigLookup& lookup, const std::shared_ptr<MemoryAccount>& account) {
  if (const auto found = volumes_.find(volume.name); found != volumes_.end()) return &found->second;
  Made made;
  std::shared_ptr<wasi::Directory> root;
  if (std::holds_alternative<pods::EmptyDir>(volume.source)) {
    made.account = account;
    root = wasi::Volume::create({.clock = clock_, .account = account.get(), .device = ++last_device_})->make_root();
  } else {
    auto tree = gather(volume, lookup);
    if (!tree) return fail(tree.error());
    auto built = build(*tree);
    if (!built) return fail(built.error());
    root = std::move(*built);
    made.content = std::move(*tree);
    made.from_objects = true;
  }
  made.mount = std::make_shared<wasi::Mount>(root, made.from_objects);
  made.read_only_mount = std::make_shared<wasi::Mount>(root, true);
  return &volumes_.emplace(volume.name, std::move(made)).first->second;
}

// The machine's own roots of trust, if it has any; charged to nobody.
Result<void> PodFiles::mount_roots(const std::shared_ptr<wasi::Directory>& root) {
  std::ifstream file(kRootsPath, std::ios::binary);
  if (!file) return {};
  const std::string text(std::istreambuf_iterator<char>(file), {});
  auto tree = build({{"ca-certificates.crt", text}});
  if (!tree) return fail(tree.error());
  return wasi::put_mount(root, "/etc/ssl/certs", std::make_shared<wasi::Mount>(*tree, true));
}

Result<PodFiles::Root> PodFiles::make_root(const pods::Container& container, const ConfigLookup& lookup, std::shared_ptr<MemoryAccount> account) {
  const auto root = wasi::Volume::create({.clock = clock_, .account = account.get(), .outline = std::make_shared<RootOutline>(pod_)})->make_root();

  // Guests that do TLS themselves look here; the others have no use for 200 KiB of certificates.
  if (pod_.annotations.contains(pods::kAllowEgressAnnotation)) {
    if (auto mounted = mount_roots(root); !mounted) return fail(mounted.error());
  }

  auto accounts = std::make_shared<std::vector<std::shared_ptr<MemoryAccount>>>();
  accounts->push_back(account);
  // Shorter paths first, so that a mount inside a mount lies on top.
  std::vector<const pods::Mount*> mounts;
  for (const pods::Mount& mount : container.mounts) mounts.push_back(&mount);
  std::ranges::sort(mounts, {}, [](const pods::Mount* mount) { return components(mount->path).size(); });
  for (const pods::Mount* mount : mounts) {
    const auto volume = std::ranges::find_if(pod_.volumes, [&](const pods::Volume& v) { return v.name == mount->volume; });
    if (volume == pod_.volumes.end()) return fail(ErrorCode::NotFound, "the volume \"{}\" does not exist", mount->volume);
    auto made = this->made(*volume, lookup, account);
    if (!made) return fail(made.error());
    if ((*made)->account) accounts->push_back((*made)->account);
    std::shared_ptr<wasi::Mount> at = mount->read_only ? (*made)->read_only_mount : (*made)->mount;
    if (!mount->sub_path.empty()) {
      // As with the kubelet, a subPath is fixed when the container starts and does not follow later changes.
      std::shared_ptr<wasi::Inode> content = at->content();
      for (const std::string_view part : components(mount->sub_path)) {
        auto* folder = wasi::as_directory(content.get());
        auto next = folder != nullptr ? folder->lookup(part).inode : nullptr;
        if (!next && folder != nullptr && !(*made)->from_objects) {
          if (auto created = folder->create_directory(part)) next = *created;
        }
        if (!next) return fail(ErrorCode::NotFound, "the volume \"{}\" has no \"{}\" (subPath)", mount->volume, mount->sub_path);
        content = std::move(next);
      }
      at = std::make_shared<wasi::Mount>(std::move(content), at->read_only());
    }
    const auto parts = components(mount->path);
    if (parts.empty()) return fail(ErrorCode::InvalidArgument, "the volume \"{}\" cannot be mounted over /", mount->volume);
    const std::string_view leaf = parts.back();
    auto folder = wasi::make_directories(root, std::string_view(mount->path).substr(0, static_cast<std::size_t>(leaf.data() - mount->path.data())));
    if (!folder) return fail(folder.error());
    if ((*folder)->mount(leaf, at) != wasi::Errno::Success) return no_room(mount->path);
  }
  return Root{root, accounts};
}

void PodFiles::refresh(const ConfigLookup& lookup) {
  for (const pods::Volume& volume : pod_.volumes) {
    const auto found = volumes_.find(volume.name);
    if (found == volumes_.end() || !found->second.from_objects) continue;
    Made& made = found->second;
    auto tree = gather(volume, lookup);
    if (!tree || *tree == made.content) continue;
    auto built = build(*tree);
    if (!built) continue;
    made.content = std::move(*tree);
    made.mount->replace(*built);
    made.read_only_mount->replace(*built);
  }
}

}  // namespace dormouse::host
