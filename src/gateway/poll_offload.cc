// SPDX-License-Identifier: Apache-2.0
#include "gateway/poll_offload.h"

#include <utility>

#include "base/check.h"

namespace dormouse::gateway {

using Kind = wasi::WakeCause::Kind;

PollOffload::PollOffload(Options options)
    : options_(std::move(options)), bell_(Doorbell::create(options_.loop)), detector_(options_.max_sleep), timer_(std::in_place, options_.loop) {
  bell_->answer_with([this] { turn(); });
}

PollOffload::~PollOffload() { CHECK(stopped_); }

void PollOffload::stop() {
  stopped_ = true;
  bell_->silence();
  drop_round();
  timer_.reset();
  alive_.reset();
}

// --- The guest's run, on its thread ---

void PollOffload::on_wake(Kind cause, Nanoseconds now) {
  bool was_offloading = false;
  {
    const std::lock_guard lock(mutex_);
    was_offloading = detector_.offloading();
    detector_.woke(cause == Kind::Timer, cause == Kind::Timer || cause == Kind::Answer, now);
  }
  if (was_offloading) bell_->ring();
}

void PollOffload::on_park(Nanoseconds, Activity activity) {
  const std::lock_guard lock(mutex_);
  detector_.parked(activity.kube > 0, activity.other > 0);
}

std::optional<Nanoseconds> PollOffload::on_deadline(Nanoseconds now) {
  std::optional<OffloadDetector::Plan> plan;
  bool ring = false;
  {
    const std::lock_guard lock(mutex_);
    const bool before = detector_.offloading();
    plan = detector_.deadline(now);
    ring = before != plan.has_value();
    if (before && !plan) ++counters_.slept_longest;
  }
  if (ring) bell_->ring();
  if (!plan) return std::nullopt;
  return plan->until;
}

void PollOffload::set_wake(std::function<void()> wake) {
  const std::lock_guard lock(mutex_);
  wake_.swap(wake);
}

wasi::StandIn::Counters PollOffload::counters() const {
  const std::lock_guard lock(mutex_);
  return counters_;
}

// --- What the guest asks and is answered, on the loop ---

PollOffload::Seen::Seen(PollOffload& offload, const kube::Request& request, const RequestInfo& info) : offload_(&offload), is_list_(info.verb == "list") {
  const bool is_look = request.method == "GET" && !request.has_body && (info.verb == "get" || info.verb == "list");
  const std::lock_guard lock(offload.mutex_);
  id_ = offload.detector_.request(request, is_look);
  if (!is_look) offload_ = nullptr;
}

void PollOffload::Seen::head(int status, const kube::Headers& headers) {
  if (offload_ != nullptr) digest_.emplace(is_list_, status, headers);
}

void PollOffload::Seen::body(std::span<const std::byte> bytes) {
  if (digest_) digest_->add(bytes);
}

void PollOffload::Seen::whole() {
  if (!digest_) return spoiled();
  const OffloadDetector::Answer answer = digest_->finish();
  digest_.reset();
  PollOffload* const offload = std::exchange(offload_, nullptr);
  const std::lock_guard lock(offload->mutex_);
  offload->detector_.answered(id_, answer);
}

void PollOffload::Seen::spoiled() {
  digest_.reset();
  PollOffload* const offload = std::exchange(offload_, nullptr);
  if (offload == nullptr) return;
  const std::lock_guard lock(offload->mutex_);
  offload->detector_.spoiled(id_);
}

// --- The looks, on the loop ---

// The detector's plan has come, gone or changed.
void PollOffload::turn() {
  std::optional<OffloadDetector::Plan> plan;
  {
    const std::lock_guard lock(mutex_);
    plan = detector_.plan();
  }
  if (plan && plan->generation == generation_) return;
  drop_round();
  if (!plan) return;
  generation_ = plan->generation;
  wait_until(plan->next_look, &PollOffload::begin_round);
}

void PollOffload::drop_round() {
  ++waits_;
  timer_->cancel();
  generation_ = 0;
  look_.reset();
  exchange_.reset();
  digest_.reset();
}

void PollOffload::wait_until(Nanoseconds when, void (PollOffload::*then)()) {
  const std::uint64_t wait = ++waits_;
  timer_->expires_after(when - options_.clock.monotonic());
  timer_->async_wait([this, alive = std::weak_ptr<bool>(alive_), wait, then](boost::system::error_code problem) {
    if (problem || alive.expired() || wait != waits_) return;
    (this->*then)();
  });
}

void PollOffload::begin_round() {
  look_ = 0;
  begin_look();
}

void PollOffload::begin_look() {
  {
    const std::lock_guard lock(mutex_);
    if (!plan_is_ours()) return;  // The bell will ring for it.
    CHECK(*look_ < detector_.looks().size());
    request_ = detector_.looks()[*look_].request;
    ++counters_.looks;
  }
  is_list_ = parse_request_info(request_.method, request_.target).verb == "list";
  retried_ = false;
  wait_until(options_.clock.monotonic() + kLookTimeout, &PollOffload::wake_guest);
  if (options_.identity == nullptr) return send(std::nullopt);
  ask_for_token();
}

void PollOffload::ask_for_token() {
  options_.identity->with_token([this, alive = std::weak_ptr<bool>(alive_), generation = generation_](Result<std::string> token) {
    if (alive.expired() || generation != generation_ || generation == 0) return;
    if (token) send(std::move(*token));
    else end_look(std::nullopt);
  });
}

void PollOffload::send(std::optional<std::string> token) {
  request_.bearer = std::move(token);
  exchange_ = options_.upstream.start(request_, *this);
}

void PollOffload::on_response(int status, kube::Headers headers) {
  if (status < 200) return;
  if (status == 401 && request_.bearer && options_.identity != nullptr && options_.identity->rejected(*request_.bearer) && !std::exchange(retried_, true)) {
    exchange_.reset();
    return ask_for_token();
  }
  digest_.emplace(is_list_, status, headers);
}

void PollOffload::on_data(std::span<const std::byte> bytes) {
  if (digest_) digest_->add(bytes);
  if (exchange_ != nullptr) exchange_->consumed(bytes.size());
}

void PollOffload::on_end() {
  exchange_.reset();
  std::optional<OffloadDetector::Answer> answer;
  if (digest_) answer = digest_->finish();
  digest_.reset();
  end_look(answer);
}

void PollOffload::on_failure(const Error&, bool) {
  exchange_.reset();
  digest_.reset();
  end_look(std::nullopt);
}

// Unset: it could not be made.
void PollOffload::end_look(std::optional<OffloadDetector::Answer> answer) {
  std::optional<Nanoseconds> next_round;
  {
    const std::lock_guard lock(mutex_);
    if (!plan_is_ours()) return;
    if (!answer) {
      detector_.failed();
      ++counters_.failed;
    } else if (!detector_.same(*look_, *answer)) {
      ++counters_.changed;
    } else if (++*look_ == detector_.looks().size()) {
      next_round = detector_.round_over(options_.clock.monotonic()).next_look;
      ++counters_.absorbed;
    }
    if (!detector_.offloading()) look_.reset();
  }
  if (!look_) return wake_guest();
  if (!next_round) return begin_look();
  look_.reset();
  wait_until(*next_round, &PollOffload::begin_round);
}

// The guest is to look for itself.
void PollOffload::wake_guest() {
  std::function<void()> wake;
  {
    const std::lock_guard lock(mutex_);
    if (plan_is_ours()) {  // A look took too long.
      detector_.failed();
      ++counters_.failed;
    }
    wake = wake_;
  }
  drop_round();
  if (wake) wake();
}

}  // namespace dormouse::gateway
