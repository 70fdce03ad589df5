// SPDX-License-Identifier: Apache-2.0
#include "kube/base64.h"

#include <openssl/evp.h>

namespace dormouse::kube {

std::string base64(std::string_view bytes) {
  std::string text((bytes.size() + 2) / 3 * 4, '\0');
  EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()), reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  return text;
}

}  // namespace dormouse::kube
