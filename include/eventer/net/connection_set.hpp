// connection_set: the connections of one server on one loop, so that they can be told to end: those that are idle for
// long, and when the server ends first those that are idle, then the rest.
//
// But for the count, it is used on its loop's thread. What must not be broken: a member lies where its connection's
// coroutine does not take it along, in that coroutine's closure.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "eventer/coro/sync/manual_reset_event.hpp"
#include "eventer/event/event_loop.hpp"
#include "eventer/net/any_stream.hpp"

namespace eventer::inline EVENTER_ABI::detail {

class connection_set {
 public:
  explicit connection_set(event_loop& loop) noexcept : loop_(&loop) {}
  connection_set(const connection_set&) = delete;
  connection_set& operator=(const connection_set&) = delete;

  class member {
   public:
    member() noexcept = default;
    member(member&&) noexcept {}  // before it has entered
    bool has_entered() const noexcept { return block_ != nullptr; }

   private:
    friend class connection_set;
    static constexpr std::uint32_t busy = ~std::uint32_t{0};

    control_block* block_ = nullptr;
    descriptor::idle_hold file_;
    member *next_ = nullptr, *previous_ = nullptr;
    std::uint32_t idle_since_ = busy;  // a tick
  };

  event_loop& loop() const noexcept { return *loop_; }

  // --- how many there are, with those that are on their way here; any thread ---

  void count_one() noexcept { open_.fetch_add(1); }
  void discount_one() {
    if (open_.fetch_sub(1) == 1) empty_.set();
  }
  std::size_t open() const noexcept { return open_.load(std::memory_order_relaxed); }

  // --- by the coroutine of a connection ---

  // False: all were cancelled already.
  EVENTER_NOINLINE bool enter(member& who, const any_stream& stream) {
    if (canceled_) return false;
    who.block_ = scheduler::running_block();
    who.file_.follow(*stream.file());
    note_idle(who);
    if (draining_) stream.file()->begin_draining();
    if (ending_) stream.file()->end_when_idle();
    who.next_ = first_;
    if (who.next_ != nullptr)
      who.next_->previous_ = &who;
    else
      begin_ticking();
    first_ = &who;
    return true;
  }
  EVENTER_NOINLINE void leave(member& who) noexcept {
    (who.previous_ != nullptr ? who.previous_->next_ : first_) = who.next_;
    if (who.next_ != nullptr) who.next_->previous_ = who.previous_;
    (void)who.file_.let_go();
    if (look_at_ == &who) look_at_ = who.next_;
    if (first_ == nullptr) ticks_.cancel();
  }

  // --- ending those that are idle for long. None has a timer: all are looked at in turn. ---

  // From `limit` on, and a third of it later at most. Zero and duration::max(): never. Requires: nobody has entered
  // yet.
  void end_when_idle_for(duration limit) noexcept { idle_limit_ = limit; }
  // It begins to wait for a request; it has got one.
  void note_idle(member& who) const noexcept { who.idle_since_ = tick_; }
  static void note_busy(member& who) noexcept { who.idle_since_ = member::busy; }

  // --- ending them ---

  // They may learn from their streams that they should end.
  void begin_draining() noexcept {
    draining_ = true;
    for (member* each = first_; each != nullptr; each = each->next_)
      if (descriptor* const file = each->file_.held()) file->begin_draining();
  }
  // Ends idle connections at a time, cancels the rest at a second, and waits for their end. Returns: how many were
  // cancelled. `name` is for the log. Requires: a coroutine; no connection is added any more.
  std::size_t finish(time_point idle, time_point limit, const char* name) {
    if (wait_until_empty(idle)) return 0;
    ending_ = true;
    for (member* each = first_; each != nullptr; each = each->next_)
      if (descriptor* const file = each->file_.held()) file->end_when_idle();
    if (wait_until_empty(limit)) return 0;
    const std::size_t left = open_.load();
    cancel_all();
    if (!wait_until_empty(deadline_after(loop_->now(), farewell_time)))
      log(log_level::error, "%s: %zu connections do not end although they were cancelled", name, open_.load());
    return left;
  }
  void cancel_all() {
    canceled_ = true;
    for (member* each = first_; each != nullptr; each = each->next_) loop_->cancel(*each->block_);
  }

 private:
  static constexpr duration farewell_time = std::chrono::seconds(1);  // of those that were cancelled

  void begin_ticking() {
    if (idle_limit_ <= duration::zero() || idle_limit_ == duration::max()) return;
    const duration tick = idle_limit_ / ticks_of_limit;
    ticks_ = loop_->every(tick > shortest_tick ? tick : shortest_tick, [this] { look_at_some(); });
  }
  // A quarter of them each time, so that each is looked at in each quarter of the limit.
  void look_at_some() {
    ++tick_;
    for (std::size_t left = open_.load() / looks_of_round + 1; left > 0; --left) {
      if (look_at_ == nullptr) look_at_ = first_;
      if (look_at_ == nullptr) return;
      member& each = *std::exchange(look_at_, look_at_->next_);
      if (each.idle_since_ == member::busy || tick_ - each.idle_since_ <= ticks_of_limit) continue;
      if (descriptor* const file = each.file_.held()) file->end_when_idle();
    }
  }

  // False: not until then.
  bool wait_until_empty(time_point until) {
    while (open_.load() > 0) {
      empty_.reset();
      if (open_.load() > 0 && !empty_.wait(until)) return open_.load() == 0;
    }
    return true;
  }

  event_loop* loop_;
  std::atomic<std::size_t> open_{0};
  shared_event empty_{true};  // set whenever `open_` becomes 0
  member* first_ = nullptr;
  static constexpr std::uint32_t ticks_of_limit = 16;
  static constexpr std::size_t looks_of_round = 4;
  static constexpr duration shortest_tick = std::chrono::milliseconds(1);
  duration idle_limit_ = duration::zero();
  std::uint32_t tick_ = 0;
  member* look_at_ = nullptr;  // next
  event ticks_;
  bool draining_ = false, ending_ = false, canceled_ = false;
};

}  // namespace eventer::inline EVENTER_ABI::detail
