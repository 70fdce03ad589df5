// SPDX-License-Identifier: Apache-2.0
#pragma once
// The host's own credentials as they are now: out of the kubeconfig, a token file that changes, or an exec plugin.
//
// Ownership: owned by Upstream. What it hands out is immutable and shared.
// Threads:   the loop's.
// Invariant: at most one run of the plugin is under way; nothing happens while nobody asks.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "base/clock.h"
#include "base/result.h"
#include "base/types.h"
#include "kube/kubeconfig.h"
#include "kube/subprocess.h"

namespace dormouse::kube {

class HostCredentials final : Immovable {
 public:
  struct Current {
    std::string token;  // May be empty.
    std::string client_certificate_pem, client_key_pem;  // Both or neither.
    Nanoseconds expires = Nanoseconds::max();  // Real time.
  };
  using Done = std::function<void(Result<std::shared_ptr<const Current>>)>;

  HostCredentials(boost::asio::io_context& loop, const Clock& clock, Cluster cluster, Credentials credentials);

  // From within this call if they are at hand. Errors: the plugin's or the file's, in a sentence.
  void with_current(Done done);
  // The server answered 401: the next with_current() asks the plugin or reads the file again. True if that can change anything.
  bool rejected(const Current& current);

 private:
  void run_plugin();
  void plugin_ended(Result<std::string> output);
  Result<std::shared_ptr<const Current>> read_token_file();
  Result<std::shared_ptr<const Current>> parse_answer(const std::string& output) const;
  std::string exec_info() const;

  boost::asio::io_context& loop_;
  const Clock& clock_;
  const Cluster cluster_;
  const Credentials credentials_;
  std::shared_ptr<const Current> current_;
  Nanoseconds token_read_at_{};
  std::vector<Done> waiting_;
  std::unique_ptr<Subprocess> plugin_;
};

}  // namespace dormouse::kube
