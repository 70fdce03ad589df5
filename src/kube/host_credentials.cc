// SPDX-License-Identifier: Apache-2.0
#include "kube/host_credentials.h"


#include <boost/json.hpp>

#include "base/log.h"
#include "kube/base64.h"
#include "kube/file.h"
#include "kube/timestamp.h"

namespace dormouse::kube {
namespace json = boost::json;

namespace {

constexpr auto kTokenFileAgeMax = std::chrono::minutes(1);  // As client-go reads it.
constexpr auto kExpiryMargin = std::chrono::seconds(10);    // A credential that ends sooner would end under way.

std::string trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' ')) text.pop_back();
  return text;
}

// A field that may be absent; nothing if it is there and not a string.
std::optional<std::string> string_field(const json::object& object, std::string_view name) {
  const json::value* const value = object.if_contains(name);
  if (value == nullptr || value->is_null()) return std::string();
  if (!value->is_string()) return std::nullopt;
  return std::string(value->get_string());
}

}  // namespace

HostCredentials::HostCredentials(boost::asio::io_context& loop, const Clock& clock, Cluster cluster, Credentials credentials)
    : loop_(loop), clock_(clock), cluster_(std::move(cluster)), credentials_(std::move(credentials)) {
  if (!credentials_.exec && credentials_.token_file.empty()) {
    current_ = std::make_shared<const Current>(Current{credentials_.token, credentials_.client_certificate_pem, credentials_.client_key_pem});
  }
}

void HostCredentials::with_current(Done done) {
  if (credentials_.exec) {
    if (current_ != nullptr && clock_.realtime() + kExpiryMargin < current_->expires) return done(current_);
    waiting_.push_back(std::move(done));
    if (plugin_ == nullptr) run_plugin();
    return;
  }
  if (!credentials_.token_file.empty() && (current_ == nullptr || clock_.monotonic() - token_read_at_ > kTokenFileAgeMax)) {
    return done(read_token_file());
  }
  done(current_);
}

bool HostCredentials::rejected(const Current& current) {
  if (!credentials_.exec && credentials_.token_file.empty()) return false;
  if (current_.get() == &current) current_ = nullptr;
  return true;
}

Result<std::shared_ptr<const HostCredentials::Current>> HostCredentials::read_token_file() {
  auto text = read_small_file(credentials_.token_file);
  if (!text) return fail(std::move(text.error()).within("the host's token"));
  std::string token = trimmed(std::move(*text));
  if (token.empty()) return fail(ErrorCode::InvalidArgument, "the host's token file {} is empty", credentials_.token_file);
  token_read_at_ = clock_.monotonic();
  if (current_ == nullptr || current_->token != token) {
    current_ = std::make_shared<const Current>(Current{std::move(token), credentials_.client_certificate_pem, credentials_.client_key_pem});
  }
  return current_;
}

std::string HostCredentials::exec_info() const {
  json::object spec{{"interactive", false}};
  if (credentials_.exec->provide_cluster_info) {
    json::object cluster{{"server", cluster_.server}};
    if (!cluster_.tls_server_name.empty()) cluster["tls-server-name"] = cluster_.tls_server_name;
    if (cluster_.insecure_skip_tls_verify) cluster["insecure-skip-tls-verify"] = true;
    if (!cluster_.ca_pem.empty()) cluster["certificate-authority-data"] = base64(cluster_.ca_pem);
    boost::system::error_code ignored;
    if (!credentials_.exec->cluster_extension_json.empty()) cluster["config"] = json::parse(credentials_.exec->cluster_extension_json, ignored);
    spec["cluster"] = std::move(cluster);
  }
  return json::serialize(json::object{{"apiVersion", credentials_.exec->api_version}, {"kind", "ExecCredential"}, {"spec", std::move(spec)}});
}

void HostCredentials::run_plugin() {
  Subprocess::Options options;
  options.command = credentials_.exec->command;
  options.args = credentials_.exec->args;
  options.env = credentials_.exec->env;
  options.env.emplace_back("KUBERNETES_EXEC_INFO", exec_info());
  plugin_ = Subprocess::run(loop_, std::move(options), [this](Result<std::string> output) { plugin_ended(std::move(output)); });
}

void HostCredentials::plugin_ended(Result<std::string> output) {
  const std::unique_ptr<Subprocess> ended = std::move(plugin_);
  auto answer = output ? parse_answer(*output) : Result<std::shared_ptr<const Current>>(fail(std::move(output.error())));
  if (!answer) {
    answer.error() = std::move(answer.error()).within(fmt::format("user \"{}\": exec plugin", credentials_.name));
    if (answer.error().code == ErrorCode::NotFound && !credentials_.exec->install_hint.empty()) {
      answer.error().message += ". " + credentials_.exec->install_hint;
    }
  }
  current_ = answer ? *answer : nullptr;
  std::vector<Done> waiting = std::move(waiting_);
  waiting_.clear();
  for (const Done& done : waiting) done(answer);
}

Result<std::shared_ptr<const HostCredentials::Current>> HostCredentials::parse_answer(const std::string& output) const {
  const std::string& command = credentials_.exec->command;
  boost::system::error_code error;
  const json::value parsed = json::parse(output, error);
  if (error || !parsed.is_object()) return fail(ErrorCode::Corrupt, "{} did not print an ExecCredential as JSON", command);
  const json::object& root = parsed.get_object();
  if (string_field(root, "kind") != "ExecCredential" || string_field(root, "apiVersion") != credentials_.exec->api_version) {
    return fail(ErrorCode::Corrupt, "{} printed something else than an ExecCredential of {}", command, credentials_.exec->api_version);
  }
  const json::value* const status_value = root.if_contains("status");
  const json::object* const status = status_value == nullptr ? nullptr : status_value->if_object();
  if (status == nullptr) return fail(ErrorCode::Corrupt, "{} printed an ExecCredential without a status", command);
  const auto token = string_field(*status, "token"), certificate = string_field(*status, "clientCertificateData"),
             key = string_field(*status, "clientKeyData"), expires = string_field(*status, "expirationTimestamp");
  if (!token || !certificate || !key || !expires) return fail(ErrorCode::Corrupt, "{} printed a status with a field that is not a string", command);
  if (certificate->empty() != key->empty()) return fail(ErrorCode::Corrupt, "{} gave a certificate without its key or a key without its certificate", command);
  if (token->empty() && certificate->empty()) return fail(ErrorCode::Corrupt, "{} gave neither a token nor a certificate", command);
  Current current{*token, *certificate, *key};
  if (!expires->empty()) {
    const auto at = parse_timestamp(*expires);
    if (!at) return fail(ErrorCode::Corrupt, "{} gave an expirationTimestamp that is not a timestamp", command);
    if (*at <= clock_.realtime()) return fail(ErrorCode::Corrupt, "{} gave a credential that expired at {}", command, *expires);
    current.expires = *at;
  }
  return std::make_shared<const Current>(std::move(current));
}

}  // namespace dormouse::kube
