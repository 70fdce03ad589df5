// SPDX-License-Identifier: Apache-2.0
#include "gateway/answer_digest.h"

#include <openssl/evp.h>

#include <fmt/format.h>

#include "base/check.h"

namespace dormouse::gateway {
namespace {

constexpr std::size_t kKeyBytesMax = 32;  // Longer than any key of interest.

void update(EVP_MD_CTX* context, const void* bytes, std::size_t size) { CHECK(EVP_DigestUpdate(context, bytes, size) == 1); }

}  // namespace

void AnswerDigest::Free::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

AnswerDigest::AnswerDigest(bool is_list, int status, const kube::Headers& headers) : context_(EVP_MD_CTX_new()), status_(status), is_list_(is_list) {
  CHECK(context_ != nullptr && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
  std::string type, encoding;
  for (const auto& [name, value] : headers) {
    if (name == "content-type") type = value;
    if (name == "content-encoding") encoding = value;
  }
  is_list_ = is_list_ && encoding.empty() && type.starts_with("application/json");
  const std::string head = fmt::format("{} {} {} {}\n", status, type.size(), type, encoding);
  update(context_.get(), head.data(), head.size());
}

AnswerDigest::~AnswerDigest() = default;
AnswerDigest::AnswerDigest(AnswerDigest&&) noexcept = default;
AnswerDigest& AnswerDigest::operator=(AnswerDigest&&) noexcept = default;

void AnswerDigest::add(std::span<const std::byte> bytes) {
  if (is_list_) add_list({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  else update(context_.get(), bytes.data(), bytes.size());
}

// Passes over JSON text, of which it need not know that it is well-formed: what it takes for the revision is left out, all
// else counts, and for the same text it always decides the same.
void AnswerDigest::add_list(std::string_view text) {
  std::size_t from = 0;  // What is before has been added, or left out.
  const auto add_until = [&](std::size_t end) {
    if (!in_revision_) update(context_.get(), text.data() + from, end - from);
    from = end;
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string_) {
      if (escaped_) escaped_ = false;
      else if (c == '\\') escaped_ = true;
      else if (c == '"') in_string_ = false;
      if (in_string_ && depth_ <= 2 && text_.size() < kKeyBytesMax) text_.push_back(c);
      continue;
    }
    switch (c) {
      case '"':
        in_string_ = true;
        text_.clear();
        break;
      case ':':
        if (depth_ == 1) in_metadata_ = text_ == "metadata";
        if (depth_ == 2 && in_metadata_ && text_ == "resourceVersion") {
          add_until(i + 1);
          in_revision_ = true;
        }
        break;
      case ',':
      case '}':
      case ']':
        if (in_revision_ && depth_ == 2) {
          from = i;
          in_revision_ = false;
        }
        if (c != ',') --depth_;
        break;
      case '{':
      case '[': ++depth_; break;
      default: break;
    }
  }
  add_until(text.size());
}

OffloadDetector::Answer AnswerDigest::finish() {
  OffloadDetector::Answer answer{.status = status_};
  unsigned size = 0;
  CHECK(EVP_DigestFinal_ex(context_.get(), answer.digest.data(), &size) == 1 && size == answer.digest.size());
  return answer;
}

}  // namespace dormouse::gateway
