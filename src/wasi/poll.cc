// SPDX-License-Identifier: Apache-2.0
// poll_oneoff: the only call that blocks. It says Park and is called again, with the same arguments, at each resume.
//
//   called --nothing ready--> Park --resume--> looks again --> events | Park
//
// FD_READ is level-triggered. FD_WRITE on a stream is told once, and again only after a write was short or got
// Again and space has come back: mio subscribes to it in every poll, and would spin (findings, "mio spins"). A stream's
// failure is told as readiness, never as an event's error, for tokio panics on those; the read or write then fails.

#include <algorithm>

#include "base/check.h"
#include "wasi/calls.h"

namespace dormouse::wasi {
namespace {

// More is Inval. Two for each descriptor that can be open, and timers. A thousand cost some 50 microseconds.
constexpr u32 kSubscriptionsMax = 2 * 65'536 + 1024;

// A poll without subscriptions is Inval by the specification, and a guest that asks again at once (tokio with neither timer
// nor I/O does) would spin. So from the second in a row on, the answer takes its time: 1 ms, doubled up to an hour.
constexpr Nanoseconds kEmptyPollPause = std::chrono::milliseconds(1);
constexpr Nanoseconds kEmptyPollPauseMax = std::chrono::hours(1);

Nanoseconds saturated(u64 nanoseconds) {
  return Nanoseconds(static_cast<std::int64_t>(std::min<u64>(nanoseconds, static_cast<u64>(Nanoseconds::max().count()))));
}
// `start` + `timeout`, the end of time at most.
Nanoseconds later(Nanoseconds start, Nanoseconds timeout) { return start > Nanoseconds::max() - timeout ? Nanoseconds::max() : start + timeout; }

// When a clock subscription is due, on the monotonic clock. A realtime clock that is set meanwhile shows at the next resume.
Nanoseconds due_at(const Clock& clock, const ProcessState::Park& park, Nanoseconds now, const SubscriptionClock& subscription) {
  const Nanoseconds timeout = saturated(subscription.timeout);
  if ((subscription.flags & kSubclockflagsAbstime) == 0) return later(park.start, timeout);
  if (subscription.id == ClockId::Monotonic) return timeout;
  const Nanoseconds real = clock.realtime();
  return timeout <= real ? now : later(now, timeout - real);
}

struct Readiness {
  bool ready = false;
  bool hangup = false;
  u64 bytes = 0;
};

Readiness readiness_of(const ProcessState& process, const Descriptor& descriptor, Eventtype type) {
  const bool reading = type == Eventtype::FdRead;
  switch (descriptor.kind) {
    case Descriptor::Kind::File: {
      if (!reading) return {.ready = true, .bytes = kTransferBytesMax};
      const u64 size = descriptor.file().size_bytes();
      return {.ready = true, .bytes = size > descriptor.offset ? size - descriptor.offset : 0};
    }
    case Descriptor::Kind::Input: return {.ready = true, .bytes = reading ? process.options.stdin_bytes.size() - process.stdin_offset : 0};
    case Descriptor::Kind::Output: return {.ready = true, .bytes = reading ? 0 : kTransferBytesMax};
    case Descriptor::Kind::Listener: return {.ready = reading && descriptor.listener->pending()};
    case Descriptor::Kind::Signals: {
      const std::size_t pending = reading ? descriptor.signals->pending() : 0;
      return {.ready = pending > 0, .bytes = pending};
    }
    case Descriptor::Kind::Stream: {
      const Channel::Readiness channel = descriptor.channel->readiness();
      if (channel.connecting) return {};
      if (reading) return {.ready = channel.readable_bytes > 0 || channel.read_ended, .hangup = channel.hangup, .bytes = channel.readable_bytes};
      const bool ready = channel.write_ended ? !descriptor.failure_told : descriptor.write_edge && channel.writable_bytes > 0;
      return {.ready = ready, .hangup = channel.failed, .bytes = channel.writable_bytes};
    }
    case Descriptor::Kind::Directory:
    case Descriptor::Kind::Closed: break;
  }
  return {};
}

// Success if `type` can be waited for on `descriptor`.
Errno check_subscription(const Descriptor* descriptor, Eventtype type) {
  if (descriptor == nullptr || descriptor->kind == Descriptor::Kind::Directory) return Errno::BadF;
  if (descriptor->is_socket()) return Errno::Success;
  const Rights needed = rights::kPollFdReadwrite | (type == Eventtype::FdRead ? rights::kFdRead : rights::kFdWrite);
  return (descriptor->base & needed) == needed ? Errno::Success : Errno::NotCapable;
}

class Poll {
 public:
  Poll(ProcessState& process, Memory memory, u32 in, u32 out, u32 count)
      : process_(process), memory_(memory), in_(in), out_(out), count_(count), now_(process.options.clock.monotonic()) {
    if (!process.park.active) process.park.start = now_;
  }

  // Looks at each subscription once; events go straight to the guest's memory. Errors: NoMem.
  std::expected<u32, Errno> collect() {
    process_.park.waits.clear();
    process_.park.deadline.reset();
    u32 events = 0;
    for (u32 i = 0; i < count_; ++i) {
      const Subscription subscription = *memory_.load<Subscription>(in_ + i * static_cast<u32>(sizeof(Subscription)));
      if (auto event = subscription.type == Eventtype::Clock ? clock_event(subscription) : fd_event(subscription)) {
        event->userdata = subscription.userdata;
        event->type = subscription.type;
        // Never before what is still to be read, even when the guest gives the same place for both: an event is smaller.
        (void)memory_.store(out_ + events++ * static_cast<u32>(sizeof(Event)), *event);
      }
    }
    if (out_of_memory_ && events == 0) return std::unexpected(Errno::NoMem);
    return events;
  }

 private:
  std::optional<Event> clock_event(const Subscription& subscription) {
    const SubscriptionClock& clock = subscription.clock;
    if (clock.id > ClockId::Monotonic || (clock.flags & ~kSubclockflagsAll) != 0) return Event{.error = Errno::Inval};
    const Nanoseconds due = due_at(process_.options.clock, process_.park, now_, clock);
    if (due <= now_) return Event{};
    if (due != Nanoseconds::max()) process_.park.deadline = std::min(process_.park.deadline.value_or(due), due);
    return std::nullopt;
  }

  std::optional<Event> fd_event(const Subscription& subscription) {
    Descriptor* const descriptor = process_.find(subscription.fd);
    if (const Errno error = check_subscription(descriptor, subscription.type); error != Errno::Success) return Event{.error = error};
    const Readiness readiness = readiness_of(process_, *descriptor, subscription.type);
    if (!readiness.ready) {
      if (!process_.add_wait({subscription.fd, subscription.type})) out_of_memory_ = true;
      return std::nullopt;
    }
    if (descriptor->kind == Descriptor::Kind::Stream && subscription.type == Eventtype::FdWrite) {
      descriptor->write_edge = false;
      descriptor->failure_told = descriptor->channel->readiness().write_ended;
    }
    return Event{.bytes = readiness.bytes, .flags = readiness.hangup ? kEventrwflagsHangup : std::uint16_t{0}};
  }

  ProcessState& process_;
  const Memory memory_;
  const u32 in_, out_, count_;
  const Nanoseconds now_;
  bool out_of_memory_ = false;
};

wasm::Verdict poll_nothing(ProcessState& process, wasm::Value* values) {
  ProcessState::Park& park = process.park;
  const Nanoseconds now = process.options.clock.monotonic();
  if (!park.active) {
    const u32 before = park.empty_polls++;
    if (before > 0) {
      park.active = true;
      park.waits.clear();
      park.deadline = later(now, before < 32 ? std::min(kEmptyPollPauseMax, kEmptyPollPause * (std::int64_t{1} << (before - 1))) : kEmptyPollPauseMax);
      ++process.counters.parks;
      return wasm::Verdict::Park;
    }
  } else if (now < *park.deadline) {
    return wasm::Verdict::Park;
  }
  park.active = false;
  values[0].u64 = static_cast<u64>(Errno::Inval);
  return wasm::Verdict::Return;
}

}  // namespace

bool ProcessState::add_wait(Park::Wait wait) {
  std::vector<Park::Wait>& waits = park.waits;
  if (waits.size() == waits.capacity()) {
    const std::size_t capacity = std::max<std::size_t>(16, waits.capacity() * 2);
    if (!options.account.try_charge((capacity - waits.capacity()) * sizeof(Park::Wait))) return false;
    waits.reserve(capacity);
    CHECK(waits.capacity() == capacity);
  }
  waits.push_back(wait);
  return true;
}

bool ProcessState::ready(Nanoseconds now) {
  if (!park.active) return false;
  // Armed first, then looked: what comes in between is seen by one of the two. And armed again whenever the owner looks, for
  // a wake-up may have come for nothing that this park waits for, and the next must not be missed.
  wakeup->arm(true);
  if (park.deadline && *park.deadline <= now) return true;
  return std::any_of(park.waits.begin(), park.waits.end(), [this](const Park::Wait& wait) {
    const Descriptor* descriptor = find(wait.fd);
    return descriptor != nullptr && readiness_of(*this, *descriptor, wait.type).ready;
  });
}

std::optional<WakeCause> ProcessState::wake_cause(Nanoseconds now) {
  if (!park.active) return std::nullopt;
  std::optional<WakeCause> room;
  for (const Park::Wait& wait : park.waits) {
    const Descriptor* descriptor = find(wait.fd);
    if (descriptor == nullptr || !readiness_of(*this, *descriptor, wait.type).ready) continue;
    if (descriptor->kind == Descriptor::Kind::Signals) return WakeCause{.kind = WakeCause::Kind::Signal};
    if (descriptor->kind == Descriptor::Kind::Listener) return WakeCause{.kind = WakeCause::Kind::Inbound};
    if (descriptor->kind != Descriptor::Kind::Stream) return WakeCause{.kind = WakeCause::Kind::Other};
    WakeCause cause = descriptor->channel->purpose();
    if (wait.type == Eventtype::FdRead) return cause;
    cause.room = true;
    if (!room) room = std::move(cause);
  }
  if (room) return room;
  if (park.deadline && *park.deadline <= now) return WakeCause{};
  return std::nullopt;
}

void ProcessState::count_kube_activity(const Channel& channel) {
  const WakeCause::Kind kind = channel.purpose_kind();
  if (kind == WakeCause::Kind::Watch || kind == WakeCause::Kind::Answer) ++counters.kube_activity;
}

wasm::Verdict poll_oneoff(void* host, Memory memory, wasm::Value* values) noexcept {
  ProcessState& process = static_cast<Process*>(host)->state();
  ProcessState::Park& park = process.park;
  const u32 in = values[0].u32, out = values[1].u32, count = values[2].u32, events_at = values[3].u32;
  const auto finish = [&](Errno error) {
    park.active = false;
    process.wakeup->arm(false);
    values[0].u64 = static_cast<u64>(error);
    return wasm::Verdict::Return;
  };
  if (!park.active) ++process.counters.polls;
  if (count == 0) return poll_nothing(process, values);
  park.empty_polls = 0;
  const auto subscriptions = memory.slice(in, u64{count} * sizeof(Subscription));
  if (!subscriptions || !memory.slice(out, u64{count} * sizeof(Event)) || !memory.slice(events_at, 4)) return finish(Errno::Fault);
  if (count > kSubscriptionsMax) return finish(Errno::Inval);
  // All must make sense before one is answered: an answer uses up FD_WRITE's edge.
  for (u32 i = 0; i < count; ++i) {
    if (static_cast<u32>((*subscriptions)[i * sizeof(Subscription) + offsetof(Subscription, type)]) > static_cast<u32>(Eventtype::FdWrite)) return finish(Errno::Inval);
  }
  for (;;) {
    const auto events = Poll(process, memory, in, out, count).collect();
    if (!events) return finish(events.error());
    if (*events > 0) return finish(store(memory, events_at, *events));
    const bool resumed = std::exchange(park.active, true);
    if (process.ready(process.options.clock.monotonic())) continue;
    if (!resumed) ++process.counters.parks;
    return wasm::Verdict::Park;
  }
}

}  // namespace dormouse::wasi
