// SPDX-License-Identifier: Apache-2.0
#pragma once
// What `dormouse ps`, `why` and `cache` have in common: a running host answers in JSON, and a table is made of it. The answer may be
// another version's.
//
// Threads: any.

#include <boost/json.hpp>
#include <exception>
#include <string>
#include <string_view>

#include "base/result.h"

namespace dormouse::host {

// `make(value)` yields the table, or throws at a field that is not there. Errors: Corrupt.
template <typename Make>
Result<std::string> table_of(std::string_view answer, std::string_view command, Make&& make) {
  boost::system::error_code problem;
  const boost::json::value value = boost::json::parse(answer, problem);
  if (problem) return fail(ErrorCode::Corrupt, "the host's answer is not JSON: {}", problem.message());
  try {
    return make(value);
  } catch (const std::exception& unexpected) {
    return fail(ErrorCode::Corrupt, "the host's answer lacks a field ({}); are `dormouse {}` and the host of one version?", unexpected.what(), command);
  }
}

}  // namespace dormouse::host
