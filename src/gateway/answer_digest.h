// SPDX-License-Identifier: Apache-2.0
#pragma once
// The digest of one answer of the Kubernetes API, taken as its bytes go by: two answers with the same digest tell a guest
// the same.
//
// Status, content type and encoding, and the body count; other fields of the head (dates, audit ids) do not. Of a LIST in
// plain JSON the list's own metadata.resourceVersion does not count either: it is the revision of the whole store at the
// time of asking, so it changes with any write of anybody, and says nothing of the objects listed. Theirs do count.
//
// Ownership: a value that can be moved. Threads: one at a time.

#include <memory>
#include <span>
#include <string>

#include "gateway/offload_detector.h"
#include "kube/upstream.h"

struct evp_md_ctx_st;

namespace dormouse::gateway {

class AnswerDigest {
 public:
  AnswerDigest(bool is_list, int status, const kube::Headers& headers);
  ~AnswerDigest();
  AnswerDigest(AnswerDigest&&) noexcept;
  AnswerDigest& operator=(AnswerDigest&&) noexcept;

  void add(std::span<const std::byte> bytes);
  // Once.
  OffloadDetector::Answer finish();

 private:
  void add_list(std::string_view text);

  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
  int status_;
  bool is_list_;                     // In plain JSON.

  // Where add_list() is. Only the two outermost levels are looked at.
  int depth_ = 0;
  bool in_string_ = false, escaped_ = false;
  std::string text_;                 // The string that was read last; before a colon it is a key.
  bool in_metadata_ = false;         // Within the list's own.
  bool in_revision_ = false;         // From the key's end to the value's.
};

}  // namespace dormouse::gateway
