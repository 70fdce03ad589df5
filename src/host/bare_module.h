// SPDX-License-Identifier: Apache-2.0
#pragma once
// `dormouse run MODULE.wasm`: one module without a manifest, as a plain WASI program or as a pod of one container.

#include <memory>

#include "base/clock.h"
#include "base/memory_account.h"
#include "base/result.h"
#include "host/container.h"
#include "host/host.h"
#include "pods/pod.h"

namespace dormouse::host {

// The pod that stands for it: named after the file, never restarted unless it runs against a cluster.
Result<pods::Pod> bare_module_pod(const HostOptions& options);

// A plain program's launch: copies of the folders of --dir, our own stdout and stderr, the environment of --env.
// Errors: NotFound (a folder), ResourceExhausted (it does not fit), InvalidArgument.
Result<Launch> bare_launch(const HostOptions& options, const Clock& clock, std::shared_ptr<MemoryAccount> account);

}  // namespace dormouse::host
