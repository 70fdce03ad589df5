// SPDX-License-Identifier: Apache-2.0
#pragma once
// The current context of a kubeconfig, as far as server, CA, client certificate and token go.

#include "kubepp/json.h"
#include "kubepp/stream.h"

namespace kubepp {

// The block style that kubectl and its kin write: mappings, sequences, plain and quoted scalars on one line; or JSON.
// All scalars come as strings. Not a YAML parser: what it does not understand is an error with its line.
Result<Json> parse_simple_yaml(std::string_view text);

Result<Endpoint> endpoint_of_kubeconfig(const std::string& path);
Result<Endpoint> endpoint_of_url(std::string_view url);

}  // namespace kubepp
