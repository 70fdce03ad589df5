// SPDX-License-Identifier: Apache-2.0
#include "tls_stream.h"

namespace kubepp {

Task<Result<std::unique_ptr<Stream>>> start_tls(Loop&, std::unique_ptr<FdStream>, Endpoint, std::string, Time) {
  co_return fail("Configuration", "built without OpenSSL: install libssl-dev and build again, or set KUBE_API_URL=http://HOST:PORT");
}

}  // namespace kubepp
