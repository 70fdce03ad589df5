// SPDX-License-Identifier: Apache-2.0
#include "posix/kubeconfig.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  (void)kubepp::parse_simple_yaml(std::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
