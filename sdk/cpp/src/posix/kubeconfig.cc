// SPDX-License-Identifier: Apache-2.0
#include "kubeconfig.h"

#include <array>
#include <vector>

#include "../fd_stream.h"

namespace kubepp {
namespace {

struct Line {
  std::size_t number;
  std::size_t indent;
  std::string_view text;  // Without indent and trailing space; never empty.
};

class SimpleYaml {
 public:
  explicit SimpleYaml(std::string_view text) {
    for (std::size_t number = 1; !text.empty(); ++number) {
      const std::size_t stop = text.find('\n');
      std::string_view line = text.substr(0, stop);
      text.remove_prefix(stop == text.npos ? text.size() : stop + 1);
      while (line.ends_with(' ') || line.ends_with('\r')) line.remove_suffix(1);
      const std::size_t indent = line.find_first_not_of(' ');
      if (indent == line.npos || line[indent] == '#' || line == "---") continue;
      lines_.push_back({number, indent, line.substr(indent)});
    }
  }

  Result<Json> run() {
    Json value;
    if (!lines_.empty() && !block(value, lines_[0].indent, 0)) return error();
    if (at_ != lines_.size()) return error();
    return value;
  }

 private:
  std::unexpected<Error> error() const {
    const std::size_t number = at_ < lines_.size() ? lines_[at_].number : lines_.empty() ? 1 : lines_.back().number;
    return fail("Configuration", "line " + std::to_string(number) +
                                     " is beyond the YAML that is understood here; try `kubectl config view --raw -o json`");
  }

  // The mapping or sequence whose lines begin at `indent`.
  bool block(Json& into, std::size_t indent, int depth) {
    if (depth > 16 || at_ == lines_.size()) return false;
    const bool sequence = lines_[at_].text == "-" || lines_[at_].text.starts_with("- ");
    into = sequence ? Json::array() : Json::object();
    while (at_ < lines_.size() && lines_[at_].indent == indent) {
      Line& line = lines_[at_];
      const bool item = line.text == "-" || line.text.starts_with("- ");
      if (item != sequence) return !sequence ? false : true;
      if (sequence) {
        // "- name: x" is a mapping that begins two columns further on the same line.
        const std::size_t offset = line.text.size() > 1 ? line.text.find_first_not_of(' ', 1) : 0;
        if (offset == 0) return false;
        Json value;
        line.indent += offset;
        line.text.remove_prefix(offset);
        if (colon_of(line.text) == line.text.npos) {
          if (!scalar(value, line.text)) return false;
          ++at_;
        } else if (!block(value, line.indent, depth + 1)) {
          return false;
        }
        into.push_back(std::move(value));
        continue;
      }
      const std::size_t colon = colon_of(line.text);
      if (colon == line.text.npos || line.text.front() == '\t') return false;
      const std::string name(line.text.substr(0, colon));
      std::string_view rest = line.text.substr(colon + 1);
      while (rest.starts_with(' ')) rest.remove_prefix(1);
      Json value;
      if (!rest.empty()) {
        if (!scalar(value, rest)) return false;
        ++at_;
      } else {
        ++at_;
        // Deeper lines, or a sequence at the same indent, are its value; else it is null.
        const bool deeper = at_ < lines_.size() && lines_[at_].indent > indent;
        const bool list = at_ < lines_.size() && lines_[at_].indent == indent &&
                          (lines_[at_].text == "-" || lines_[at_].text.starts_with("- "));
        if ((deeper || list) && !block(value, lines_[at_].indent, depth + 1)) return false;
      }
      into[name] = std::move(value);
    }
    return at_ == lines_.size() || lines_[at_].indent < indent;
  }

  static std::size_t colon_of(std::string_view text) {
    if (text.starts_with('"') || text.starts_with('\'')) return text.npos;
    if (text.ends_with(':') && text.find(": ") == text.npos) return text.size() - 1;
    return text.find(": ");
  }

  static bool scalar(Json& into, std::string_view text) {
    if (text.front() == '"') {
      Result<Json> parsed = Json::parse(text);
      if (!parsed) return false;
      into = std::move(*parsed);
      return true;
    }
    if (text.front() == '\'') {
      if (text.size() < 2 || text.back() != '\'' || text.substr(1, text.size() - 2).find('\'') != text.npos) return false;
      into = text.substr(1, text.size() - 2);
      return true;
    }
    if (text == "{}" || text == "null" || text == "~") return true;
    if (text == "[]") {
      into = Json::array();
      return true;
    }
    // Flow style, anchors, tags, block scalars: not here.
    if (std::string_view("{[&*!|>%@`").find(text.front()) != std::string_view::npos) return false;
    if (const std::size_t comment = text.find(" #"); comment != text.npos) text = text.substr(0, comment);
    into = text;
    return true;
  }

  std::vector<Line> lines_;
  std::size_t at_ = 0;
};

std::string decode_base64(std::string_view text) {
  static constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  std::uint32_t bits = 0;
  int count = 0;
  for (char c : text) {
    const std::size_t value = kAlphabet.find(c);
    if (value == kAlphabet.npos) continue;
    bits = bits << 6 | static_cast<std::uint32_t>(value);
    if ((count += 6) >= 8) out.push_back(static_cast<char>(bits >> (count -= 8) & 0xff));
  }
  return out;
}

const Json& named(const Json& list, std::string_view name, const char* what) {
  for (const Json& item : list.items()) {
    if (item["name"].as_string() == name) return item[what];
  }
  static const Json none;
  return none;
}

// The inline data, or the file beside the kubeconfig that is named.
std::string pem_of(const Json& from, const std::string& name, const std::string& directory) {
  if (from.contains(name + "-data")) return decode_base64(from[name + "-data"].as_string());
  const std::string path(from[name].as_string());
  if (path.empty()) return {};
  return read_file(path.front() == '/' ? path : directory + path);
}

}  // namespace

Result<Json> parse_simple_yaml(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \n\r\t");
  if (first != text.npos && text[first] == '{') return Json::parse(text);
  return SimpleYaml(text).run();
}

Result<Endpoint> endpoint_of_kubeconfig(const std::string& path) {
  const std::string text = read_file(path);
  if (text.empty()) {
    return fail("Configuration", path + " is not there: set KUBE_API_URL or KUBECONFIG, or run in a cluster");
  }
  const Result<Json> config = parse_simple_yaml(text);
  if (!config) return fail("Configuration", path + ": " + config.error().message);
  const std::string_view current = (*config)["current-context"].as_string();
  const Json& context = named((*config)["contexts"], current, "context");
  const Json& cluster = named((*config)["clusters"], context["cluster"].as_string(), "cluster");
  const Json& user = named((*config)["users"], context["user"].as_string(), "user");
  if (cluster.is_null()) return fail("Configuration", path + ": the current context \"" + std::string(current) + "\" has no cluster");
  if (user.contains("exec")) return fail("Configuration", path + ": exec plugins are not supported; use `kubectl proxy` and KUBE_API_URL");
  Result<Endpoint> endpoint = endpoint_of_url(cluster["server"].as_string());
  if (!endpoint) return fail("Configuration", path + ": " + endpoint.error().message);
  const std::size_t slash = path.rfind('/');
  const std::string directory = slash == path.npos ? "" : path.substr(0, slash + 1);
  endpoint->ca_pem = pem_of(cluster, "certificate-authority", directory);
  const Json& skip = cluster["insecure-skip-tls-verify"];
  endpoint->skip_verification = skip.as_bool() || skip.as_string() == "true";
  endpoint->client_certificate_pem = pem_of(user, "client-certificate", directory);
  endpoint->client_key_pem = pem_of(user, "client-key", directory);
  endpoint->token = user["token"].as_string();
  endpoint->token_file = user["tokenFile"].as_string();
  return endpoint;
}

}  // namespace kubepp
