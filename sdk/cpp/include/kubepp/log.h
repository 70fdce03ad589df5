// SPDX-License-Identifier: Apache-2.0
#pragma once
// Structured log lines on stderr: a constant message and key-value pairs. KUBEPP_LOG=json makes each line a JSON object;
// KUBEPP_LOG_LEVEL is debug, info (default), warn or error.
//
//   log::info("applied", {{"greeting", key}, {"generation", 3}});

#include <initializer_list>
#include <string_view>

#include "kubepp/json.h"

namespace kubepp::log {

using Fields = std::initializer_list<Json::Member>;

void debug(std::string_view message, Fields fields = {});
void info(std::string_view message, Fields fields = {});
void warn(std::string_view message, Fields fields = {});
void error(std::string_view message, Fields fields = {});

}  // namespace kubepp::log
