// SPDX-License-Identifier: Apache-2.0
#pragma once
// TLS by OpenSSL over a connected socket. Only natively: a guest's TLS is its host's.

#include "../fd_stream.h"

namespace kubepp {

Task<Result<std::unique_ptr<Stream>>> start_tls(Loop& loop, std::unique_ptr<FdStream> socket, Endpoint endpoint,
                                                std::string host, Time deadline);

}  // namespace kubepp
