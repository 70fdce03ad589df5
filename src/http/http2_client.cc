// SPDX-License-Identifier: Apache-2.0
#include "http/http2_client.h"

#include <nghttp2/nghttp2.h>

#include <charconv>
#include <cstring>
#include <string>
#include <unordered_map>

#include "base/check.h"

namespace dormouse::http {
namespace {

constexpr std::size_t kHeaderOverheadBytes = 32;  // As RFC 9113, section 6.5.2 counts.
constexpr std::size_t kGoodbyeTextMax = 200;

struct Stream {
  Http2StreamSink* sink = nullptr;
  Headers headers;                 // Of the response while it comes in.
  std::size_t header_bytes = 0;
  int status = 0;
  bool responded = false;
  bool has_body = false;
  bool finished = false;           // The body's end is in `unsent`.
  bool deferred = false;           // nghttp2 has asked for body and got none.
  bool short_write = false;        // write() took less than all.
  std::string unsent;              // From `unsent_at` on.
  std::size_t unsent_at = 0;

  std::size_t unsent_bytes() const { return unsent.size() - unsent_at; }
};

// What the server says is shown to people: only printable characters, and not much of it.
std::string printable(std::string_view text) {
  std::string shown;
  for (const char c : text.substr(0, kGoodbyeTextMax)) shown += (c >= 0x20 && c < 0x7f) ? c : '?';
  return shown;
}

}  // namespace

struct Http2Client::State {
  Options options;
  nghttp2_session* session = nullptr;
  std::unordered_map<StreamId, Stream> streams;
  std::string problem;
  std::uint32_t pings_unanswered = 0;
  bool ready = false;
  bool draining = false;
  bool inside = false;  // In feed() or take_output().

  Stream* find(StreamId id) {
    const auto found = streams.find(id);
    return found == streams.end() ? nullptr : &found->second;
  }
  // Takes the stream out, so that its sink hears nothing more and may do as it likes.
  Http2StreamSink* remove(StreamId id) {
    const auto found = streams.find(id);
    if (found == streams.end()) return nullptr;
    Http2StreamSink* const sink = found->second.sink;
    streams.erase(found);
    return sink;
  }
  void fail_stream(StreamId id, const Error& error, bool not_processed) {
    if (Http2StreamSink* const sink = remove(id)) sink->on_failure(error, not_processed);
  }
  void cancel(StreamId id) { nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL); }

  void on_end_stream(StreamId id) {
    Stream* const stream = find(id);
    if (stream == nullptr) return;
    if (!stream->responded) {
      fail_stream(id, Error{ErrorCode::Corrupt, "the server ended the stream without a response"}, false);
      cancel(id);
      return;
    }
    const bool body_unfinished = stream->has_body && (!stream->finished || stream->unsent_bytes() > 0);
    Http2StreamSink* const sink = remove(id);
    if (body_unfinished) cancel(id);
    sink->on_end();
  }

  // --- nghttp2's callbacks. None throws: what they call allocates at most, and running out of memory ends the process.
  static int begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* self) noexcept {
    if (Stream* const stream = of(self).find(frame->hd.stream_id)) {
      stream->headers.clear();
      stream->header_bytes = 0;
      stream->status = 0;
    }
    return 0;
  }
  static int header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name, std::size_t name_bytes,
                    const std::uint8_t* value, std::size_t value_bytes, std::uint8_t, void* self) noexcept {
    State& state = of(self);
    const StreamId id = frame->hd.stream_id;
    Stream* const stream = state.find(id);
    if (stream == nullptr) return 0;
    stream->header_bytes += name_bytes + value_bytes + kHeaderOverheadBytes;
    if (stream->header_bytes > state.options.header_list_bytes_max || stream->headers.size() >= state.options.headers_max) {
      state.cancel(id);
      state.fail_stream(id, Error{ErrorCode::ResourceExhausted,
                                  fmt::format("the response's header list is longer than {} bytes or {} fields",
                                              state.options.header_list_bytes_max, state.options.headers_max)}, false);
      return 0;
    }
    const std::string_view name_text(reinterpret_cast<const char*>(name), name_bytes);
    const std::string_view value_text(reinterpret_cast<const char*>(value), value_bytes);
    if (name_text == ":status") {
      std::from_chars(value_text.data(), value_text.data() + value_text.size(), stream->status);  // nghttp2 has checked it.
    } else {
      stream->headers.emplace_back(name_text, value_text);
    }
    return 0;
  }
  static int frame_received(nghttp2_session*, const nghttp2_frame* frame, void* self) noexcept {
    State& state = of(self);
    const StreamId id = frame->hd.stream_id;
    switch (frame->hd.type) {
      case NGHTTP2_SETTINGS:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) == 0) state.ready = true;
        break;
      case NGHTTP2_PING:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0 && state.pings_unanswered > 0) --state.pings_unanswered;
        break;
      case NGHTTP2_GOAWAY: {
        state.draining = true;
        const std::string_view text(reinterpret_cast<const char*>(frame->goaway.opaque_data), frame->goaway.opaque_data_len);
        state.problem = fmt::format("the server said goodbye ({}{}{})", nghttp2_http2_strerror(frame->goaway.error_code),
                                    text.empty() ? "" : ": ", printable(text));
        break;
      }
      case NGHTTP2_HEADERS: {
        Stream* const stream = state.find(id);
        if (stream == nullptr) break;
        // 1xx is not the response yet; a second block of headers after the response is trailers, which nobody needs.
        if (!stream->responded && stream->status >= 200) {
          stream->responded = true;
          stream->sink->on_response(stream->status, std::exchange(stream->headers, {}));
        }
        if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) state.on_end_stream(id);
        break;
      }
      case NGHTTP2_DATA:
        if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) state.on_end_stream(id);
        break;
      default:
        break;
    }
    return 0;
  }
  static int data_chunk(nghttp2_session* session, std::uint8_t, std::int32_t id, const std::uint8_t* data, std::size_t size,
                        void* self) noexcept {
    nghttp2_session_consume_connection(session, size);
    Stream* const stream = of(self).find(id);
    if (stream == nullptr) return 0;
    stream->sink->on_data(std::as_bytes(std::span(data, size)));
    return 0;
  }
  static int stream_closed(nghttp2_session*, std::int32_t id, std::uint32_t error_code, void* self) noexcept {
    State& state = of(self);
    if (state.find(id) == nullptr) return 0;
    state.fail_stream(id, Error{ErrorCode::Unavailable, fmt::format("the server reset the stream ({})", nghttp2_http2_strerror(error_code))},
                      error_code == NGHTTP2_REFUSED_STREAM);
    return 0;
  }
  static int frame_not_sent(nghttp2_session*, const nghttp2_frame* frame, int error, void* self) noexcept {
    if (frame->hd.type == NGHTTP2_HEADERS) {
      of(self).fail_stream(frame->hd.stream_id,
                           Error{ErrorCode::Unavailable, fmt::format("the request could not be sent ({})", nghttp2_strerror(error))}, true);
    }
    return 0;
  }
  static int invalid_frame(nghttp2_session*, const nghttp2_frame*, int error, void* self) noexcept {
    of(self).problem = fmt::format("the server broke the HTTP/2 protocol ({})", nghttp2_strerror(error));
    return 0;
  }
  // nghttp2 says goodbye with an error when the server has broken the protocol beyond one stream.
  static int frame_sent(nghttp2_session*, const nghttp2_frame* frame, void* self) noexcept {
    if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR && of(self).problem.empty()) {
      of(self).problem = fmt::format("the server does not speak HTTP/2 properly ({})", nghttp2_http2_strerror(frame->goaway.error_code));
    }
    return 0;
  }
  static ssize_t read_body(nghttp2_session* session, std::int32_t id, std::uint8_t* to, std::size_t room, std::uint32_t* flags,
                           nghttp2_data_source*, void* self) noexcept {
    State& state = of(self);
    Stream* stream = state.find(id);
    if (stream == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    const std::size_t taken = std::min(room, stream->unsent_bytes());
    std::memcpy(to, stream->unsent.data() + stream->unsent_at, taken);
    stream->unsent_at += taken;
    if (stream->unsent_at == stream->unsent.size()) {
      stream->unsent.clear();
      stream->unsent_at = 0;
    }
    if (stream->short_write && stream->unsent_bytes() <= state.options.send_buffer_bytes / 2) {
      stream->short_write = false;
      stream->sink->on_writable();
      stream = state.find(id);
      if (stream == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    if (stream->unsent_bytes() == 0) {
      if (stream->finished) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
      } else if (taken == 0) {
        stream->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
      }
    }
    static_cast<void>(session);
    return static_cast<ssize_t>(taken);
  }
  static State& of(void* self) { return *static_cast<State*>(self); }
};

Http2Client::Http2Client(Options options) : state_(std::make_unique<State>()) {
  state_->options = options;
  nghttp2_session_callbacks* callbacks = nullptr;
  nghttp2_option* option = nullptr;
  CHECK(nghttp2_session_callbacks_new(&callbacks) == 0 && nghttp2_option_new(&option) == 0);
  nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, State::begin_headers);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, State::header);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, State::frame_received);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, State::data_chunk);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, State::stream_closed);
  nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, State::frame_not_sent);
  nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, State::frame_sent);
  nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, State::invalid_frame);
  nghttp2_option_set_no_auto_window_update(option, 1);
  nghttp2_option_set_no_closed_streams(option, 1);  // Closed streams are kept for priorities, which nobody uses.
  CHECK(nghttp2_session_client_new2(&state_->session, callbacks, state_.get(), option) == 0);
  nghttp2_option_del(option);
  nghttp2_session_callbacks_del(callbacks);

  const nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 0},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, options.stream_window_bytes},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, static_cast<std::uint32_t>(options.header_list_bytes_max)},
  };
  CHECK(nghttp2_submit_settings(state_->session, NGHTTP2_FLAG_NONE, settings, std::size(settings)) == 0);
  CHECK(nghttp2_session_set_local_window_size(state_->session, NGHTTP2_FLAG_NONE, 0,
                                              static_cast<std::int32_t>(options.connection_window_bytes)) == 0);
}

Http2Client::~Http2Client() {
  state_->streams.clear();
  nghttp2_session_del(state_->session);
}

Result<void> Http2Client::feed(std::span<const std::byte> bytes) {
  CHECK(!state_->inside);
  state_->inside = true;
  const ssize_t taken = nghttp2_session_mem_recv(state_->session, reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  state_->inside = false;
  if (taken < 0) {
    state_->problem = fmt::format("the server does not speak HTTP/2 ({})", nghttp2_strerror(static_cast<int>(taken)));
    return fail(ErrorCode::Corrupt, "{}", state_->problem);
  }
  return {};
}

std::string Http2Client::take_output() {
  CHECK(!state_->inside);
  state_->inside = true;
  std::string output;
  while (output.size() < state_->options.output_bytes_max) {
    const std::uint8_t* data = nullptr;
    const ssize_t size = nghttp2_session_mem_send(state_->session, &data);
    if (size < 0) state_->problem = nghttp2_strerror(static_cast<int>(size));
    if (size <= 0) break;
    output.append(reinterpret_cast<const char*>(data), static_cast<std::size_t>(size));
  }
  state_->inside = false;
  return output;
}

Result<Http2Client::StreamId> Http2Client::open(const Head& head, bool has_body, Http2StreamSink& sink) {
  if (draining()) return fail(ErrorCode::Unavailable, "the connection takes no more requests");
  std::vector<nghttp2_nv> fields;
  fields.reserve(4 + head.headers->size());
  const auto bytes_of = [](std::string_view text) { return reinterpret_cast<std::uint8_t*>(const_cast<char*>(text.data())); };
  const auto add = [&](std::string_view name, std::string_view value) {
    fields.push_back(nghttp2_nv{bytes_of(name), bytes_of(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE});
  };
  add(":method", head.method);
  add(":scheme", head.scheme);
  add(":authority", head.authority);
  add(":path", head.path);
  if (head.method.empty() || !nghttp2_check_method(bytes_of(head.method), head.method.size()) || head.path.empty() ||
      !nghttp2_check_path(bytes_of(head.path), head.path.size()) || !nghttp2_check_authority(bytes_of(head.authority), head.authority.size())) {
    return fail(ErrorCode::InvalidArgument, "the request's method, path or authority has characters that HTTP does not allow");
  }
  for (const auto& [name, value] : *head.headers) {
    if (name.empty() || name[0] == ':' || !nghttp2_check_header_name(bytes_of(name), name.size()) ||
        !nghttp2_check_header_value(bytes_of(value), value.size())) {
      return fail(ErrorCode::InvalidArgument, "the request's header \"{}\" has characters that HTTP does not allow", printable(name));
    }
    add(name, value);
  }
  nghttp2_data_provider provider{};
  provider.read_callback = State::read_body;
  const std::int32_t id =
      nghttp2_submit_request(state_->session, nullptr, fields.data(), fields.size(), has_body ? &provider : nullptr, nullptr);
  if (id < 0) {
    if (id == NGHTTP2_ERR_STREAM_ID_NOT_AVAILABLE) state_->draining = true;
    return fail(ErrorCode::Unavailable, "the connection takes no more requests ({})", nghttp2_strerror(id));
  }
  Stream& stream = state_->streams[id];
  stream.sink = &sink;
  stream.has_body = has_body;
  return id;
}

std::size_t Http2Client::write(StreamId id, std::span<const std::byte> bytes) {
  Stream* const stream = state_->find(id);
  if (stream == nullptr) return bytes.size();
  CHECK(stream->has_body && !stream->finished);
  const std::size_t limit = state_->options.send_buffer_bytes;
  const std::size_t taken = std::min(bytes.size(), limit - std::min(limit, stream->unsent_bytes()));
  if (stream->unsent_at > 0 && taken > 0) {
    stream->unsent.erase(0, stream->unsent_at);
    stream->unsent_at = 0;
  }
  stream->unsent.append(reinterpret_cast<const char*>(bytes.data()), taken);
  stream->short_write = taken < bytes.size();
  if (taken > 0 && std::exchange(stream->deferred, false)) nghttp2_session_resume_data(state_->session, id);
  return taken;
}

void Http2Client::finish_body(StreamId id) {
  Stream* const stream = state_->find(id);
  if (stream == nullptr) return;
  CHECK(stream->has_body);
  stream->finished = true;
  if (std::exchange(stream->deferred, false)) nghttp2_session_resume_data(state_->session, id);
}

void Http2Client::consumed(StreamId id, std::size_t bytes) {
  if (state_->find(id) != nullptr) nghttp2_session_consume_stream(state_->session, id, bytes);
}

void Http2Client::reset(StreamId id) {
  if (state_->remove(id) != nullptr) state_->cancel(id);
}

void Http2Client::ping() {
  if (nghttp2_submit_ping(state_->session, NGHTTP2_FLAG_NONE, nullptr) == 0) ++state_->pings_unanswered;
}

std::uint32_t Http2Client::pings_unanswered() const { return state_->pings_unanswered; }

void Http2Client::lost(const Error& error) {
  CHECK(!state_->inside);
  state_->draining = true;
  while (!state_->streams.empty()) state_->fail_stream(state_->streams.begin()->first, error, false);
}

bool Http2Client::ready() const { return state_->ready; }
bool Http2Client::draining() const {
  return state_->draining || nghttp2_session_check_request_allowed(state_->session) == 0;
}
std::size_t Http2Client::streams_open() const { return state_->streams.size(); }
std::uint32_t Http2Client::streams_max() const {
  return nghttp2_session_get_remote_settings(state_->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
}
bool Http2Client::wants_close() const {
  return nghttp2_session_want_read(state_->session) == 0 && nghttp2_session_want_write(state_->session) == 0;
}
const std::string& Http2Client::problem() const { return state_->problem; }

}  // namespace dormouse::http
