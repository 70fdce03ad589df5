// SPDX-License-Identifier: Apache-2.0
#include "gateway/write_exchange.h"

#include <algorithm>
#include <utility>

#include "gateway/cache_request.h"
#include "http/field_syntax.h"

namespace dormouse::gateway {

WriteExchange::WriteExchange(kube::Upstream& upstream, kube::Request request, std::string resource, std::shared_ptr<ApiClient> client, kube::ExchangeSink& sink)
    : client_(std::move(client)), sink_(sink), resource_(std::move(resource)), ticket_(client_->writes.begin(resource_)) {
  inner_ = upstream.start(std::move(request), *this);
}

WriteExchange::~WriteExchange() { settle(false); }

void WriteExchange::on_response(int status, kube::Headers headers) {
  status_ = status;
  bytes_to_come_ = http::content_length_of(headers);
  sink_.on_response(status, std::move(headers));
}

void WriteExchange::on_data(std::span<const std::byte> bytes) {
  if (answer_.size() + bytes.size() > kAnswerBytesMax) too_long_ = true;
  else if (status_ < 300) answer_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  // Known before the client can know: its next read may be on its way before the stream's end is here.
  if (bytes_to_come_) {
    *bytes_to_come_ -= std::min<std::uint64_t>(*bytes_to_come_, bytes.size());
    if (*bytes_to_come_ == 0) settle(true);
  }
  sink_.on_data(bytes);
}

void WriteExchange::on_end() {
  settle(true);
  sink_.on_end();
}

void WriteExchange::on_failure(const Error& error, bool before_response) {
  settle(false);
  sink_.on_failure(error, before_response);
}

void WriteExchange::settle(bool whole) {
  if (std::exchange(settled_, true)) return;
  if (whole && status_ >= 400) return client_->writes.failed(resource_);
  client_->writes.done(resource_, ticket_, whole && !too_long_ ? written_revision(answer_) : std::nullopt);
}

}  // namespace dormouse::gateway
