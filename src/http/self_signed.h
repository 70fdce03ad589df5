// SPDX-License-Identifier: Apache-2.0
#pragma once
// A certificate for a server of ours on this machine, made in memory. It signs itself and nothing else, for rustls takes
// no authority for a server; clients are
// given it as what to trust.
//
// Ownership: values. Threads: any.

#include <string>

#include "base/result.h"

namespace dormouse::http {

struct SelfSigned {
  std::string certificate_pem, key_pem;  // P-256.
};
// `names` as X.509's subjectAltName: "IP:127.0.0.1,DNS:localhost". Valid from an hour ago for `days`.
// Errors: Internal (the library has no randomness or refuses the names).
Result<SelfSigned> make_self_signed(const std::string& names, int days);

}  // namespace dormouse::http
