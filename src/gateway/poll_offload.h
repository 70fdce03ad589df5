// SPDX-License-Identifier: Apache-2.0
#pragma once
// Makes a sleeping guest's periodic looks at the Kubernetes API in its stead, as the guest, and wakes it only for news.
//
// OffloadDetector decides; this class joins it to the guest's run (StandIn, on the guest's thread), to its sessions (what
// the guest asks and is answered, on the loop) and to the API server (the looks, on the loop, one after the other).
//
// Ownership: shared by the guest's run and its Network, which stops it. Borrows everything in Options until stop().
// Threads: as each function says; a lock around the detector.

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "base/clock.h"
#include "base/log.h"
#include "gateway/answer_digest.h"
#include "gateway/doorbell.h"
#include "gateway/offload_detector.h"
#include "gateway/request_info.h"
#include "kube/service_account_tokens.h"
#include "kube/upstream.h"
#include "wasi/stand_in.h"

namespace dormouse::gateway {

class PollOffload final : public wasi::StandIn, kube::ExchangeSink, Immovable {
 public:
  static constexpr Nanoseconds kLookTimeout = std::chrono::seconds(30);  // For a whole answer; then the guest looks for itself.

  struct Options {
    boost::asio::io_context& loop;
    const Clock& clock;
    kube::Upstream& upstream;
    kube::Identity* identity = nullptr;  // Null: the host's own credentials, as for the guest's sessions.
    Nanoseconds max_sleep{};
  };
  explicit PollOffload(Options options);
  ~PollOffload() override;
  // On the loop: nothing borrowed is touched any more.
  void stop();

  // --- The guest's run ---
  void on_wake(wasi::WakeCause::Kind cause, Nanoseconds now) override;
  void on_park(Nanoseconds now, Activity activity) override;
  std::optional<Nanoseconds> on_deadline(Nanoseconds now) override;
  void set_wake(std::function<void()> wake) override;
  Counters counters() const override;

  // --- One request of the guest, told by its session on the loop ---
  class Seen {
   public:
    Seen(PollOffload& offload, const kube::Request& request, const RequestInfo& info);
    void head(int status, const kube::Headers& headers);
    void body(std::span<const std::byte> bytes);
    // The guest has been given all of it; or it never will be.
    void whole();
    void spoiled();

   private:
    PollOffload* offload_ = nullptr;   // Null: of no interest, or over.
    OffloadDetector::RequestId id_ = 0;
    bool is_list_ = false;
    std::optional<AnswerDigest> digest_;
  };

 private:
  // --- On the loop ---
  void on_response(int status, kube::Headers headers) override;
  void on_data(std::span<const std::byte> bytes) override;
  void on_end() override;
  void on_failure(const Error& error, bool before_response) override;
  void on_writable() override {}
  void turn();
  void wait_until(Nanoseconds when, void (PollOffload::*then)());
  // With the mutex held: what is under way is still of the detector's plan.
  bool plan_is_ours() const { return detector_.offloading() && detector_.plan()->generation == generation_; }
  void begin_round();
  void begin_look();
  void ask_for_token();
  void send(std::optional<std::string> token);
  void end_look(std::optional<OffloadDetector::Answer> answer);
  void drop_round();
  void wake_guest();

  const Options options_;
  const std::shared_ptr<Doorbell> bell_;

  mutable std::mutex mutex_;           // Of the next three; never held when something else is called.
  OffloadDetector detector_;
  std::function<void()> wake_;
  Counters counters_;

  std::optional<boost::asio::steady_timer> timer_;  // Of the next round, or of the look under way.
  std::uint64_t generation_ = 0;       // Of the plan that timer and round belong to; 0: none.
  std::uint64_t waits_ = 0;            // A timer's callback of an earlier wait finds another number.
  bool stopped_ = false;
  // The round under way.
  std::optional<std::size_t> look_;
  kube::Request request_;
  bool is_list_ = false, retried_ = false;
  std::unique_ptr<kube::Exchange> exchange_;
  std::optional<AnswerDigest> digest_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace dormouse::gateway
