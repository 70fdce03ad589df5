// SPDX-License-Identifier: Apache-2.0
#pragma once
// The files of one pod: what a container's process sees below "/", and the volumes behind its mounts.
//
// ConfigMap, Secret, downward and projected volumes are trees of the host's making, read-only to guests, replaced as a
// whole when an object changes (as the kubelet's symlink swap does). emptyDir volumes live as long as the pod. "/" and
// /tmp are new with each run and charged to the container.
//
// Ownership: owned by the PodRunner. A run's tree shares what it needs and may outlive this object.
// Threads: the loop's; trees are read on guests' threads.

#include <map>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/memory_account.h"
#include "base/result.h"
#include "host/environment.h"
#include "pods/pod.h"
#include "wasi/file_tree.h"
#include "wasi/process.h"

namespace dormouse::host {

class PodFiles final : Immovable {
 public:
  // `pod` and `clock` outlive this object.
  PodFiles(const pods::Pod& pod, const Clock& clock) : pod_(pod), clock_(clock) {}

  struct Root {
    std::shared_ptr<wasi::Directory> directory;
    std::shared_ptr<void> resources;   // Outlives the tree.
  };
  // The root folder for a new run of `container`. Errors: NotFound (a ConfigMap, Secret or key that is not optional),
  // InvalidArgument (mounts that cannot be), ResourceExhausted.
  Result<Root> make_root(const pods::Container& container, const ConfigLookup& lookup, std::shared_ptr<MemoryAccount> account);

  // A ConfigMap or Secret has changed: every volume made from objects is built again and put in place.
  // What cannot be built (an object has gone) stays as it was, as the kubelet leaves it.
  void refresh(const ConfigLookup& lookup);

 private:
  using Tree = std::map<std::string, std::string>;  // Path inside the volume, content.
  Result<Tree> gather(const pods::Volume& volume, const ConfigLookup& lookup) const;
  Result<std::shared_ptr<wasi::Directory>> build(const Tree& tree);

  Result<void> mount_roots(const std::shared_ptr<wasi::Directory>& root);

  struct Made {
    std::shared_ptr<MemoryAccount> account;  // emptyDir: whom it is charged to; goes after the tree.
    std::shared_ptr<wasi::Mount> mount, read_only_mount;
    Tree content;                            // Of a volume made from objects.
    bool from_objects = false;
  };
  Result<Made*> made(const pods::Volume& volume, const ConfigLookup& lookup, const std::shared_ptr<MemoryAccount>& account);

  const pods::Pod& pod_;
  const Clock& clock_;
  std::map<std::string, Made> volumes_;
  std::uint64_t last_device_ = 1;
};

}  // namespace dormouse::host
