// SPDX-License-Identifier: Apache-2.0
#include "kube/kubeconfig.h"

#include <yaml-cpp/yaml.h>

#include <charconv>
#include <cstdlib>
#include <filesystem>

#include "base/log.h"
#include "kube/file.h"

namespace dormouse::kube {
namespace {

constexpr std::size_t kEntriesMax = 10'000;       // Of one kind, in all files.
constexpr std::size_t kListMax = 1'000;           // args, env, groups.
constexpr std::size_t kExtensionBytesMax = 64 * 1024;
constexpr int kExtensionDepthMax = 20;
constexpr std::size_t kContextsShownMax = 10;

// One of `clusters`, `users`, `contexts`, and where it was written.
struct Entry {
  const std::string* file = nullptr;
  YAML::Node node;  // What stands under `cluster`, `user`, `context`.
};

struct Merged {
  std::map<std::string, Entry> clusters, users, contexts;
  std::string current_context;
};

std::string at(const std::string& file, const YAML::Mark& mark) {
  return mark.is_null() ? file : fmt::format("{}:{}", file, mark.line + 1);
}

// Reads fields of one entry; the first error stays.
class Fields {
 public:
  Fields(const Entry& entry, std::string what) : file_(*entry.file), node_(entry.node), what_(std::move(what)) {}
  Fields(const Fields& parent, const YAML::Node& node, std::string_view field)
      : file_(parent.file_), node_(node), what_(fmt::format("{}: {}", parent.what_, field)) {}

  YAML::Node get(const char* field) const {
    if (!node_.IsMap()) return YAML::Node(YAML::NodeType::Undefined);
    const YAML::Node found = node_[field];
    return found.IsDefined() && !found.IsNull() ? found : YAML::Node(YAML::NodeType::Undefined);
  }
  bool has(const char* field) const { return get(field).IsDefined(); }

  std::string text(const char* field) {
    const YAML::Node found = get(field);
    if (!found.IsDefined()) return {};
    if (!found.IsScalar()) {
      wrong(field, "must be a string");
      return {};
    }
    if (found.Scalar().find('\0') != std::string::npos) {
      wrong(field, "contains a NUL byte");
      return {};
    }
    return found.Scalar();
  }
  bool boolean(const char* field) {
    const std::string value = text(field);
    if (value == "true") return true;
    if (!value.empty() && value != "false") wrong(field, "must be true or false");
    return false;
  }
  std::vector<std::string> texts(const char* field) { return texts_in(get(field), field); }
  std::vector<std::string> texts_in(const YAML::Node& list, const char* field) {
    std::vector<std::string> values;
    if (!list.IsDefined()) return values;
    if (!list.IsSequence() || list.size() > kListMax) {
      wrong(field, fmt::format("must be a list of at most {} strings", kListMax));
      return values;
    }
    for (const auto& item : list) {
      if (item.IsScalar() && item.Scalar().find('\0') == std::string::npos) {
        values.push_back(item.Scalar());
      } else {
        wrong(field, "must be a list of strings");
      }
    }
    return values;
  }
  // `NAME-data` in base64, else the file that `NAME` names, relative to the kubeconfig's folder.
  std::string content(const char* field) {
    const std::string data_field = std::string(field) + "-data";
    if (const std::string data = text(data_field.c_str()); !data.empty()) {
      auto decoded = decode_base64(data);
      if (!decoded) wrong(data_field.c_str(), "is not base64");
      return decoded.value_or("");
    }
    const std::string path = resolved_path(field);
    if (path.empty()) return {};
    auto text = read_small_file(path);
    if (!text) wrong(field, text.error().message);
    return text.value_or("");
  }
  std::string resolved_path(const char* field) {
    const std::string path = text(field);
    return path.empty() ? path : relative_to_file(path);
  }
  std::string relative_to_file(const std::string& path) const {
    return (std::filesystem::path(file_).parent_path() / path).lexically_normal().string();
  }

  void wrong(const char* field, std::string_view why, ErrorCode code = ErrorCode::InvalidArgument) {
    if (error_) return;
    YAML::Mark mark = node_.Mark();
    if (const YAML::Node found = get(field); found.IsDefined()) mark = found.Mark();
    error_ = Error{code, fmt::format("{}: {}: {} {}", at(file_, mark), what_, field, why)};
  }
  void refuse(const char* field, std::string_view why) {
    if (has(field)) wrong(field, why, ErrorCode::Unsupported);
  }
  void adopt(const Fields& child) {
    if (!error_) error_ = child.error_;
  }
  std::optional<Error>& error() { return error_; }

 private:
  static std::optional<std::string> decode_base64(std::string_view text) {
    std::string decoded;
    std::uint32_t bits = 0;
    int count = 0, padding = 0;
    for (const char c : text) {
      if (c == ' ' || c == '\n' || c == '\r' || c == '\t') continue;
      if (c == '=') {
        ++padding;
        continue;
      }
      constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
      const std::size_t value = kAlphabet.find(c);
      if (value == std::string_view::npos || padding > 0) return std::nullopt;
      bits = bits << 6 | static_cast<std::uint32_t>(value);
      if (++count % 4 != 1) decoded += static_cast<char>(bits >> (count % 4 == 2 ? 4 : count % 4 == 3 ? 2 : 0));
    }
    if (count % 4 == 1 || padding > 2) return std::nullopt;
    return decoded;
  }

  const std::string& file_;
  const YAML::Node node_;
  std::string what_;
  std::optional<Error> error_;
};

// The cluster's extension for exec plugins, handed on as JSON.
bool append_json(std::string& out, const YAML::Node& node, int depth) {
  if (depth > kExtensionDepthMax || out.size() > kExtensionBytesMax) return false;
  if (node.IsMap()) {
    out += '{';
    bool first = true;
    for (const auto& pair : node) {
      if (!pair.first.IsScalar()) return false;
      out += first ? "\"" : ",\"";
      first = false;
      append_json_escaped(out, pair.first.Scalar());
      out += "\":";
      if (!append_json(out, pair.second, depth + 1)) return false;
    }
    out += '}';
  } else if (node.IsSequence()) {
    out += '[';
    for (std::size_t i = 0; i < node.size(); ++i) {
      if (i > 0) out += ',';
      if (!append_json(out, node[i], depth + 1)) return false;
    }
    out += ']';
  } else if (node.IsScalar()) {
    const std::string& text = node.Scalar();
    std::int64_t number = 0;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
    const bool plain = node.Tag() != "!";  // Quoted scalars carry this tag.
    if (plain && (text == "true" || text == "false")) {
      out += text;
    } else if (plain && !text.empty() && problem == std::errc() && end == text.data() + text.size()) {
      out += std::to_string(number);
    } else {
      out += '"';
      append_json_escaped(out, text);
      out += '"';
    }
  } else {
    out += "null";
  }
  return true;
}

Result<void> merge_list(const std::string& file, const YAML::Node& root, const char* list_field, const char* field, std::map<std::string, Entry>& into) {
  const YAML::Node list = root[list_field];
  if (!list.IsDefined() || list.IsNull()) return {};
  if (!list.IsSequence()) return fail(ErrorCode::InvalidArgument, "{}: {} must be a list", at(file, list.Mark()), list_field);
  for (const auto& item : list) {
    if (!item.IsMap()) return fail(ErrorCode::InvalidArgument, "{}: an entry of {} must be a mapping", at(file, item.Mark()), list_field);
    const YAML::Node name = item["name"];
    if (!name.IsDefined() || !name.IsScalar() || name.Scalar().empty()) {
      return fail(ErrorCode::InvalidArgument, "{}: an entry of {} has no name", at(file, item.Mark()), list_field);
    }
    if (into.size() >= kEntriesMax) return fail(ErrorCode::InvalidArgument, "{}: more than {} {}", file, kEntriesMax, list_field);
    const YAML::Node value = item[field];
    if (value.IsDefined() && !value.IsNull() && !value.IsMap()) {
      return fail(ErrorCode::InvalidArgument, "{}: {} \"{}\" must be a mapping", at(file, value.Mark()), field, name.Scalar());
    }
    into.try_emplace(name.Scalar(), Entry{&file, value.IsDefined() ? value : YAML::Node()});
  }
  return {};
}

Result<void> merge(const std::string& file, const std::string& text, Merged& merged) {
  const YAML::Node root = YAML::Load(text);
  if (!root.IsDefined() || root.IsNull()) return {};
  if (!root.IsMap()) return fail(ErrorCode::InvalidArgument, "{}: not a kubeconfig: it must be a mapping", at(file, root.Mark()));
  if (const YAML::Node kind = root["kind"]; kind.IsDefined() && kind.IsScalar() && !kind.Scalar().empty() && kind.Scalar() != "Config") {
    return fail(ErrorCode::InvalidArgument, "{}: not a kubeconfig: its kind is \"{}\", not \"Config\"", at(file, kind.Mark()), kind.Scalar());
  }
  const YAML::Node current = root["current-context"];
  if (merged.current_context.empty() && current.IsDefined() && current.IsScalar()) merged.current_context = current.Scalar();
  if (auto done = merge_list(file, root, "clusters", "cluster", merged.clusters); !done) return done;
  if (auto done = merge_list(file, root, "users", "user", merged.users); !done) return done;
  return merge_list(file, root, "contexts", "context", merged.contexts);
}

Result<Cluster> read_cluster(const std::string& name, const Entry& entry) {
  Fields fields(entry, fmt::format("cluster \"{}\"", name));
  Cluster cluster;
  cluster.name = name;
  cluster.server = fields.text("server");
  if (auto parsed = parse_server_url(cluster.server, cluster); !parsed) {
    fields.wrong("server", parsed.error().message, parsed.error().code);
  }
  cluster.tls_server_name = fields.text("tls-server-name");
  cluster.insecure_skip_tls_verify = fields.boolean("insecure-skip-tls-verify");
  cluster.ca_pem = fields.content("certificate-authority");
  if (cluster.insecure_skip_tls_verify && !cluster.ca_pem.empty()) {
    fields.wrong("insecure-skip-tls-verify", "and a certificate authority contradict each other; remove one of them");
  }
  fields.refuse("proxy-url", "is not supported; Dormouse connects to the API server directly");
  if (fields.error()) return fail(std::move(*fields.error()));
  return cluster;
}

std::optional<ExecPlugin> read_exec(Fields& user, const Entry& cluster) {
  const YAML::Node node = user.get("exec");
  if (!node.IsDefined()) return std::nullopt;
  Fields fields(user, node, "exec");
  ExecPlugin plugin;
  if (!node.IsMap()) user.wrong("exec", "must be a mapping");
  plugin.api_version = fields.text("apiVersion");
  if (plugin.api_version != "client.authentication.k8s.io/v1" && plugin.api_version != "client.authentication.k8s.io/v1beta1") {
    fields.wrong("apiVersion", fmt::format("\"{}\" is not supported; use client.authentication.k8s.io/v1 or /v1beta1", plugin.api_version), ErrorCode::Unsupported);
  }
  plugin.command = fields.text("command");
  if (plugin.command.empty()) fields.wrong("command", "is required");
  if (plugin.command.find('/') != std::string::npos) plugin.command = fields.relative_to_file(plugin.command);
  plugin.args = fields.texts("args");
  plugin.install_hint = fields.text("installHint");
  plugin.provide_cluster_info = fields.boolean("provideClusterInfo");
  if (const std::string mode = fields.text("interactiveMode"); mode == "Always") {
    fields.wrong("interactiveMode", "Always is not supported: Dormouse has no terminal to give; use IfAvailable or Never", ErrorCode::Unsupported);
  } else if (!mode.empty() && mode != "Never" && mode != "IfAvailable") {
    fields.wrong("interactiveMode", "must be Never, IfAvailable or Always");
  }
  const YAML::Node env = fields.get("env");
  if (env.IsDefined() && (!env.IsSequence() || env.size() > kListMax)) {
    fields.wrong("env", "must be a list of name and value");
  } else if (env.IsDefined()) {
    for (const auto& item : env) {
      Fields variable(fields, item, "env");
      const std::string name = variable.text("name");
      if (name.empty() || name.find('=') != std::string::npos) variable.wrong("name", "is required and may not contain '='");
      plugin.env.emplace_back(name, variable.text("value"));
      fields.adopt(variable);
    }
  }
  if (plugin.provide_cluster_info) {
    Fields about(cluster, "cluster");
    const YAML::Node extensions = about.get("extensions");
    if (extensions.IsDefined() && extensions.IsSequence()) {
      for (const auto& item : extensions) {
        if (!item.IsMap()) continue;
        const YAML::Node name = item["name"], extension = item["extension"];
        if (!name.IsDefined() || !name.IsScalar() || name.Scalar() != "client.authentication.k8s.io/exec" || !extension.IsDefined()) continue;
        if (!append_json(plugin.cluster_extension_json, extension, 0)) about.wrong("extensions", "are too large or too deep");
      }
    }
    fields.adopt(about);
  }
  user.adopt(fields);
  return plugin;
}

Result<Credentials> read_user(const std::string& name, const Entry& entry, const Entry& cluster) {
  Fields fields(entry, fmt::format("user \"{}\"", name));
  Credentials user;
  user.name = name;
  fields.refuse("username", "and password are not supported: Kubernetes has no basic authentication any more; use a token or a certificate");
  fields.refuse("password", "and username are not supported: Kubernetes has no basic authentication any more; use a token or a certificate");
  fields.refuse("auth-provider", "is not supported: Kubernetes has removed it; use an exec plugin (for example kubelogin) instead");
  user.client_certificate_pem = fields.content("client-certificate");
  user.client_key_pem = fields.content("client-key");
  if (user.client_certificate_pem.empty() != user.client_key_pem.empty()) {
    fields.wrong(user.client_key_pem.empty() ? "client-certificate" : "client-key", "is given without the other; certificate and key belong together");
  }
  user.token = fields.text("token");
  user.token_file = fields.resolved_path("tokenFile");
  user.exec = read_exec(fields, cluster);
  user.impersonation.user = fields.text("as");
  user.impersonation.uid = fields.text("as-uid");
  user.impersonation.groups = fields.texts("as-groups");
  if (const YAML::Node extra = fields.get("as-user-extra"); extra.IsDefined()) {
    if (!extra.IsMap()) fields.wrong("as-user-extra", "must be a mapping of lists");
    for (const auto& pair : extra) {
      if (extra.IsMap() && pair.first.IsScalar()) user.impersonation.extra[pair.first.Scalar()] = fields.texts_in(pair.second, "as-user-extra");
    }
  }
  if (user.impersonation.user.empty() && !user.impersonation.empty()) {
    fields.wrong("as", "is required when as-uid, as-groups or as-user-extra are given");
  }
  if (fields.error()) return fail(std::move(*fields.error()));
  return user;
}

Result<Config> choose(const Merged& merged, std::string_view wanted, const std::string& source) {
  Config config;
  config.source = source;
  config.context = wanted.empty() ? merged.current_context : std::string(wanted);
  if (config.context.empty()) {
    return fail(ErrorCode::InvalidArgument, "{}: no current-context is set; choose one with --context", source);
  }
  const auto context_entry = merged.contexts.find(config.context);
  if (context_entry == merged.contexts.end()) {
    std::string known;
    std::size_t shown = 0;
    for (const auto& [name, _] : merged.contexts) {
      if (shown++ == kContextsShownMax) break;
      known += (known.empty() ? "" : ", ") + name;
    }
    return fail(ErrorCode::InvalidArgument, "{}: there is no context \"{}\"; there is: {}{}", source, config.context, known.empty() ? "none" : known,
                shown > kContextsShownMax ? ", …" : "");
  }
  Fields context(context_entry->second, fmt::format("context \"{}\"", config.context));
  const std::string cluster_name = context.text("cluster"), user_name = context.text("user");
  config.namespace_name = context.text("namespace");
  if (config.namespace_name.empty()) config.namespace_name = "default";
  const auto cluster = merged.clusters.find(cluster_name);
  const auto user = merged.users.find(user_name);
  if (cluster == merged.clusters.end()) context.wrong("cluster", fmt::format("\"{}\" does not exist", cluster_name));
  if (!user_name.empty() && user == merged.users.end()) context.wrong("user", fmt::format("\"{}\" does not exist", user_name));
  if (context.error()) return fail(std::move(*context.error()));

  auto read = read_cluster(cluster_name, cluster->second);
  if (!read) return fail(std::move(read.error()));
  config.cluster = std::move(*read);
  if (user != merged.users.end()) {
    auto credentials = read_user(user_name, user->second, cluster->second);
    if (!credentials) return fail(std::move(credentials.error()));
    config.credentials = std::move(*credentials);
  }
  return config;
}

Result<Config> in_cluster(const ConfigOptions& options) {
  Config config;
  config.source = "in-cluster";
  config.cluster.name = "in-cluster";
  config.cluster.server = fmt::format("https://{}:{}", options.service_host.find(':') == std::string::npos ? options.service_host : "[" + options.service_host + "]", options.service_port);
  if (auto parsed = parse_server_url(config.cluster.server, config.cluster); !parsed) {
    return fail(ErrorCode::InvalidArgument, "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT: {}", parsed.error().message);
  }
  auto ca = read_small_file(options.service_account_dir + "/ca.crt");
  if (!ca) return fail(std::move(ca.error()).within("in-cluster configuration"));
  config.cluster.ca_pem = std::move(*ca);
  config.credentials.name = "in-cluster";
  config.credentials.token_file = options.service_account_dir + "/token";
  if (auto token = read_small_file(config.credentials.token_file); !token) return fail(std::move(token.error()).within("in-cluster configuration"));
  const auto name = read_small_file(options.service_account_dir + "/namespace");
  config.namespace_name = name && !name->empty() ? *name : "default";
  return config;
}

}  // namespace

Result<void> parse_server_url(std::string_view url, Cluster& cluster) {
  constexpr std::string_view kScheme = "https://";
  if (url.empty()) return fail(ErrorCode::InvalidArgument, "is required");
  if (url.starts_with("http://")) {
    return fail(ErrorCode::Unsupported, "\"{}\": plain http is not supported (kubectl proxy included); give the API server's https address", url);
  }
  if (!url.starts_with(kScheme)) return fail(ErrorCode::InvalidArgument, "\"{}\" is not of the form https://HOST[:PORT][/PREFIX]", url);
  std::string_view rest = url.substr(kScheme.size());
  const std::size_t slash = rest.find('/');
  std::string_view authority = rest.substr(0, slash);
  std::string_view prefix = slash == std::string_view::npos ? std::string_view() : rest.substr(slash);
  while (prefix.ends_with('/')) prefix.remove_suffix(1);
  std::string_view host = authority, port;
  bool bracketed = false;
  if (authority.starts_with('[')) {
    const std::size_t close = authority.find(']');
    if (close == std::string_view::npos) return fail(ErrorCode::InvalidArgument, "\"{}\" has an address without its closing bracket", url);
    host = authority.substr(1, close - 1);
    port = authority.substr(close + 1);
    bracketed = true;
  } else if (const std::size_t colon = authority.find(':'); colon != std::string_view::npos) {
    host = authority.substr(0, colon);
    port = authority.substr(colon);
  }
  for (const char c : host) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '-' || c == '_';
    if (!plain && !(bracketed && c == ':')) return fail(ErrorCode::InvalidArgument, "\"{}\" has a host name with characters that are not allowed", url);
  }
  for (const char c : prefix) {
    if (c <= 0x20 || c == 0x7f || c == '?' || c == '#') return fail(ErrorCode::InvalidArgument, "\"{}\" may have neither query nor fragment nor blanks", url);
  }
  if (host.empty()) return fail(ErrorCode::InvalidArgument, "\"{}\" has no host name", url);
  cluster.port = 443;
  if (!port.empty()) {
    port.remove_prefix(1);
    const auto [end, problem] = std::from_chars(port.data(), port.data() + port.size(), cluster.port);
    if (port.empty() || problem != std::errc() || end != port.data() + port.size() || cluster.port == 0) {
      return fail(ErrorCode::InvalidArgument, "\"{}\" has a port that is not a number from 1 to 65535", url);
    }
  }
  cluster.host = std::string(host);
  cluster.path_prefix = std::string(prefix);
  cluster.server = std::string(url);  // Last: `url` may be a view of it.
  return {};
}

Result<Config> parse_kubeconfig(const std::vector<std::pair<std::string, std::string>>& documents, std::string_view context) {
  Merged merged;
  std::string source;
  for (const auto& [file, text] : documents) {
    source += (source.empty() ? "" : ":") + file;
    try {
      if (auto done = merge(file, text, merged); !done) return fail(std::move(done.error()));
    } catch (const YAML::Exception& error) {
      return fail(ErrorCode::InvalidArgument, "{}: {}", at(file, error.mark), error.msg);
    }
  }
  try {
    return choose(merged, context, source);
  } catch (const YAML::Exception& error) {
    return fail(ErrorCode::InvalidArgument, "{}: {}", source, error.what());
  }
}

ConfigOptions ConfigOptions::from_environment() {
  const auto get = [](const char* name) {
    const char* const value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  ConfigOptions options;
  options.kubeconfig_env = get("KUBECONFIG");
  options.home = get("HOME");
  options.service_host = get("KUBERNETES_SERVICE_HOST");
  options.service_port = get("KUBERNETES_SERVICE_PORT");
  return options;
}

Result<Config> load_config(const ConfigOptions& options) {
  std::vector<std::string> paths;
  if (!options.kubeconfig.empty()) {
    paths.push_back(options.kubeconfig);
  } else if (!options.kubeconfig_env.empty()) {
    for (std::size_t from = 0; from <= options.kubeconfig_env.size();) {
      const std::size_t colon = std::min(options.kubeconfig_env.find(':', from), options.kubeconfig_env.size());
      if (colon > from) paths.push_back(options.kubeconfig_env.substr(from, colon - from));
      from = colon + 1;
    }
  } else if (!options.home.empty()) {
    paths.push_back(options.home + "/.kube/config");
  }
  std::vector<std::pair<std::string, std::string>> documents;
  for (const std::string& path : paths) {
    auto text = read_small_file(path, true);
    if (text) {
      documents.emplace_back(path, std::move(*text));
    } else if (text.error().code != ErrorCode::NotFound || !options.kubeconfig.empty()) {
      return fail(std::move(text.error()));
    }
  }
  if (!documents.empty()) return parse_kubeconfig(documents, options.context);
  if (!options.kubeconfig_env.empty()) {
    return fail(ErrorCode::NotFound, "KUBECONFIG names \"{}\", and no such file exists", options.kubeconfig_env);
  }
  if (!options.service_host.empty() && !options.service_port.empty()) return in_cluster(options);
  return fail(ErrorCode::NotFound, "no Kubernetes configuration: give --kubeconfig, set KUBECONFIG, or create {}/.kube/config", options.home.empty() ? "~" : options.home);
}

}  // namespace dormouse::kube
