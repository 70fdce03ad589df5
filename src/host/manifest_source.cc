// SPDX-License-Identifier: Apache-2.0
#include "host/manifest_source.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <set>

#include "host/fetch_url.h"
#include "pods/host_ports.h"

namespace dormouse::host {
namespace {

namespace fs = std::filesystem;

bool is_url(const std::string& source) { return source.starts_with("http://") || source.starts_with("https://"); }

Result<std::string> read_stream(std::istream& stream, const std::string& name) {
  std::string text(pods::kManifestBytesMax + 1, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (stream.bad()) return fail(ErrorCode::Internal, "{}: cannot be read", name);
  text.resize(static_cast<std::size_t>(stream.gcount()));
  return text;
}

Result<std::string> read_file(const std::string& path) {
  std::error_code problem;
  if (!fs::exists(path, problem)) return fail(ErrorCode::NotFound, "{}: no such file", path);
  if (!fs::is_regular_file(path, problem) && !fs::is_fifo(path, problem)) return fail(ErrorCode::InvalidArgument, "{}: not a regular file", path);
  std::ifstream stream(path, std::ios::binary);
  if (!stream) return fail_errno(errno, path);
  return read_stream(stream, path);
}

struct Document {
  std::string name, text, base_directory;
};

Result<std::vector<Document>> read_source(const std::string& source, std::vector<std::string>& watched) {
  std::vector<Document> documents;
  if (source == "-") {
    auto text = read_stream(std::cin, "standard input");
    if (!text) return fail(text.error());
    documents.push_back({"standard input", std::move(*text), fs::current_path()});
    return documents;
  }
  if (is_url(source)) {
    auto text = fetch_url(source, pods::kManifestBytesMax);
    if (!text) return fail(text.error());
    documents.push_back({source, std::move(*text), fs::current_path()});
    return documents;
  }
  std::error_code problem;
  watched.push_back(source);
  if (!fs::is_directory(source, problem)) {
    auto text = read_file(source);
    if (!text) return fail(text.error());
    documents.push_back({source, std::move(*text), fs::absolute(source).parent_path()});
    return documents;
  }
  std::set<fs::path> files;
  for (const auto& entry : fs::directory_iterator(source, problem)) {
    const std::string extension = entry.path().extension();
    if (entry.is_regular_file(problem) && (extension == ".yaml" || extension == ".yml" || extension == ".json")) files.insert(entry.path());
  }
  for (const fs::path& file : files) {
    auto text = read_file(file);
    if (!text) return fail(text.error());
    documents.push_back({file, std::move(*text), fs::absolute(source)});
  }
  return documents;
}

}  // namespace

Result<std::string> resolve_image(const std::string& image, const std::string& base_directory) {
  std::string path = image;
  if (path.starts_with("file://")) path = path.substr(7);
  else if (path.starts_with("file:")) path = path.substr(5);
  else if (!path.starts_with("/") && !path.starts_with("./") && !path.starts_with("../") && !path.ends_with(".wasm")) {
    return fail(ErrorCode::Unsupported, "image \"{}\" is a registry reference, which cannot be pulled yet; give a local file: NAME.wasm, ./NAME.wasm, /PATH/NAME.wasm or file:NAME", image);
  }
  if (path.empty()) return fail(ErrorCode::InvalidArgument, "image \"{}\" names no file", image);
  return fs::path(base_directory).append(path).lexically_normal().string();
}

Result<LoadedPods> load_pods(const std::vector<std::string>& sources, const std::string& default_namespace) {
  LoadedPods loaded;
  std::vector<std::string> errors;
  std::set<std::string> names;
  for (const std::string& source : sources) {
    auto documents = read_source(source, loaded.watched_paths);
    if (!documents) {
      errors.push_back(documents.error().message);
      continue;
    }
    for (const Document& document : *documents) {
      auto manifest = pods::parse_manifest(document.text, document.name, default_namespace);
      if (!manifest) {
        errors.push_back(manifest.error().message);
        continue;
      }
      for (pods::Pod& pod : manifest->pods) {
        for (pods::Container& container : pod.containers) {
          auto path = resolve_image(container.image, document.base_directory);
          if (path) container.image = std::move(*path);
          else errors.push_back(fmt::format("{}: container {}: {}", pod.origin, container.name, path.error().message));
        }
        if (!names.insert(pod.name_space + "/" + pod.name).second) errors.push_back(fmt::format("{}: the pod {}/{} is given twice", pod.origin, pod.name_space, pod.name));
        loaded.pods.push_back(std::move(pod));
      }
      std::ranges::move(manifest->notes, std::back_inserter(loaded.notes));
    }
  }
  std::ranges::move(pods::host_port_conflicts(loaded.pods), std::back_inserter(errors));
  if (!errors.empty()) return fail(ErrorCode::InvalidArgument, "{}", fmt::join(errors, "\n"));
  return loaded;
}

}  // namespace dormouse::host
