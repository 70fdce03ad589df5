// SPDX-License-Identifier: Apache-2.0
#pragma once
// A write on its way to the API server: untouched, but the revision in its answer is noted in the client's ledger, so that
// the client reads nothing older from a cache afterwards.
//
// Ownership: owned by the session.
// Threads: the loop's.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/types.h"
#include "gateway/api_client.h"
#include "kube/upstream.h"

namespace dormouse::gateway {

class WriteExchange final : public kube::Exchange, kube::ExchangeSink, Immovable {
 public:
  static constexpr std::size_t kAnswerBytesMax = 2 * 1024 * 1024;  // Above what etcd takes by default; a longer answer's revision is not known.

  // `resource`: see ReadRequest::written.
  WriteExchange(kube::Upstream& upstream, kube::Request request, std::string resource, std::shared_ptr<ApiClient> client, kube::ExchangeSink& sink);
  ~WriteExchange() override;

  std::size_t write(std::span<const std::byte> bytes) override { return inner_->write(bytes); }
  void finish_body() override { inner_->finish_body(); }
  void consumed(std::size_t bytes) override { inner_->consumed(bytes); }

 private:
  void on_response(int status, kube::Headers headers) override;
  void on_data(std::span<const std::byte> bytes) override;
  void on_end() override;
  void on_failure(const Error& error, bool before_response) override;
  void on_writable() override { sink_.on_writable(); }
  void settle(bool whole);

  const std::shared_ptr<ApiClient> client_;
  kube::ExchangeSink& sink_;
  const std::string resource_;
  const WriteLedger::Ticket ticket_;
  int status_ = 0;
  std::optional<std::uint64_t> bytes_to_come_;  // Of an answer that says its length: its last byte tells the client that it is over.
  std::string answer_;
  bool settled_ = false, too_long_ = false;
  std::unique_ptr<kube::Exchange> inner_;
};

}  // namespace dormouse::gateway
