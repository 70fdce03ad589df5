// SPDX-License-Identifier: Apache-2.0
// Oracles: any way of cutting the input gives the same events, and an accepted head passes a second, naive reading
// of its raw bytes that looks only for what makes a message ambiguous.
#include <algorithm>
#include <string>

#include <fmt/format.h>

#include "base/check.h"
#include "http/field_syntax.h"
#include "http/http1_server.h"

namespace dormouse::http {
namespace {

void check_unambiguous(std::string_view head) {
  CHECK(head.ends_with("\r\n\r\n"));
  CHECK(head.find('\0') == std::string_view::npos);
  int hosts = 0, lengths = 0, codings = 0;
  bool first = true;
  head.remove_suffix(2);
  while (!head.empty()) {
    const std::size_t end = head.find("\r\n");
    const std::string_view line = head.substr(0, end);
    head.remove_prefix(end + 2);
    CHECK(!line.empty());
    CHECK(line.find_first_of("\r\n") == std::string_view::npos);
    CHECK(line.front() != ' ' && line.front() != '\t');
    if (std::exchange(first, false)) {
      CHECK(std::ranges::count(line, ' ') == 2 && line.ends_with(" HTTP/1.1"));
      continue;
    }
    const std::string name = to_lower(line.substr(0, line.find(':')));
    CHECK(name.size() < line.size() && name.find(' ') == std::string::npos && name.find('\t') == std::string::npos);
    if (name == "host") ++hosts;
    if (name == "content-length") {
      ++lengths;
      CHECK(trim_blanks(line.substr(15)).find_first_not_of("0123456789") == std::string_view::npos);
    }
    if (name == "transfer-encoding") {
      ++codings;
      CHECK(to_lower(trim_blanks(line.substr(18))) == "chunked");
    }
  }
  CHECK(hosts == 1 && lengths + codings <= 1);
}

std::string transcript(std::string_view input, std::size_t piece, bool check) {
  Http1Server server({.head_bytes_max = 512, .target_bytes_max = 128, .headers_max = 8, .chunk_line_bytes_max = 32, .chunk_overhead_bytes_max = 64, .trailer_bytes_max = 64});
  std::string told;
  std::size_t offset = 0, available = std::min(piece, input.size()), head_start = 0;
  while (true) {
    const auto step = server.step(std::as_bytes(std::span(input.substr(offset, available - offset))));
    CHECK(step.consumed <= available - offset);
    offset += step.consumed;
    switch (step.event) {
      case Http1Server::Event::NeedInput:
        CHECK(offset == available);
        if (available == input.size()) return told + (server.mid_request() ? "cut" : "idle");
        available = std::min(available + piece, input.size());
        break;
      case Http1Server::Event::Head:
        if (check) check_unambiguous(input.substr(head_start, offset - head_start));
        told += fmt::format("\n{} {}", server.request().method, server.request().target);
        for (const auto& [name, value] : server.request().headers) told += fmt::format("\n{}={}", name, value);
        told += "\n\n";
        break;
      case Http1Server::Event::Body:
        CHECK(!step.body.empty());
        told.append(reinterpret_cast<const char*>(step.body.data()), step.body.size());
        break;
      case Http1Server::Event::End: {
        std::string out;
        server.start_response(out, 200, {}, 0);
        told += "\nend";
        if (!server.end_response(out)) return told + " closed";
        head_start = offset;
        break;
      }
      case Http1Server::Event::Refused:
        CHECK(server.refusal().status >= 400);
        return told + fmt::format("\nrefused at {}: {} {}", offset, server.refusal().status, server.refusal().reason);
    }
  }
}

}  // namespace
}  // namespace dormouse::http

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::string whole = dormouse::http::transcript(input, input.size() + 1, true);
  CHECK(dormouse::http::transcript(input, 1, false) == whole);
  CHECK(dormouse::http::transcript(input, 2 + data[0] % 61, false) == whole);
  return 0;
}
